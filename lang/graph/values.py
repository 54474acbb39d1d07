"""What a value reads, and a value with what it reads replaced. Used by verification, passes and the evaluator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from ..ir import (
    Apply,
    Argument,
    Branch,
    Fill,
    ForkEach,
    Keep,
    Loop,
    Op,
    Reference,
    Select,
    Set,
    Value,
)

Source = Reference | Argument


def sources_of(value: Value) -> Iterator[Source]:
    """Yield the references and arguments in a value, in reading order."""
    match value:
        case Reference() | Argument():
            yield value
        case Apply(arguments=items):
            for item in items:
                yield from sources_of(item)
        case tuple():
            for item in value:
                yield from sources_of(item)


def substitute(value: Value, change: Callable[[Source], Value]) -> Value:
    """Return the value with every reference and argument replaced by what `change` makes of it."""
    match value:
        case Reference() | Argument():
            return change(value)
        case Apply(function, arguments):
            return Apply(function, tuple(substitute(item, change) for item in arguments))
        case tuple():
            return tuple(substitute(item, change) for item in value)
        case _:
            return value


def follow(value: Value, path: tuple[str | int, ...]) -> Value:
    """Return the value that lies at `path` in a value which is not itself known, e.g. in another reference."""
    match value:
        case Reference() | Argument():
            return replace(value, path=(*value.path, *path))
        case _:
            for key in path:
                value = Apply("item", (value, key))
            return value


def values_of(op: Op) -> tuple[Value, ...]:
    """Return the values that an operation reads when it is executed. A join reads by `sources`, not by values."""
    match op:
        case Fill(value) | Set(value=value):
            return (value,)
        case Select(choices=choices):
            return (choices,)
        case Branch(conditions):
            return conditions
        case Loop(items=items) | ForkEach(items=items):
            return (items,)
        case Keep(source=source):
            return (source,)
        case _:
            return ()


def map_values(op: Op, change: Callable[[Value], Value]) -> Op:
    """Return the operation with `change` applied to every value it reads; `Keep`'s source is not a free value."""
    match op:
        case Fill(value):
            return Fill(change(value))
        case Set(name, value):
            return Set(name, change(value))
        case Select(choices=choices):
            return replace(op, choices=change(choices))
        case Branch(conditions):
            return Branch(tuple(change(condition) for condition in conditions))
        case Loop(items=items) | ForkEach(items=items):
            return replace(op, items=change(items))
        case _:
            return op
