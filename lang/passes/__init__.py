"""Graphs into graphs that do the same: constants folded, what nobody reads left out, branches in cache order.

Each pass is one function of a verified graph; `optimized` applies all of them. Used before a graph runs.
"""

from .dead import without_dead_nodes
from .fold import folded
from .levels import levels
from .order import depth_first, row_order
from .rebuild import GraphT

__all__ = ["depth_first", "folded", "levels", "optimized", "row_order", "without_dead_nodes"]


def optimized(graph: GraphT) -> GraphT:
    """Return the graph with all passes applied; it makes the same requests and gives the same result."""
    return depth_first(without_dead_nodes(folded(graph)))
