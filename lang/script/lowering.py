"""From steps to a request graph: the same operations that a Python program records, and `Branch`, `Loop`, `ForkEach`.

Expects a script without errors. `defaults` are the sampling parameters of `with_sampling`; a gen's own go before them.
"""

from __future__ import annotations

import json
from collections import ChainMap
from collections.abc import Mapping, Sequence
from typing import Any

from ..expressions import gen
from ..graph import RequestGraph
from ..ir import (
    Apply,
    Argument,
    Arm,
    Body,
    Branch,
    Collect,
    Fill,
    ForkEach,
    Gather,
    Gen,
    Input,
    Loop,
    Merge,
    Node,
    Op,
    Reference,
    RoleBegin,
    RoleEnd,
    Select,
    Set,
    Value,
)
from ..sampling import Sampling
from .checked import Checked
from .kinds import schema_of
from .options import constraint_parameters
from .source import Span
from .steps import (
    Choose,
    CloseRole,
    Decide,
    Generate,
    Iterate,
    OpenRole,
    SetValue,
    Step,
    Write,
    WriteValue,
)
from .syntax import (
    Call,
    Constant,
    Expression,
    FieldOf,
    GenHole,
    ItemOf,
    ListDisplay,
    Name,
    Operation,
)

Names = ChainMap[str, Value]  # of the blocks around, the innermost first


def lower(checked: Checked, steps: Sequence[Step], defaults: Mapping[str, Any]) -> RequestGraph:
    """Return the graph of a script, not verified yet."""
    lowering = _Lowering(checked, defaults)
    names: Names = ChainMap({fact.name: Argument(fact.name) for fact in checked.inputs})
    _, end = lowering.block(steps, names, None)
    inputs = tuple(
        Input(fact.name, json.dumps(schema_of(fact.kind), ensure_ascii=False), fact.default, fact.required)
        for fact in checked.inputs
    )
    return RequestGraph(tuple(lowering.nodes), end, inputs, _result(checked, names))


def lowered_value(expression: Expression, names: Names) -> Value:
    """Return an expression as a value of the graph."""
    match expression:
        case Name(_, name):
            return names[name]
        case Constant(_, value):
            return value
        case ListDisplay(_, items):
            return tuple(lowered_value(item, names) for item in items)
        case FieldOf(_, value, label):
            return _part(lowered_value(value, names), label.name)
        case ItemOf(_, value, Constant(_, int(index))):
            return _part(lowered_value(value, names), index)
        case ItemOf(_, value, index):
            return Apply("item", (lowered_value(value, names), lowered_value(index, names)))
        case Call(_, label, arguments):
            return Apply(label.name, tuple(lowered_value(argument, names) for argument in arguments))
        case Operation(_, operator, operands):
            return _operation(operator, tuple(lowered_value(operand, names) for operand in operands))


def _part(value: Value, key: str | int) -> Value:
    match value:
        case Reference(node, name, path):
            return Reference(node, name, (*path, key))
        case Argument(name, path):
            return Argument(name, (*path, key))
        case _:
            return Apply("item", (value, key))


def _operation(operator: str, values: tuple[Value, ...]) -> Value:
    match operator:
        case "and" | "or":
            folded = values[0]
            for value in values[1:]:
                folded = Apply(operator, (folded, value))
            return folded
        case "not in":
            return Apply("not", (Apply("in", values),))
        case _:
            return Apply(operator, values)


def _result(checked: Checked, names: Names) -> Value:
    match checked.result:
        case None:
            return None
        case tuple(fields):
            return Apply("record", tuple(part for name in fields for part in (name, names[name])))
        case expression:
            return lowered_value(expression, names)


class _Lowering:
    """Appends the nodes of blocks; every block gives the names it makes, by node, and the last node of its prompt."""

    def __init__(self, checked: Checked, defaults: Mapping[str, Any]) -> None:
        self.checked = checked
        self.defaults = defaults
        self.nodes: list[Node] = []

    def block(self, steps: Sequence[Step], names: Names, parent: int | None) -> tuple[dict[str, int], int | None]:
        """Append the nodes of `steps` after `parent`; add the names they make to `names`."""
        made: dict[str, int] = {}
        for step in steps:
            parent = self._step(step, names, parent)
            for name in self.nodes[parent].defines:
                made[name], names[name] = parent, Reference(parent, name)
        return made, parent

    def _step(self, step: Step, names: Names, parent: int | None) -> int:
        match step:
            case Write(text):
                return self._node(parent, Fill(text))
            case WriteValue(value):
                return self._node(parent, Fill(lowered_value(value, names)), value.span)
            case Generate(hole):
                return self._node(parent, self._gen(hole), hole.span)
            case Choose(hole):
                op = Select(hole.label.name, lowered_value(hole.choices, names), self.checked.methods[hole.span])
                return self._node(parent, op, hole.span)
            case OpenRole(role, span):
                return self._node(parent, RoleBegin(role), span)
            case CloseRole(role):
                return self._node(parent, RoleEnd(role))
            case SetValue(item):
                return self._node(parent, Set(item.label.name, lowered_value(item.value, names)), item.span)
            case Decide():
                return self._decide(step, names, parent)
            case Iterate():
                return self._iterate(step, names, parent)

    def _gen(self, hole: GenHole) -> Gen:
        name = hole.label.name
        made = gen(name, **constraint_parameters(self.checked.gens[hole.span]), **self.checked.options[hole.span])
        sampling = Sampling.of(**{**self.defaults, **made.parameters})
        return Gen(name, sampling, made.constraint, made.parse)

    def _decide(self, step: Decide, names: Names, parent: int | None) -> int:
        conditions = tuple(True if a.condition is None else lowered_value(a.condition, names) for a in step.arms)
        branch = self._node(parent, Branch(conditions), step.span)
        arms: list[dict[str, int]] = []
        for index, arm in enumerate(step.arms):
            start = self._node(branch, Arm(index), step.span)
            arms.append(self.block(arm.steps, names.new_child(), start)[0])
        made = tuple(dict.fromkeys(name for arm in arms for name in arm))
        sources = tuple(tuple(arm.get(name) for arm in arms) for name in made)
        return self._node(branch, Merge(made, sources), step.span)

    def _iterate(self, step: Iterate, names: Names, parent: int | None) -> int:
        item = step.item
        items, limit = lowered_value(item.items, names), self.checked.limits[item.span]
        opener = self._node(parent, (Loop if item.result is None else ForkEach)(items, limit), item.span)
        start = self._node(opener, Body(item.label.name), item.span)
        inside = names.new_child({item.label.name: Reference(start, item.label.name)})
        made, _ = self.block(step.steps, inside, start)
        fields, sources = tuple(made), tuple(made.values())
        op = Collect(fields, sources) if item.result is None else Gather(item.result.name, fields, sources)
        return self._node(opener, op, item.span)

    def _node(self, parent: int | None, op: Op, span: Span | None = None) -> int:
        location = None if span is None else self.checked.script.source.location(span)
        self.nodes.append(Node(len(self.nodes), parent, op, location))
        return len(self.nodes) - 1
