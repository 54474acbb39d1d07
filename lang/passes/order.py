"""The order of branches: depth first, so that what shares the longest prefix is asked for one after the other.

That order is optimal for a prefix cache of any size that holds one path: no prefix is given up before the last request
that needs it (SGLang: Zheng et al., 2024, theorem 3.1). Rows of a batch are put in order for the same reason.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import ProgramError
from ..evaluate import evaluate, text_of
from ..graph import RequestGraph
from ..graph.plan import needed_by, regions_of
from ..graph.values import Source
from ..ir import Argument, Arm, Body, Child, Collect, Fill, Gather, Merge, Node, RoleBegin, RoleEnd
from .rebuild import GraphT, rebuilt


def depth_first(graph: GraphT) -> GraphT:
    """Return the graph with the nodes of a branch before those of its later siblings and of what follows the fork.

    A node still comes after what it reads; where a branch reads another one's value, it waits for that.
    """
    places = _places(graph.nodes)
    needs = _needs(graph.nodes)
    followers: dict[int, list[int]] = {}
    for node_id, sources in enumerate(needs):
        for source in sources:
            followers.setdefault(source, []).append(node_id)
    ready = [(places[node_id], node_id) for node_id, sources in enumerate(needs) if not sources]
    heapq.heapify(ready)
    order: list[Node] = []
    while ready:
        _, node_id = heapq.heappop(ready)
        order.append(graph.nodes[node_id])
        for follower in followers.get(node_id, ()):
            needs[follower].discard(node_id)
            if not needs[follower]:
                heapq.heappush(ready, (places[follower], follower))
    if [node.id for node in order] == list(range(len(order))):
        return graph
    return rebuilt(graph, order)


def row_order(graph: RequestGraph, rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return in which order to run the rows of a batch: those that share most of their first prompt side by side.

    Rows whose prompts cannot be told before a run keep their places among each other.
    """
    keys = [_known_text(graph, row) for row in rows]
    return sorted(range(len(rows)), key=lambda place: keys[place])


def _known_text(graph: RequestGraph, row: Mapping[str, Any]) -> str:
    """The text of the main prompt as far as the row's arguments tell it."""
    given = {item.name: item.default for item in graph.inputs} | dict(row)

    def lookup(source: Source) -> Any:
        if isinstance(source, Argument):
            return given[source.name]
        raise ProgramError("generated: not known before the run")

    parts: list[str] = []
    for node in graph.path(graph.end):
        match node.op:
            case Fill(value):
                try:
                    parts.append(text_of(evaluate(value, lookup)))
                except (ProgramError, TypeError, ValueError):
                    break
            case RoleBegin() | RoleEnd():
                continue
            case _:
                break
    return "".join(parts)


def _places(nodes: Sequence[Node]) -> list[int]:
    """Return where each node stands when branches are walked depth first, before what follows their fork."""
    children: dict[int | None, list[int]] = {}
    for node in nodes:
        children.setdefault(node.parent, []).append(node.id)
    places, place = [0] * len(nodes), 0
    pending = children.get(None, [])[::-1]
    while pending:
        node_id = pending.pop()
        places[node_id], place = place, place + 1
        inside = [child for child in children.get(node_id, ()) if isinstance(nodes[child].op, Child | Arm | Body)]
        after = [child for child in children.get(node_id, ()) if child not in inside]
        inside.sort(key=lambda child: getattr(nodes[child].op, "index", 0))
        pending += after[::-1] + inside[::-1]
    return places


def _needs(nodes: Sequence[Node]) -> list[set[int]]:
    """Return what has to come before each node: its parent, what it reads, and for a closer the whole block."""
    needs = [set(needed_by(node)) for node in nodes]
    regions = regions_of(nodes)
    closers = {node.parent: node.id for node in nodes if isinstance(node.op, Merge | Collect | Gather)}
    for node in nodes:
        region = regions[node.id]
        while region is not None:
            opener = nodes[region].parent
            needs[closers[opener]].add(node.id)
            region = regions[region]
    return needs
