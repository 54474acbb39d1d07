"""Whatever a program does, its graph does the same: prompts, requests, values; also after JSON, and after passes."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ramify
from ramify import FakeBackend, RequestGraph, function, gen, select

PLAIN = st.sampled_from(["text", "arg", "f-string", "gen", "int", "literal", "select", "samples", "read", "set"])
STEPS = st.recursive(
    st.lists(PLAIN, max_size=4),
    lambda inner: st.lists(
        st.one_of(
            PLAIN,
            st.tuples(st.sampled_from(["scope", "user", "assistant", "inner", "async"]), inner.map(lambda x: [x])),
            st.tuples(st.sampled_from(["fork", "join", "copy"]), st.lists(inner, min_size=1, max_size=3)),
        ),
        max_size=5,
    ),
    max_leaves=12,
)


class Writer:
    """Takes steps on a state; every name says where it was made, so no two are alike."""

    def __init__(self, topic):
        self.topic = topic

    def take(self, s, steps, path="r"):
        for number, step in enumerate(steps):
            name = f"{path}_{number}"
            if isinstance(step, str):
                self.plain(s, step, name)
            elif step[0] in ("fork", "join", "copy"):
                self.branches(s, *step, name)
            else:
                self.block(s, step[0], step[1][0], name)

    def plain(self, s, step, name):
        known = [key for key in s.recorder.names if not key.endswith("_all")]
        match step:
            case "text":
                s += f"<{name}>"
            case "arg":
                s += "Topic " + self.topic + ";"
            case "f-string":
                last = f"{s[known[-1]]!s:>9}" if known else ""
                s += f"[{self.topic:>6}|{last}]"
            case "gen":
                s += "?" + gen(name, max_tokens=4) + "."
            case "int":
                s += "n=" + gen(name, type=int, max_tokens=30)
            case "literal":
                s += "l=" + gen(name, type=Literal["a", "bb", "ccc"], max_tokens=5)
            case "select":
                s += "s=" + select(name, ["yes", "no", f"{self.topic}!"])
            case "samples":
                s += "m=" + gen(name, max_tokens=3, n=2, stop=".")
                s.keep(name, 1)
            case "read" if known:
                s += f"({s[known[0]]})" + str(s[known[-1]])
            case "set" if known:
                s.set(name, [self.topic, {"last": s[known[-1]]}, f"{s[known[0]]}!"])

    def block(self, s, kind, steps, name):
        match kind:
            case "scope":
                with s.var_scope(f"{name}_all"):
                    self.take(s, ["text", *steps], name)
            case "user" | "assistant" if s.recorder.role is None:
                with s.user() if kind == "user" else s.assistant():
                    self.take(s, steps, name)
            case "inner":
                inner = function(lambda state: self.take(state, steps, name), temperature=0.5)
                inner(s)
            case _:
                self.take(s, steps, name)

    def branches(self, s, kind, children, name):
        branches = [s.copy() for _ in children] if kind == "copy" else s.fork(len(children))
        for index, (branch, steps) in enumerate(zip(branches, children, strict=True)):
            self.take(branch, steps, f"{name}{index}" if kind == "copy" else f"{name}x")
        if kind == "join":
            s.join(branches)


def program_of(steps):
    @function(temperature=0.0)
    def program(s, topic):
        s += "start"
        Writer(topic).take(s, steps)
        return {"names": list(s.recorder.names), "values": [s[name] for name in s.recorder.names]}

    return program


def asked(backend):
    """What the backend was asked, in an order that does not depend on time."""
    generated = [(request.prompt, request.sampling, request.constraint) for request in backend.requests]
    scored = [(request.prompt, request.choices) for request in backend.score_requests]
    return sorted(map(repr, generated)), sorted(map(repr, scored))


def facts(result):
    return (
        result.text(),
        result.messages(),
        result.value,
        {name: (result[name], result.text_of(name)) for name in result},
        result.usage.completion_tokens,
    )


@settings(max_examples=100)
@given(steps=STEPS)
def test_a_compiled_program_does_what_the_live_one_does(steps):
    program = program_of(steps)
    live, compiled, decoded = FakeBackend(), FakeBackend(), FakeBackend()
    expected = facts(program.run("cats", backend=live))
    graph = program.compile()
    assert facts(graph.run(topic="cats", backend=compiled)) == expected
    assert asked(compiled) == asked(live)
    again = RequestGraph.from_json(graph.to_json())
    assert again == graph and again.to_json() == graph.to_json()
    assert facts(again.bind(topic="cats").run(backend=decoded)) == expected
    assert asked(decoded) == asked(live)


@pytest.fixture(scope="module")
def engine():
    with ramify.Engine(num_threads=1) as engine:
        yield engine


@settings(max_examples=12)
@given(steps=STEPS)
def test_on_the_engine_too(engine, steps):
    program = program_of(steps)
    live = program.run("cats", backend=engine)
    graph = program.compile()
    rows = graph.run_batch([{"topic": "cats"}, {"topic": "dogs"}], backend=engine)
    assert facts(rows[0].unwrap()) == facts(live)
    assert facts(rows[1].unwrap()) == facts(program.run("dogs", backend=engine))
    ids = {name: live.meta(name).token_ids for name in live}
    assert {name: rows[0].unwrap().meta(name).token_ids for name in live} == ids


@settings(max_examples=40)
@given(steps=STEPS)
def test_a_program_that_was_compiled_inside_another_one(steps):
    inner, live, compiled = program_of(steps), FakeBackend(), FakeBackend()
    graph = inner.compile().program()
    expected = function(lambda s: inner(s, "cats")).run(backend=live)
    found = function(lambda s: graph(s, topic="cats")).run(backend=compiled)
    assert facts(found) == facts(expected) and asked(compiled) == asked(live)
