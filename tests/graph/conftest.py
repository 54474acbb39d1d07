"""Graphs with all kinds of control, and a generator of programs."""

from __future__ import annotations

import pytest

from ramify import RequestGraph
from ramify.lang.ir import (
    Apply,
    Argument,
    Arm,
    Body,
    Branch,
    Collect,
    Fill,
    ForkEach,
    Gather,
    Gen,
    Input,
    Loop,
    Merge,
    Node,
    Reference,
    Set,
)
from ramify.lang.sampling import Sampling

SHORT = Sampling(max_tokens=5)


def number(*items):
    return tuple(Node(index, parent, op) for index, (parent, op) in enumerate(items))


@pytest.fixture(scope="session")
def nodes_of():
    """(parent, operation) pairs as nodes."""
    return number


@pytest.fixture(scope="session")
def control_graph():
    """An if in front, a loop with an if in it, a fork for each item with an if in it, and what gathers them."""
    nodes = number(
        (None, Fill("Q ")),
        (0, Gen("u", SHORT)),
        (1, Branch((Apply("==", (Argument("mode"), "a")), Apply("==", (Reference(1, "u"), "?")), True))),
        (2, Arm(0)),
        (3, Fill(" A:")),
        (4, Gen("x", SHORT)),
        (2, Arm(1)),
        (6, Fill(" B:")),
        (7, Gen("x", SHORT)),
        (2, Arm(2)),
        (9, Fill(" C:")),
        (10, Gen("y", SHORT)),
        (2, Merge(("x", "y"), ((5, 8, None), (None, None, 11)))),
        (12, Loop(Argument("items"), 5)),
        (13, Body("p")),
        (14, Fill(Apply("concat", (" <", Reference(14, "p"), ">")))),
        (15, Gen("mark", SHORT)),
        (16, Branch((Apply(">", (Apply("len", (Reference(16, "mark"),)), 3)),))),
        (17, Arm(0)),
        (18, Fill("!")),
        (17, Merge((), ())),
        (13, Collect(("mark",), (16,))),
        (21, ForkEach(Apply("range", (Argument("n"),)), 8)),
        (22, Body("i")),
        (23, Fill(Apply("concat", ("\nTry ", Reference(23, "i"), ":")))),
        (24, Gen("why", SHORT)),
        (25, Branch((Apply("==", (Reference(23, "i"), 1)),))),
        (26, Arm(0)),
        (27, Fill(" one")),
        (28, Gen("extra", SHORT)),
        (26, Merge(("extra",), ((29,),))),
        (22, Gather("tries", ("why", "extra"), (25, 30))),
        (31, Set("best", Apply("majority", (Reference(31, "tries", ("why",)),)))),
        (32, Fill("\nEnd ")),
        (33, Fill(Reference(32, "best"))),
        (34, Gen("z", SHORT)),
    )
    inputs = (Input("mode"), Input("items"), Input("n", '{"type":"integer"}', 2, False))
    pairs = ("best", Reference(32, "best"), "marks", Reference(21, "mark"), "x", Reference(12, "x"))
    graph = RequestGraph(nodes, 35, inputs, Apply("record", pairs))
    graph.verify()
    return graph
