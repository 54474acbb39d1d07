"""Passes: the graph they return makes the same requests and gives the same result, and is what it should be."""

from __future__ import annotations

import importlib.util
import random
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings

import ramify
from ramify import FakeBackend, RequestGraph, function, gen, select
from ramify.lang.ir import Apply, Argument, Fill, Fork, Gen, Input, Join, Reference, Set
from ramify.lang.passes import depth_first, folded, optimized, row_order, without_dead_nodes
from ramify.lang.sampling import Sampling


def sibling(name):
    """A module of this folder, which is no package."""
    spec = importlib.util.spec_from_file_location(f"graph_{name}", Path(__file__).parent / f"{name}.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


equality = sibling("test_equality")
PASSES = {"fold": folded, "dead": without_dead_nodes, "order": depth_first, "all": optimized}


@settings(max_examples=60)
@given(steps=equality.STEPS)
def test_passes_change_nothing_that_can_be_seen(steps):
    graph = equality.program_of(steps).compile()
    plain = FakeBackend()
    expected = equality.facts(graph.run(topic="cats", backend=plain))
    for name, change in PASSES.items():
        changed, backend = change(graph), FakeBackend()
        changed.verify()
        assert equality.facts(changed.run(topic="cats", backend=backend)) == expected, name
        assert equality.asked(backend) == equality.asked(plain), name
        assert change(changed) == changed, name
        bound = change(graph.bind(topic="cats"))
        assert equality.facts(bound.run(backend=FakeBackend())) == expected, name


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("case", [{"mode": "a", "items": []}, {"mode": "b", "items": ["one", "two"], "n": 3}])
def test_passes_on_control(control_graph, name, case):
    for graph in (control_graph, control_graph.bind(**case)):
        arguments = {key: value for key, value in case.items() if graph is control_graph}
        changed = PASSES[name](graph)
        changed.verify()
        live, backend = FakeBackend(), FakeBackend()
        expected = graph.run(**arguments, backend=live)
        found = changed.run(**arguments, backend=backend)
        assert equality.facts(found) == equality.facts(expected)
        assert equality.asked(backend) == equality.asked(live)


def test_constants_are_folded(nodes_of):
    nodes = nodes_of(
        (None, Fill("a")),
        (0, Fill(Apply("concat", ("b", 3)))),
        (1, Set("k", Apply("+", (1, 2)))),
        (2, Fill(Reference(2, "k"))),
        (3, Fill("")),
        (4, Fill(Argument("x"))),
        (5, Fill(" c")),
        (6, Fill(Apply("<", ("a", 1)))),
        (7, Fill(Apply("and", (False, Argument("x"))))),
    )
    graph = folded(RequestGraph(nodes, 8, (Input("x"),)))
    assert [node.op for node in graph.nodes] == [
        Fill("ab3"),
        Set("k", 3),
        Fill("3"),
        Fill(Argument("x")),
        Fill(" c"),
        Fill(Apply("<", ("a", 1))),
        Fill(Apply("and", (False, Argument("x")))),
    ]
    assert graph.end == 6 and [node.parent for node in graph.nodes] == [None, 0, 1, 2, 3, 4, 5]


def test_dead_variables_go_and_readable_ones_stay():
    @function
    def program(s):
        s.set("result", 1)
        s += "x"
        left, right = s.fork(2)
        left.set("unread", 2)
        left += "l" + gen("a")
        right.set("read", left["a"])
        right += right["read"] + gen("b")
        s.join([right])

    ops = [node.op for node in without_dead_nodes(program.compile()).nodes]
    assert [op.name for op in ops if isinstance(op, Set)] == ["result", "read"]
    assert sum(isinstance(op, Gen) for op in ops) == 2


def test_branches_come_depth_first():
    @function
    def program(s):
        s += "x"
        outer = s.fork(3)
        outer += gen("a", max_tokens=2)
        inner = [branch.fork(2) for branch in outer]
        for twigs in inner:
            twigs += gen("b", max_tokens=2)
        s += outer[2]["a"] + gen("end", max_tokens=2)

    graph = depth_first(program.compile())
    graph.verify()
    names = [node.op.name for node in graph.nodes if isinstance(node.op, Gen)]
    assert names == ["a", "b", "b"] * 3 + ["end"]
    assert [type(node.op) for node in graph.nodes].count(Fork) == 4
    paths = [[n.id for n in graph.path(node.id)] for node in graph.nodes if isinstance(node.op, Gen)]
    shared = sum(len(set(one) & set(other)) for one, other in pairwise(paths))
    assert shared >= 6 * 4  # each shares its fork with the one before


def test_a_branch_that_reads_a_later_one_still_comes_after_it():
    @function
    def program(s):
        s += "x"
        first, second = s.fork(2)
        second += "s" + gen("b")
        first += second["b"] + gen("a")
        s.join([first, second])

    graph = depth_first(program.compile())
    names = [node.op.name for node in graph.nodes if isinstance(node.op, Gen)]
    assert names == ["b", "a"] and any(isinstance(node.op, Join) for node in graph.nodes)
    assert graph.run(backend=FakeBackend(["B", "A"])).text() == "x"


def test_levels_are_what_a_run_waits_for():
    @function
    def program(s):
        s += "x" + gen("a")
        branches = s.fork(3)
        for branch in branches:
            branch += gen("b") + select("c", ["u", "v"])
        s += "y" + gen("d")
        branches.join()
        s += s["b"][0] + gen("e")

    graph = program.compile()
    steps = [sorted(graph.nodes[node].op.name for node in step) for step in graph.levels()]
    assert steps == [["a"], ["b", "b", "b", "d"], ["c", "c", "c"], ["e"]]


def test_levels_of_control(control_graph):
    steps = [[control_graph.nodes[node].op.name for node in step] for step in control_graph.levels()]
    assert steps == [["u"], ["x", "x", "y"], ["mark"], ["why"], ["extra"], ["z"]]


def test_rows_with_a_common_prefix_stand_side_by_side():
    @function
    def program(s, document, question):
        s += ramify.user(f"{document}\n{question}") + ramify.assistant(gen("a", max_tokens=2))

    graph = program.compile()
    rows = [{"document": f"document {i % 5}", "question": f"question {i}"} for i in range(20)]
    random.Random(1).shuffle(rows)
    order = row_order(graph, rows)
    assert sorted(order) == list(range(20))
    documents = [rows[place]["document"] for place in order]
    assert documents == sorted(documents)
    unknown = RequestGraph((*graph.nodes[:0],), None)
    assert row_order(unknown, [{}] * 3) == [0, 1, 2]


def test_rows_in_order_hit_a_small_cache_more_often():
    """A cache that holds little more than one document: a graph's batch computes each once, else again and again."""

    @function(max_tokens=2, ignore_eos=True, temperature=0)
    def program(s, document, question):
        s += f"{document}\n{question}" + gen("a")

    rows = [{"document": f"{i % 6} " + f"word{i % 6} zebra " * 50, "question": f"q{i}"} for i in range(24)]
    hits, answers = {}, {}
    for name, runner in (("given", program), ("ordered", program.compile())):
        with ramify.Engine(num_threads=1, max_total_tokens=512, max_running=1, policy="fcfs") as engine:
            results = runner.run_batch(rows, backend=engine, concurrency=1)
            answers[name] = [row.unwrap()["a"] for row in results]
            hits[name] = engine.stats().cached_tokens / engine.stats().prompt_tokens
    assert answers["ordered"] == answers["given"]
    assert hits["ordered"] > 0.7 > 0.4 > hits["given"]


def test_sampling_is_untouched():
    graph = function(lambda s: s.__iadd__("x" + gen("a", n=2)) and None).compile()
    assert optimized(graph).nodes[1].op.sampling == Sampling(n=2)
