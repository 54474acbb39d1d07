"""Which text of a graph is in how many requests' prompts: what the radix cache computes once. Read by drawings."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir import Arm, Body, Branch, Collect, ForkEach, Gen, Loop, Merge, Node, Select


def requests_after(nodes: Sequence[Node]) -> list[int]:
    """Return for each node how many gens and selects have what it writes in their prompts; loops count once.

    Every arm is counted as if it were the one that is taken.
    """
    below = [0] * len(nodes)  # requests on the prompts that go through a node
    closers: dict[int, int] = {}
    for node in reversed(nodes):
        below[node.id] += isinstance(node.op, Gen | Select)
        if isinstance(node.op, Merge | Collect) and node.parent is not None:
            closers[node.parent] = node.id
        if node.parent is not None:
            below[node.parent] += below[node.id]
    later = [0] * len(nodes)  # requests after the block that a node is in
    for node in nodes:
        if node.parent is None:
            continue
        parent = nodes[node.parent]
        later[node.id] = later[node.parent]
        if isinstance(node.op, Arm | Body) and isinstance(parent.op, Branch | Loop):
            later[node.id] += below[closers[node.parent]]
        elif isinstance(parent.op, ForkEach) and isinstance(node.op, Body):
            later[node.id] = 0
    return [
        after + more - isinstance(node.op, Gen | Select) for node, after, more in zip(nodes, below, later, strict=True)
    ]
