"""What the operations of a graph may read and hold: references, inputs, functions, choices, limits.

Part of `verify.py`, which calls it node by node and says in which arms and bodies a node lies.
"""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from ..constraints import check_choices
from ..errors import ParameterError, ProgramError
from ..evaluate import FUNCTIONS
from ..expressions import SELECT_METHODS
from ..ir import (
    Apply,
    Argument,
    Fork,
    ForkEach,
    Gen,
    Input,
    Join,
    Keep,
    Loop,
    Node,
    Reference,
    Select,
    Value,
    is_constant,
)
from ..location import at
from .limits import MAX_VALUE_DEPTH, Limits
from .values import values_of

Region = tuple[int, ...]


def broken(node: Node, what: str) -> NoReturn:
    """Raise `ProgramError` about a node."""
    raise ProgramError(f"node {node.id} ({type(node.op).__name__}){at(node.location)} {what}")


class ValueRules:
    """Checks what nodes read, in order; `regions[i]` are the arms and bodies that node i lies in."""

    def __init__(self, nodes: Sequence[Node], inputs: Sequence[Input], limits: Limits) -> None:
        self.nodes = nodes
        self.limits = limits
        self.inputs = {given.name for given in inputs}
        self.regions: list[Region] = []
        self.characters = 0
        for name in self.inputs:
            if not name.isidentifier() or keyword.iskeyword(name):
                raise ProgramError(f"{name!r} is no name for an input")
        if len(self.inputs) != len(inputs):
            raise ProgramError("the graph has two inputs of one name")

    def check(self, node: Node, region: Region) -> None:
        """Check what `node`, the next one, reads."""
        self.regions.append(region)
        for value in values_of(node.op):
            self._check_value(node, value, region, 0)
        match node.op:
            case Select(choices=choices, method=method):
                if method not in SELECT_METHODS:
                    broken(node, f"selects by {method!r}; there are {', '.join(SELECT_METHODS)}")
                if is_constant(choices):
                    _check_choices(node, choices)
            case Fork(num):
                if not 1 <= num <= self.limits.forks:
                    broken(node, f"starts {num} branches; 1 to {self.limits.forks} are allowed")
            case Loop(limit=limit):
                if not 0 <= limit <= self.limits.passes:
                    broken(node, f"may go through {limit} passes; at most {self.limits.passes} are allowed")
            case ForkEach(limit=limit):
                if not 0 <= limit <= self.limits.forks:
                    broken(node, f"may start {limit} branches; at most {self.limits.forks} are allowed")
            case Keep(source, index):
                op = self.nodes[source.node].op
                if not isinstance(op, Gen) or source.path or not 0 <= index < op.sampling.n:
                    broken(node, f"keeps sample {index} of node {source.node}, which has no such sample")
            case Join(ends, names, sources):
                if any(not 0 <= end < node.id for end in ends):
                    broken(node, "joins a branch that does not come before it")
                if any(len(row) != len(sources[0]) for row in sources):
                    broken(node, "gathers from a different number of branches for each name")
                width = len(sources[0]) if sources else 0
                self.check_gathered(node, names, sources, [None] * width)

    def check_gathered(
        self,
        node: Node,
        names: Sequence[str],
        sources: Sequence[Sequence[int | None]],
        regions: Sequence[Region | None],
    ) -> None:
        """Check that `sources[i][j]` defines `names[i]`, in region j (None: anywhere within reach of `node`)."""
        if len(names) != len(sources) or len(set(names)) != len(names):
            broken(node, "does not name each of its sources once")
        for name, row in zip(names, sources, strict=True):
            for source, region in zip(row, regions, strict=True):
                if source is None:
                    continue
                if not 0 <= source < node.id or name not in self.nodes[source].defines:
                    broken(node, f"gathers {name!r} from node {source}, which does not define it")
                found = self.regions[source]
                if found != region if region is not None else not _reaches(self.regions[node.id], found):
                    broken(node, f"gathers {name!r} from node {source}, which lies elsewhere")

    def check_result(self, result: Value) -> None:
        """Check what the graph returns: it reads what the main prompt could read."""
        last = Node(len(self.nodes), None, Join((), (), ()))
        try:
            self._check_value(last, result, (), 0)
        except ProgramError as error:
            reason = str(error).partition(") ")[2]
            raise ProgramError(f"the graph's result {reason}") from error

    def _check_value(self, node: Node, value: Value, region: Region, depth: int) -> None:
        if depth > MAX_VALUE_DEPTH:
            broken(node, f"holds a value that is nested more than {MAX_VALUE_DEPTH} deep")
        match value:
            case str():
                self.characters += len(value)
                if self.characters > self.limits.characters:
                    broken(node, f"brings the graph's text to more than {self.limits.characters} characters")
            case tuple():
                self._check_values(node, value, region, depth)
            case Apply(function, arguments):
                if function not in FUNCTIONS:
                    broken(node, f"applies {function!r}, which is not a function")
                self._check_values(node, arguments, region, depth)
            case Argument(name):
                if name not in self.inputs:
                    broken(node, f"reads {name!r}, which is not an input of the graph")
            case Reference(source, name):
                if not 0 <= source < node.id:
                    broken(node, f"reads node {source}, which does not come before it")
                if name not in self.nodes[source].defines:
                    broken(node, f"reads variable {name!r} of node {source}, which does not define it")
                if not _reaches(region, self.regions[source]):
                    broken(node, f"reads {name!r} of node {source}, which lies inside an arm or loop that has ended")

    def _check_values(self, node: Node, values: Iterable[Value], region: Region, depth: int) -> None:
        for value in values:
            self._check_value(node, value, region, depth + 1)


def _reaches(reader: Region, source: Region) -> bool:
    """True when what is in `source` can be read in `reader`: no block has to be entered."""
    return reader[: len(source)] == source


def _check_choices(node: Node, choices: Any) -> None:
    if not isinstance(choices, tuple | list):  # an argument that was bound may be a list
        broken(node, f"cannot choose from {choices!r}, which is no list")
    try:
        check_choices(tuple(choices))
    except ParameterError as error:
        broken(node, f"cannot choose: {error}")
