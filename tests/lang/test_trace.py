"""Tracing: one recorder, nodes with parents and references, refusals with the line, and rules that a graph obeys."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

import ramify
from ramify import RequestGraph, function, gen, select
from ramify.lang.ir import (
    Argument,
    Child,
    Fill,
    Fork,
    Gen,
    Join,
    Keep,
    Node,
    Reference,
    RoleBegin,
    RoleEnd,
    ScopeBegin,
    ScopeEnd,
    Select,
    Set,
)
from ramify.lang.sampling import Sampling


def ops(graph):
    return [node.op for node in graph.nodes]


@function
def everything(s, topic):
    s += ramify.system("Be brief.") + ramify.user("About " + topic)
    with s.assistant(), s.var_scope("all"):
        s += gen("idea", max_tokens=9, n=2)
        s.keep("idea", 1)
        branches = s.fork(2)
        for i, branch in enumerate(branches):
            branch += f"Tip {i}: " + gen("tip", type=int) + branch["idea"][0]
        s.join(branches)
        s += "Sum: " + s["tip"][0] + branches[1]["tip"] + select("mood", ["good", s["idea"][1]])
    s.set("k", s["mood"])


def test_everything_is_recorded():
    graph = everything.trace()
    nodes = graph.nodes
    assert [type(op) for op in ops(graph)] == [
        *(RoleBegin, Fill, RoleEnd, RoleBegin, Fill, Fill, RoleEnd, RoleBegin, ScopeBegin, Gen, Keep, Fork),
        *(Child, Child, Fill, Gen, Fill, Fill, Gen, Fill, Join, Fill, Fill, Fill, Select, ScopeEnd, RoleEnd, Set),
    ]
    assert nodes[5].op == Fill(Argument("topic"))
    assert nodes[9].op.sampling == Sampling(max_tokens=9, n=2)
    assert nodes[10].op == Keep(Reference(9, "idea"), 1)
    assert [node.parent for node in nodes[12:21]] == [11, 11, 12, 14, 15, 13, 17, 18, 11]
    assert nodes[16].op == Fill(Reference(9, "idea", (0,)))
    assert nodes[20].op == Join((16, 19), ("tip",), ((15, 18),))
    assert nodes[22].op == Fill(Reference(20, "tip", (0,))) and nodes[23].op == Fill(Reference(18, "tip"))
    assert nodes[24].op.choices == ("good", Reference(9, "idea", (1,)))
    assert nodes[27].op == Set("k", Reference(24, "mood")) and graph.end == 27
    assert nodes[9].location.endswith(f"test_trace.py:{everything.body.__code__.co_firstlineno + 4}")


def test_arguments_given_are_constants():
    graph = everything.trace("cats")
    assert graph.nodes[4].op == Fill("About cats")
    assert everything.bind(topic="dogs").trace().nodes[4].op == Fill("About dogs")


def test_a_live_run_makes_the_same_nodes():
    from ramify.interpreter.chain import Chain

    recorded = []
    original = Chain.append
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Chain, "append", lambda chain, node: (recorded.append(node), original(chain, node)))

        @function
        def program(s, x):
            s += ramify.user(x)
            with s.assistant():
                s += gen("a") + select("b", ["u", "v"])

        program.run("hi", backend=ramify.FakeBackend())
    assert tuple(recorded) == program.trace("hi").nodes


def test_it_prints_as_text():
    text = str(everything.trace())
    assert "   0  - begin system" in text
    assert "fill {topic}" in text and "gen idea max_tokens=9" in text
    assert "  13    <11 branch 1" in text and "fill tip[0]@<20" in text
    assert "join tip of <16, <19" in text and "keep sample 1 of idea@<9" in text
    assert text.startswith("input topic\n")
    assert len(text.splitlines()) == 1 + len(everything.trace().nodes)


def test_it_renders_as_the_text_to_be():
    @function
    def program(s, x, y="Y"):
        s += ramify.user("Ask " + x) + ramify.assistant("A: " + gen("a") + y)

    assert program.render() == "User:\nAsk {{x}}\n\nAssistant:\nA: {{a}}Y\n\n"
    assert (
        program.render("now", backend=ramify.FakeBackend()) == "<|user|>Ask now<|end|>\n<|assistant|>A: {{a}}Y<|end|>\n"
    )


REFUSED = {
    "condition": lambda s, v: "yes" if v else "no",
    "comparison": lambda s, v: v == "yes",
    "order": lambda s, v: v < 3,
    "loop": lambda s, v: list(v),
    "number": lambda s, v: int(v),
    "range": lambda s, v: range(v),
    "len()": lambda s, v: len(v),
    "in": lambda s, v: "a" in v,
    "attribute .strip": lambda s, v: v.strip(),
    "dictionary key": lambda s, v: {v: 1},
    "call": lambda s, v: v(),
    "text()": lambda s, v: s.text(),
    "messages()": lambda s, v: s.messages(),
    "meta()": lambda s, v: s.meta("a"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_control_flow_on_values_is_a_trace_error_with_the_line(what):
    @function
    def program(s):
        s += "x" + gen("a")
        REFUSED[what](s, s["a"])

    with pytest.raises(ramify.TraceError, match=r"test_trace\.py:\d+"):
        program.trace()
    open_argument = function(lambda s, a: REFUSED[what](s, a))
    if what not in ("text()", "messages()", "meta()"):
        with pytest.raises(ramify.TraceError, match="an argument that was left open"):
            open_argument.trace()


def test_programs_inside_programs_trace():
    @function
    def inner(s, name):
        s += "i" + gen(name)
        return s[name]

    @function
    def outer(s):
        first = inner(s, "a")
        s += inner("b") + first

    assert ops(outer.trace())[-1] == Fill(Reference(1, "a"))
    assert [node.op.name for node in outer.trace().nodes if isinstance(node.op, Gen)] == ["a", "b"]


def test_async_programs_trace():
    @function
    async def program(s, x):
        await asyncio.sleep(0)
        s += x + gen("a")
        s += await s.get("a")
        for branch in s.fork(2):
            branch += gen("b")

    graph = program.trace()
    assert [type(op) for op in ops(graph)] == [Fill, Gen, Fill, Fork, Child, Child, Gen, Gen]

    async def inside():
        return program.trace()

    assert asyncio.run(inside()) == graph


def test_misuse_is_found_while_tracing():
    with pytest.raises(ramify.RoleError):
        function(lambda s: s.__iadd__(ramify.user_begin())).trace()
    with pytest.raises(ramify.VariableError):
        function(lambda s: s["x"]).trace()


def test_path_and_children():
    graph = everything.trace()
    assert [node.id for node in graph.path(15)] == [*range(13), 14, 15]
    assert {node.id for node in graph.children(11)} == {12, 13, 20}


GEN = Gen("a", Sampling())


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([Node(1, None, GEN)], "has id 1 at position 0"),
        ([Node(0, 0, GEN)], "has parent 0, which does not come before"),
        ([Node(0, None, Fill(Reference(0, "a")))], "reads node 0, which does not come before"),
        ([Node(0, None, GEN), Node(1, 0, Fill(Reference(0, "b")))], "does not define it"),
        ([Node(0, None, GEN), Node(1, 0, GEN)], "defines variable 'a' a second time"),
        ([Node(0, None, RoleBegin("user")), Node(1, 0, RoleBegin("user"))], "inside role 'user'"),
        ([Node(0, None, RoleEnd("user"))], "open role is None"),
        ([Node(0, None, ScopeEnd("x"))], "not open"),
        ([Node(0, None, Child(0))], "a parent that is not a fork"),
        ([Node(0, None, Fork(1)), Node(1, 0, Child(1))], "branch 1 of a fork with 1"),
        ([Node(0, None, Fork(2)), Node(1, 0, Child(0)), Node(2, 0, Child(0))], "branch 0 of a fork"),
        ([Node(0, None, GEN), Node(1, 0, Keep(Reference(0, "a"), 1))], "has no such sample"),
        ([Node(0, None, GEN), Node(1, 0, Join((0,), ("b",), ((0,),)))], "does not define it"),
        ([Node(0, None, Join((5,), (), ()))], "does not come before it"),
    ],
)
def test_a_graph_that_breaks_a_rule_is_refused(nodes, message):
    with pytest.raises(ramify.ProgramError, match=message):
        RequestGraph(tuple(nodes)).verify()


def test_two_branches_may_use_one_name():
    nodes = [Node(0, None, Fork(2)), *(Node(i + 1, 0, Child(i)) for i in range(2))]
    nodes += [Node(3, 1, GEN), Node(4, 2, GEN)]
    RequestGraph(tuple(nodes)).verify()


def test_graphs_have_limits():
    node = Node(0, None, Fill("x"))
    graph = RequestGraph(tuple(replace(node, id=i) for i in range(10_001)))
    with pytest.raises(ramify.ProgramError, match="at most 10000"):
        graph.verify()
    with pytest.raises(ramify.ProgramError, match="does not exist"):
        RequestGraph((node,), end=3).verify()
