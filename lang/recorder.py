"""The one recorder: turns what a program's body does into nodes, and refuses misuse where it is written.

Live runs and tracing differ only in the `Sink` that takes the nodes and answers reads. One recorder stands for one
branch of a program; a fork makes more. It never runs or waits for anything. Called by the interpreter's states.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from .errors import ParameterError, ProgramError, RoleError, VariableError, did_you_mean
from .expressions import GenExpression, SelectExpression, check_role
from .ir import (
    Branch,
    Child,
    Fill,
    Fork,
    ForkEach,
    Gen,
    Join,
    Keep,
    Loop,
    Node,
    Op,
    Reference,
    RoleBegin,
    RoleEnd,
    ScopeBegin,
    ScopeEnd,
    Select,
    Set,
    Value,
)
from .location import at, caller_location
from .sampling import Sampling

MAX_FORK = 256


class Sink(Protocol):
    """Takes the nodes of one branch, in order."""

    def append(self, node: Node) -> None:
        """Take the next node of this branch."""
        ...

    def fork(self, node: Node) -> Sequence[Sink]:
        """Take a `Fork` node and return the sinks of its branches."""
        ...


class Recorder:
    """Records one branch.

    `names` maps every variable that can be read here to the node that defines it; a branch starts with those of its
    parent. `parameters` are the sampling defaults that a gen's own parameters are laid over.
    """

    def __init__(
        self, sink: Sink, ids: Iterator[int] | None = None, parameters: Mapping[str, Any] | None = None
    ) -> None:
        self.sink = sink
        self.ids = ids or itertools.count()
        self.parameters = dict(parameters or {})
        self.names: dict[str, int] = {}
        self.last: int | None = None
        self.branches: list[Recorder] = []
        self.role: str | None = None
        self._role_location: str | None = None
        self._inherited_role = False
        self._inherited_names = 0
        self._scopes: list[str] = []
        self._samples: tuple[str | None, int, int] | None = None  # (name, n, node) of a gen with n > 1 not yet decided

    def fill(self, value: Value) -> None:
        """Append text."""
        if value != "":
            self._extend(Fill(value))

    def gen(self, expression: GenExpression) -> None:
        """Append a generation."""
        sampling = Sampling.of(**{**self.parameters, **expression.parameters})
        self._check_new(expression.name, expression.location)
        if sampling.n > 1 and expression.name is None:
            raise ParameterError(
                f"gen with n={sampling.n}{at(expression.location)} needs a name, or its samples cannot be read"
            )
        self._gen(Gen(expression.name, sampling, expression.constraint, expression.parse), expression.location)

    def select(self, expression: SelectExpression, choices: tuple[Value, ...]) -> None:
        """Append a choice; `choices` are the expression's, with variables as values."""
        self._check_new(expression.name, expression.location)
        self._extend(Select(expression.name, choices, expression.method), expression.location)

    def begin_role(self, role: str, location: str | None = None) -> None:
        """Open a message."""
        check_role(role)
        location = _place(location)
        if self.role is not None:
            opened = f", opened{at(self._role_location)}" if self._role_location else ""
            raise RoleError(
                f"cannot open role {role!r}{at(location)} inside role {self.role!r}{opened}; close that first"
            )
        self._extend(RoleBegin(role), location)
        self.role, self._role_location, self._inherited_role = role, location, False

    def end_role(self, role: str, location: str | None = None) -> None:
        """Close the message."""
        location = _place(location)
        if self.role != role:
            state = f"the open role is {self.role!r}" if self.role else "no role is open"
            raise RoleError(f"cannot close role {role!r}{at(location)}: {state}")
        self.role = None
        self._append(RoleEnd(role), location)

    def begin_scope(self, name: str) -> None:
        """Start collecting text for a variable."""
        self._check_new(name, None)
        self._append(ScopeBegin(name))
        self._scopes.append(name)

    def end_scope(self, name: str) -> None:
        """Give the variable the text since `begin_scope`."""
        self._scopes.remove(name)
        self._check_decided("the end of a var_scope")
        self._append(ScopeEnd(name))

    def set(self, name: str, value: Any) -> None:
        """Give a variable a value."""
        if not isinstance(name, str) or not name:
            raise ParameterError(f"a variable's name must be a non-empty string, got {name!r}")
        self._check_new(name, None)
        self._append(Set(name, value))

    def keep(self, name: str, index: int) -> None:
        """Go on with one sample of a gen with `n > 1`."""
        reference = self.reference(name)
        if self._samples is None or self._samples[2] != reference.node:
            raise ProgramError(
                f"keep({name!r}, {index}){at(caller_location())}: no samples of {name!r} wait for a choice"
            )
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < self._samples[1]:
            raise ParameterError(f"keep({name!r}, {index!r}): there are samples 0 to {self._samples[1] - 1}")
        self._samples = None
        self._append(Keep(reference, index))

    def fork(self, num: int, location: str | None = None) -> list[Recorder]:
        """Start `num` branches here and return their recorders."""
        if isinstance(num, bool) or not isinstance(num, int) or not 1 <= num <= MAX_FORK:
            raise ParameterError(f"fork needs a number of branches from 1 to {MAX_FORK}, got {num!r}")
        self._check_decided("fork")
        node = self._node(Fork(num), location)
        branches = [self._branch(sink) for sink in self.sink.fork(node)]
        self.branches.extend(branches)
        self.last = node.id
        for index, branch in enumerate(branches):
            branch.last = node.id
            branch._append(Child(index), location)
        return branches

    def join(self, branches: Sequence[Recorder]) -> tuple[str, ...]:
        """Gather what the branches defined since their fork; return the names."""
        if any(branch is self or branch.ids is not self.ids for branch in branches):
            raise ParameterError(f"join{at(caller_location())} takes branches of a fork in the same run")
        names = tuple(dict.fromkeys(name for branch in branches for name in branch.new_names))
        for name in names:
            self._check_new(name, None)
        sources = tuple(tuple(b.names[name] if name in b.new_names else None for b in branches) for name in names)
        self._append(Join(tuple(branch.last for branch in branches if branch.last is not None), names, sources))
        return names

    @property
    def new_names(self) -> tuple[str, ...]:
        """The variables this branch defined itself."""
        return tuple(self.names)[self._inherited_names :]

    def reference(self, name: str) -> Reference:
        """Return the reference to a variable, or raise `VariableError`."""
        if name in self.names:
            return Reference(self.names[name], name)
        if name in self._scopes:
            raise VariableError(f"variable {name!r} cannot be read inside its own var_scope{at(caller_location())}")
        known = f"; known here: {', '.join(self.names)}" if self.names else "; none is defined yet"
        raise VariableError(
            f"unknown variable {name!r}{at(caller_location())}{did_you_mean(name, self.names) or known}"
        )

    def close(self) -> None:
        """Check at the end of the body that what this branch and its own branches opened is closed."""
        if self.role is not None and not self._inherited_role:
            raise RoleError(f"role {self.role!r}{at(self._role_location)} is still open at the end of the program")
        for branch in self.branches:
            branch.close()

    # ---- operations of a graph -------------------------------------------------------------------------------------

    def replay(self, op: Op, location: str | None) -> int:
        """Append an operation of a graph, whose values are in terms of this recording; return the node's id."""
        location = location or ""  # where the graph does not say, our caller is not the place
        match op:
            case Gen():
                self._check_new(op.name, location)
                self._gen(op, location)
            case RoleBegin(role):
                self.begin_role(role, location)
            case RoleEnd(role):
                self.end_role(role, location)
            case ScopeBegin(name):
                self.begin_scope(name)
            case ScopeEnd(name):
                self.end_scope(name)
            case Keep(source, index):
                self.keep(source.name, index)
            case Fill() | Branch() | Loop() | ForkEach():
                self._extend(op, location)
            case _:
                for name in Node(-1, None, op).defines:
                    self._check_new(name, location)
                self._append(op, location)
        assert self.last is not None
        return self.last

    def inner(self, sink: Sink) -> Recorder:
        """Return a recorder that goes on here into an arm or a body; its names are not seen outside it."""
        inner = self._branch(sink)
        inner.last, inner._inherited_role = self.last, self._inherited_role
        inner._scopes, inner._samples = self._scopes, self._samples
        return inner

    def adopt(self, inner: Recorder) -> None:
        """Go on where `inner` has ended."""
        self.last, self._samples = inner.last, inner._samples
        self.role, self._role_location, self._inherited_role = inner.role, inner._role_location, inner._inherited_role
        self.branches.extend(inner.branches)

    def define(self, name: str, node: int, location: str | None) -> None:
        """Let `name` be the variable of that name of a node that is recorded already."""
        self._check_new(name, location)
        self.names[name] = node

    def _branch(self, sink: Sink) -> Recorder:
        branch = Recorder(sink, self.ids, self.parameters)
        branch.names = dict(self.names)
        branch._inherited_names = len(self.names)
        branch.role, branch._role_location, branch._inherited_role = self.role, self._role_location, True
        return branch

    def _gen(self, op: Gen, location: str | None) -> None:
        node = self._extend(op, location)
        if op.sampling.n > 1:
            self._samples = (op.name, op.sampling.n, node.id)

    def _check_new(self, name: str | None, location: str | None) -> None:
        where = at(_place(location))
        if name is not None and name in self.names:
            raise VariableError(
                f"variable {name!r} is defined twice{where}; in a loop, number the names: f'{name}{{i}}'"
            )
        if name is not None and name in self._scopes:
            raise VariableError(f"variable {name!r} is defined{where} inside the var_scope of that name")

    def _check_decided(self, what: str) -> None:
        if self._samples is not None:
            name, num, _ = self._samples
            raise ProgramError(
                f"{what}{at(caller_location())} follows gen {name!r} with n={num}, and it is not said which sample the "
                f"text goes on with; call keep({name!r}, index) first, or generate in a fork"
            )

    def _extend(self, op: Op, location: str | None = None) -> Node:
        self._check_decided("text")
        return self._append(op, location)

    def _append(self, op: Op, location: str | None = None) -> Node:
        node = self._node(op, location)
        self.sink.append(node)
        self.last = node.id
        for name in node.defines:
            self.names[name] = node.id
        return node

    def _node(self, op: Op, location: str | None = None) -> Node:
        return Node(next(self.ids), self.last, op, _place(location))


def _place(location: str | None) -> str | None:
    """Where an operation was written: as given, else the caller's line."""
    return caller_location() if location is None else location
