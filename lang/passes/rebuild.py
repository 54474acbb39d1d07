"""A graph put together again from some of its nodes, in another order, with all node numbers following.

What every pass ends with. It knows which fields of operations are node numbers, and nothing of what a pass is for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from ..graph import RequestGraph
from ..graph.values import Source, map_values, substitute
from ..ir import Collect, Gather, Join, Keep, Merge, Node, Op, Reference, Value

GraphT = TypeVar("GraphT", bound=RequestGraph)


def rebuilt(graph: GraphT, order: Sequence[Node], instead: Mapping[int, int | None] | None = None) -> GraphT:
    """Return the graph with the nodes of `order`, which have the ids and references of `graph`.

    `instead`: for a node that is left out, the one that takes its place as a parent (None: the start of the prompt).
    """
    numbering = _Numbering({node.id: number for number, node in enumerate(order)}, instead or {})
    nodes = tuple(
        Node(numbering.of[node.id], numbering.parent(node.parent), numbering.op(node.op), node.location)
        for node in order
    )
    return replace(graph, nodes=nodes, end=numbering.parent(graph.end), result=numbering.value(graph.result))


class _Numbering:
    """New numbers for old ones."""

    def __init__(self, of: Mapping[int, int], instead: Mapping[int, int | None]) -> None:
        self.of = of
        self._instead = instead

    def parent(self, node_id: int | None) -> int | None:
        """Return the new number of a node, or of the one that has taken its place."""
        while node_id is not None and node_id not in self.of:
            node_id = self._instead[node_id]
        return None if node_id is None else self.of[node_id]

    def value(self, value: Value) -> Value:
        """Return a value with new numbers in its references."""

        def change(source: Source) -> Value:
            return replace(source, node=self.of[source.node]) if isinstance(source, Reference) else source

        return substitute(value, change)

    def op(self, op: Op) -> Op:
        """Return an operation with new numbers."""
        match op:
            case Join(ends, _, sources):
                found = (self.parent(end) for end in ends)
                return replace(op, ends=tuple(end for end in found if end is not None), sources=self._rows(sources))
            case Merge(_, sources):
                return replace(op, sources=self._rows(sources))
            case Collect() | Gather():
                return replace(op, sources=tuple(self.of[source] for source in op.sources))
            case Keep(source, index):
                return Keep(replace(source, node=self.of[source.node]), index)
            case _:
                return map_values(op, self.value)

    def _rows(self, rows: tuple[tuple[int | None, ...], ...]) -> tuple[tuple[int | None, ...], ...]:
        return tuple(tuple(None if source is None else self.of[source] for source in row) for row in rows)
