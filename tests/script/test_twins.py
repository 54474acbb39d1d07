"""A script and its Python twin send the same requests: prompts byte by byte, sampling, constraints, choices."""

from __future__ import annotations

import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ramify
from ramify import RequestGraph
from ramify.lang.script import check, explain, render_all

FIXTURES = settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_every_construct(everything, run, twin_of):
    text, arguments = everything
    script, twin = ramify.parse_script(text), twin_of(text)
    for seed in range(5):  # other answers take other arms
        ours, our_requests = run(script, arguments, seed=seed)
        theirs, their_requests = run(twin, arguments, seed=seed)
        assert our_requests == their_requests
        assert (ours.value, ours.text(), ours.messages()) == (theirs.value, theirs.text(), theirs.messages())
        for name in ours:
            assert ours[name] == theirs[name]


@FIXTURES
@given(st.integers(0, 10**9))
def test_invented_scripts(invented, run, twin_of, seed):
    text, arguments = invented(random.Random(seed))
    found = check(text)
    assert not any(diagnostic.is_error for diagnostic in found), f"{text}\n{render_all(found)}"
    ours, our_requests = run(ramify.parse_script(text), arguments, seed=seed)
    theirs, their_requests = run(twin_of(text), arguments, seed=seed)
    assert our_requests == their_requests, text
    assert (ours.text(), ours.value) == (theirs.text(), theirs.value), text
    assert {name: ours[name] for name in ours} == {name: theirs[name] for name in ours}, text


def test_sampling_defaults_reach_both(everything, run, twin_of):
    text, arguments = everything
    defaults = {"temperature": 0.25, "max_tokens": 99}
    _, ours = run(ramify.parse_script(text).with_sampling(**defaults), arguments)
    _, theirs = run(twin_of(text).with_sampling(**defaults), arguments)
    assert ours == theirs
    assert any("temperature=0.25" in sampling and "max_tokens=99" in sampling for _, sampling, _ in ours)
    assert any("temperature=0.5" in sampling and "max_tokens=80" in sampling for _, sampling, _ in ours)


def test_the_graph_is_what_runs(everything, run):
    text, arguments = everything
    script = ramify.parse_script(text)
    assert run(script.compile(), arguments)[1] == run(script, arguments)[1]


def test_names_of_the_twin_do_not_collide(run, twin_of):
    text = (
        "@program text(s: str, text: str, ramify: int, index: list[str], items: list[int] = [1])\n"
        "{{s}} {{text}} {{ramify}} {{index}}\n"
        "@for branch in range(ramify) max 5\n{{gen branches}}\n@end\n"
        "@for item in items max 5\n{{item}} {{join(items)}}\n@end\n"
        "@fork state in items as i\n{{gen x}} {{state}}\n@end\n"
    )
    arguments = {"s": "a", "text": "b", "ramify": 2, "index": ["c"]}
    assert run(ramify.parse_script(text), arguments)[1] == run(twin_of(text), arguments)[1]


def test_types_that_hold_records(run, twin_of):
    text = (
        "@program p(given: Either | {c: str?})\n"
        '@type Either = {k: "a", n: int} | {k: "b", s: str}\n'
        "@type Many = list[{x: Either?, y: list[{z: bool}]}]\n"
        "{{given}} {{gen one: Either, max=100}} {{gen many: Many, max=400}} {{many.y}}\n"
        "@return many\n"
    )
    for value in ({"k": "b", "s": "é"}, {"c": None}):
        ours, our_requests = run(ramify.parse_script(text), {"given": value})
        theirs, their_requests = run(twin_of(text), {"given": value})
        assert our_requests == their_requests
        assert (ours.text(), ours.value) == (theirs.text(), theirs.value)


def test_arguments_are_the_same_bound_and_given(run):
    text = (
        "@program p(xs: list[str], r: {a: list[int], b: {c: str?}}, n: float, z: int? = null)\n"
        "Q {{select c from xs}} {{r}} {{r.a[0]}} {{n}} {{z == null}}\n"
        "@for x in xs\n{{x}}\n@end\n@fork y in r.a as ys\n{{gen k, max=2}} {{y}}\n@end\n@return r\n"
    )
    script, arguments = ramify.parse_script(text), {"xs": ["a", "b"], "r": {"a": [1, 2], "b": {"c": None}}, "n": 2.5}
    expected, requests = run(script, arguments)
    for names in (["xs"], ["r", "n"], ["xs", "r", "n", "z"]):
        given = {**arguments, "z": None}
        rest = {name: given.pop(name) for name in list(given) if name not in names}
        graph = script.compile(**given)
        for bound in (graph, RequestGraph.from_json(graph.to_json()), script.bind(**given)):
            found, found_requests = run(bound, rest)
            assert (found.text(), found.value, found_requests) == (expected.text(), expected.value, requests)


def test_too_many_items_end_both(run, twin_of):
    text = "@program p(xs: list[str])\n@for x in xs max 2\n{{x}} {{gen y}}\n@end\n"
    for program in (ramify.parse_script(text), twin_of(text)):
        assert run(program, {"xs": ["a", "b"]})
        try:
            run(program, {"xs": ["a", "b", "c"]})
        except ramify.ProgramError as error:
            assert "at most 2" in str(error)
        else:
            raise AssertionError("three items were taken where two are allowed")


def test_the_twin_reads_well():
    """The whole of one, as a reader sees it."""
    text = (
        "@program triage(ticket: str, teams: list[str]) -> {urgency: Urgency, reply: str?}\n"
        '@type Urgency = "low" | "high"\n'
        "@user\nTicket: {{ticket}}\n@assistant\nUrgency: {{gen urgency: Urgency}}\n"
        '@if urgency == "high"\nReply: {{gen reply, max=60}}\n@end\n'
    )
    assert (
        explain(text, "triage.rmf")
        == '''"""The Python twin of triage.rmf: it sends the same requests."""

from typing import Literal

import ramify


Urgency = Literal["low", "high"]


@ramify.function
def triage(s, ticket: str, teams: list[str]):
    with s.user():
        s += "Ticket: " + ticket
    with s.assistant():
        s += "Urgency: " + ramify.gen("urgency", type=Urgency)
        if s["urgency"] == "high":
            s += "\\nReply: " + ramify.gen("reply", max_tokens=60)
        else:
            s.set("reply", None)
    return {"urgency": s["urgency"], "reply": s["reply"]}
'''
    )
