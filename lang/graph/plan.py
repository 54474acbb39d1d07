"""`Plan`: in which order the nodes of a graph can be recorded, region by region. Made once, used by every run.

A region is the main prompt with all its branches, or what lies directly in one arm or body. A node can be recorded when
its parent and the nodes it reads are; what a block reads from around it, the node that opens the block waits for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ..ir import Arm, Body, Collect, Gather, Join, Merge, Node, Reference
from .values import sources_of, values_of


@dataclass(slots=True)
class Region:
    """The nodes of a region in order; how many others each waits for, and which ones wait for it."""

    nodes: list[int] = field(default_factory=list)
    needs: dict[int, int] = field(default_factory=dict)
    followers: dict[int, list[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """`regions` by the node that begins them (an `Arm` or `Body`; None: the whole graph).

    `inside`: the arms or the body of each opener, arms in order.
    """

    nodes: Sequence[Node]
    regions: dict[int | None, Region]
    inside: dict[int, list[int]]


def make_plan(nodes: Sequence[Node]) -> Plan:
    """Return the plan of a graph that has been verified."""
    plan = Plan(nodes, {None: Region()}, {})
    region_of = regions_of(nodes)
    waits: dict[int, set[int]] = {}
    for node in nodes:
        if isinstance(node.op, Arm | Body):
            assert node.parent is not None
            plan.regions[node.id] = Region()
            plan.inside.setdefault(node.parent, []).append(node.id)
            continue
        plan.regions[region_of[node.id]].nodes.append(node.id)
        waits[node.id] = set()
        for source in needed_by(node):
            if isinstance(nodes[source].op, Arm | Body):
                continue  # there from the moment its region begins
            waiting = node.id
            while region_of[waiting] != region_of[source]:
                waiting = _opener(nodes, region_of[waiting])
            waits[waiting].add(source)
    for starts in plan.inside.values():
        starts.sort(key=lambda start: getattr(nodes[start].op, "index", 0))
    for waiting, sources in waits.items():
        region = plan.regions[region_of[waiting]]
        region.needs[waiting] = len(sources)
        for source in sources:
            region.followers.setdefault(source, []).append(waiting)
    return plan


def regions_of(nodes: Sequence[Node]) -> list[int | None]:
    """Return for each node the `Arm` or `Body` that it lies directly in; None outside of all."""
    regions: list[int | None] = []
    for node in nodes:
        if node.parent is None:
            regions.append(None)
        else:
            is_first = isinstance(nodes[node.parent].op, Arm | Body)
            regions.append(node.parent if is_first else regions[node.parent])
    return regions


def needed_by(node: Node) -> Iterator[int]:
    """Yield the nodes that have to be recorded before `node`."""
    if node.parent is not None:
        yield node.parent
    for value in values_of(node.op):
        yield from (source.node for source in sources_of(value) if isinstance(source, Reference))
    match node.op:
        case Join(ends, _, sources):
            yield from ends
            yield from (source for row in sources for source in row if source is not None)
        case Merge() | Collect() | Gather():
            pass  # what they gather lies in the block that their parent opens
        case _:
            pass


def _opener(nodes: Sequence[Node], region: int | None) -> int:
    assert region is not None, "a reader is never further out than what it reads"
    opener = nodes[region].parent
    assert opener is not None
    return opener
