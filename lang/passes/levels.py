"""Parallel levels: which generations can run at the same time, and how many have to run one after the other."""

from __future__ import annotations

from collections.abc import Iterator

from ..graph import RequestGraph
from ..graph.plan import needed_by
from ..ir import Arm, Body, Collect, Gather, Gen, Join, Merge, Node, Select


def levels(graph: RequestGraph) -> tuple[tuple[int, ...], ...]:
    """Return the gens and selects in steps: each one needs only what is in earlier steps. Loops count one pass.

    The number of steps is how many answers a run waits for one after the other, with any number of them in parallel.
    """
    depths: list[int] = []  # of each node: the requests that have to be done before what follows it can start
    inside: dict[int, int] = {}  # the deepest node of each block
    openers: list[int | None] = []
    for node in graph.nodes:
        before = [depths[source] for source in _waits_for(node)]
        if isinstance(node.op, Merge | Collect | Gather) and node.parent is not None:
            before.append(inside.get(node.parent, 0))
        depths.append(max(before, default=0) + isinstance(node.op, Gen | Select))
        opener = None if node.parent is None else openers[node.parent]
        if isinstance(node.op, Arm | Body):
            opener = node.parent
        elif isinstance(node.op, Merge | Collect | Gather) and node.parent is not None:
            opener = openers[node.parent]
        openers.append(opener)
        while opener is not None:
            inside[opener] = max(inside.get(opener, 0), depths[node.id])
            opener = openers[opener]
    steps: dict[int, list[int]] = {}
    for node in graph.nodes:
        if isinstance(node.op, Gen | Select):
            steps.setdefault(depths[node.id], []).append(node.id)
    return tuple(tuple(steps[depth]) for depth in sorted(steps))


def _waits_for(node: Node) -> Iterator[int]:
    """The nodes whose values or text `node` waits for; a join waits for what it gathers, not for its branches' ends."""
    match node.op:
        case Join(_, _, sources):
            yield from (source for row in sources for source in row if source is not None)
            if node.parent is not None:
                yield node.parent
        case _:
            yield from needed_by(node)
