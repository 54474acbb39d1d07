"""Dead nodes: variables of branches, arms and bodies that nobody reads. Gens stay: their text is part of a prompt."""

from __future__ import annotations

from collections.abc import Iterator

from ..graph import RequestGraph
from ..graph.values import sources_of, values_of
from ..ir import Arm, Body, Child, Collect, Gather, Join, Merge, Node, Reference, Set
from .rebuild import GraphT, rebuilt


def without_dead_nodes(graph: GraphT) -> GraphT:
    """Return the graph without sets that are read by no value, no join and no merge.

    Variables of the main prompt are the run's result and stay.
    """
    main = _main_prompt(graph)
    read = {source.node for source in sources_of(graph.result) if isinstance(source, Reference)}
    kept: list[Node] = []
    for node in reversed(graph.nodes):  # a reader comes after what it reads
        if isinstance(node.op, Set) and node.id not in main and node.id not in read:
            continue
        kept.append(node)
        read.update(_read_by(node))
    instead = {node.id: node.parent for node in graph.nodes}
    return graph if len(kept) == len(graph.nodes) else rebuilt(graph, kept[::-1], instead)


def _main_prompt(graph: RequestGraph) -> set[int]:
    """The nodes of the prompt that the graph begins with, without branches, arms and bodies."""
    main: set[int] = set()
    for node in graph.nodes:
        is_inside = isinstance(node.op, Child | Arm | Body)
        if not is_inside and (node.parent is None or node.parent in main):
            main.add(node.id)
    return main


def _read_by(node: Node) -> Iterator[int]:
    for value in values_of(node.op):
        yield from (source.node for source in sources_of(value) if isinstance(source, Reference))
    match node.op:
        case Join(_, _, sources) | Merge(_, sources):
            yield from (source for row in sources for source in row if source is not None)
        case Collect(_, sources) | Gather(_, _, sources):
            yield from sources
        case _:
            pass
