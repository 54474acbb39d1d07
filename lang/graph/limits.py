"""`Limits`: how large a graph may be before it is refused, and the most that one run of it can generate.

Read by `verify.py`; a server sets its own limits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..ir import Arm, Body, ForkEach, Gen, Loop, Node

MAX_VALUE_DEPTH = 256  # of values inside values: they are walked by functions that call themselves


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a graph may ask for.

    - `nodes`: operations of the graph. `nesting`: blocks inside blocks, branches of forks included. `characters`:
      constant text of the whole graph.
    - `forks`: branches of one fork. `passes`: items of one loop.
    - `tokens`: tokens that one run can generate at most (`most_tokens`); None does not ask.
    """

    nodes: int = 10_000
    nesting: int = 64
    characters: int = 16_000_000
    forks: int = 256
    passes: int = 10_000
    tokens: int | None = None


def most_tokens(nodes: Sequence[Node]) -> int:
    """Return how many tokens a run generates at most: every gen and every loop up to its limit, the longest arms."""
    inside = [0] * len(nodes)  # of the arms or body of a node
    after = [0] * len(nodes)  # of a node and all that follows it
    for node in reversed(nodes):
        match node.op:
            case Gen(sampling=sampling):
                after[node.id] += sampling.max_tokens * sampling.n
            case Loop(limit=limit) | ForkEach(limit=limit):
                after[node.id] += inside[node.id] * limit
            case _:
                after[node.id] += inside[node.id]
        if node.parent is None:
            continue
        if isinstance(node.op, Arm | Body):
            inside[node.parent] = max(inside[node.parent], after[node.id])
        else:
            after[node.parent] += after[node.id]
    return sum(after[node.id] for node in nodes if node.parent is None)
