"""The rules for control in graphs: what is open is closed, and what was defined inside is not read from outside."""

from __future__ import annotations

import pytest

import ramify
from ramify import RequestGraph
from ramify.lang.ir import (
    Apply,
    Argument,
    Arm,
    Body,
    Branch,
    Child,
    Collect,
    Fill,
    Fork,
    ForkEach,
    Gather,
    Gen,
    Input,
    Keep,
    Loop,
    Merge,
    Reference,
    RoleBegin,
    RoleEnd,
    ScopeBegin,
    Select,
    Set,
)
from ramify.lang.sampling import Sampling

A, B = Gen("a", Sampling()), Gen("b", Sampling())
IF, ELSE = Branch((Reference(0, "a"),)), Branch((Reference(0, "a"), True))
EACH, LOOP = ForkEach(Reference(0, "a"), 3), Loop(Reference(0, "a"), 3)
READ = Fill(Reference(3, "b"))
MANY = Gen("a", Sampling(n=2))

BROKEN = {
    "a second start": ([(None, A), (None, B)], "second continuation"),
    "two ways on": ([(None, A), (0, B), (0, Fill("x"))], "a prompt goes on in one way, or forks"),
    "a fork with too few branches": ([(None, Fork(2)), (0, Child(0))], "has 1 of 2 branches"),
    "an arm outside": ([(None, A), (0, Arm(0))], "has a parent that is not a Branch"),
    "a body outside": ([(None, A), (0, Body("x"))], "not a Loop or a ForkEach"),
    "no such arm": ([(None, A), (0, IF), (1, Arm(1))], "branch 1 of a branch with 1"),
    "an arm twice": ([(None, A), (0, ELSE), (1, Arm(0)), (1, Arm(0))], "is branch 0 of"),
    "an arm missing": ([(None, A), (0, ELSE), (1, Arm(0)), (1, Merge((), ()))], "each of the 2 arms"),
    "never closed": ([(None, A), (0, IF), (1, Arm(0))], "a Merge has to follow"),
    "a loop never closed": ([(None, A), (0, LOOP), (1, Body("i"))], "a Collect has to follow"),
    "a loop without a body": ([(None, A), (0, LOOP), (1, Collect((), ()))], "without a body"),
    "two bodies": ([(None, A), (0, LOOP), (1, Body("i")), (1, Body("j"))], "branch 0 of a loop"),
    "text instead of a closer": ([(None, A), (0, IF), (1, Fill("x"))], "which a Merge closes"),
    "the wrong closer": ([(None, A), (0, LOOP), (1, Body("i")), (1, Merge((), ()))], "that it does not close"),
    "a closer of nothing": ([(None, A), (0, Collect((), ()))], "that it does not close"),
    "an arm after its closer": ([(None, A), (0, IF), (1, Merge((), ())), (1, Arm(0))], "each of the 1 arms"),
    "text after its closer": (
        [(None, A), (0, IF), (1, Arm(0)), (1, Merge((), ())), (2, Fill("x"))],
        "comes after node 3, which closes the block",
    ),
    "read from outside an arm": (
        [(None, A), (0, IF), (1, Arm(0)), (2, B), (1, Merge(("b",), ((3,),))), (4, READ)],
        "lies inside an arm or loop that has ended",
    ),
    "read from the other arm": ([(None, A), (0, ELSE), (1, Arm(0)), (2, B), (1, Arm(1)), (4, READ)], "lies inside"),
    "the item read after the loop": (
        [(None, A), (0, LOOP), (1, Body("i")), (1, Collect((), ())), (3, Fill(Reference(2, "i")))],
        "lies inside",
    ),
    "merged from outside": (
        [(None, A), (0, B), (1, IF), (2, Arm(0)), (2, Merge(("b",), ((1,),)))],
        "from node 1, which lies elsewhere",
    ),
    "collected from nowhere": (
        [(None, A), (0, LOOP), (1, Body("i")), (1, Collect(("b",), (2,)))],
        "does not define it",
    ),
    "gathered names without sources": (
        [(None, A), (0, EACH), (1, Body("i")), (1, Gather("g", ("b",), ()))],
        "each of its sources once",
    ),
    "arms in different roles": (
        [(None, A), (0, IF), (1, Arm(0)), (2, RoleBegin("user")), (1, Merge((), ()))],
        "end in different roles",
    ),
    "a body in another role": (
        [(None, A), (0, LOOP), (1, Body("i")), (2, RoleBegin("user")), (1, Collect((), ()))],
        "begins in role None and ends in role user",
    ),
    "a branch that leaves its role open": (
        [(None, Fork(1)), (0, Child(0)), (1, RoleBegin("user"))],
        "role 'user' is still open",
    ),
    "a scope left open": ([(None, ScopeBegin("x"))], "scope 'x' is still open"),
    "samples never kept": ([(None, MANY), (0, Fill("x"))], "no sample of it is kept"),
    "samples kept twice": (
        [(None, MANY), (0, Keep(Reference(0, "a"), 0)), (1, Keep(Reference(0, "a"), 0))],
        "does not wait for a choice",
    ),
    "no such function": ([(None, Fill(Apply("exec", ("1",))))], "applies 'exec'"),
    "no such input": ([(None, Fill(Argument("y")))], "reads 'y', which is not an input"),
    "no such method": ([(None, Fill("x")), (0, Select("s", ("a",), "guess"))], "selects by 'guess'"),
    "no choices": ([(None, Fill("x")), (0, Select("s", (), "constrained"))], "choices is empty"),
    "too many branches": ([(None, Fork(1000))], "1 to 256 are allowed"),
    "no such role": ([(None, RoleBegin("boss"))], "roles are system, user, assistant"),
    "a name twice, through a merge": (
        [(None, A), (0, IF), (1, Arm(0)), (2, Fill("x")), (1, Merge(("a",), ((0,),)))],
        "lies elsewhere",
    ),
    "a value that is too deep": ([(None, Set("x", None))], "nested more than 256 deep"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_breaks_a_rule_is_refused(case, nodes_of):
    items, message = BROKEN[case]
    if case == "a value that is too deep":
        deep = ()
        for _ in range(300):
            deep = (deep,)
        items = [(None, Set("x", deep))]
    with pytest.raises(ramify.ProgramError, match=message):
        RequestGraph(nodes_of(*items), inputs=(Input("x"),)).verify()


WHOLE = {
    "an if without an else": [(None, A), (0, IF), (1, Arm(0)), (2, B), (1, Merge(("b",), ((3,),))), (4, Fill("x"))],
    "arms that define one name": [
        *((None, A), (0, ELSE), (1, Arm(0)), (2, B), (1, Arm(1)), (4, B)),
        *((1, Merge(("b",), ((3, 5),))), (6, Fill(Reference(6, "b")))),
    ],
    "arms that change the role alike": [
        *((None, A), (0, ELSE), (1, Arm(0)), (2, RoleBegin("user")), (1, Arm(1)), (4, RoleBegin("user"))),
        *((1, Merge((), ())), (6, RoleEnd("user"))),
    ],
    "a fork in a body": [
        *((None, A), (0, LOOP), (1, Body("i")), (2, Fork(1)), (3, Child(0)), (4, B), (3, Fill(Reference(5, "b")))),
        (1, Collect((), ())),
    ],
    "a body that reads around it": [
        *((None, Fork(1)), (0, Child(0)), (1, A), (0, Loop(("x",), 1)), (3, Body("i")), (4, Fill(Reference(2, "a")))),
        (3, Collect((), ())),
    ],
    "a branch that closes the role it is in": [
        *((None, RoleBegin("user")), (0, Fill("x")), (1, Fork(1)), (2, Child(0)), (3, RoleEnd("user"))),
        (2, RoleEnd("user")),
    ],
}


@pytest.mark.parametrize("case", WHOLE)
def test_what_keeps_the_rules_is_taken(case, nodes_of):
    nodes = nodes_of(*WHOLE[case])
    RequestGraph(nodes).verify()
    RequestGraph.from_json(RequestGraph(nodes).to_json())


def test_it_prints(control_graph):
    text = str(control_graph)
    assert (
        "input n: {" in text and "   3    <2 case ({mode} == 'a')" in text and "  12  <2 end if, defining x, y" in text
    )
    assert "  14    <13 with p" in text and "gather tries of why, extra" in text
    assert text.endswith("return record('best', best@<32, 'marks', mark@<21, 'x', x@<12)")
