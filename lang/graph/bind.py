"""Giving a graph some of its arguments for good: a smaller graph with fewer inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..ir import Argument, Input, Node, Value
from .inputs import check_input, check_known
from .values import Source, follow, map_values, substitute


def bind(
    nodes: Sequence[Node], inputs: Sequence[Input], result: Value, arguments: Mapping[str, Any]
) -> tuple[tuple[Node, ...], tuple[Input, ...], Value]:
    """Return nodes, inputs and result with the arguments put in; `ParameterError` for one that does not fit."""
    check_known(inputs, arguments)
    for given in inputs:
        if given.name in arguments:
            check_input(given, arguments[given.name])

    def change(source: Source) -> Value:
        if isinstance(source, Argument) and source.name in arguments:
            return follow(arguments[source.name], source.path)
        return source

    def changed(value: Value) -> Value:
        return substitute(value, change)

    return (
        tuple(replace(node, op=map_values(node.op, changed)) for node in nodes),
        tuple(given for given in inputs if given.name not in arguments),
        changed(result),
    )
