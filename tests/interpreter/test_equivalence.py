"""Whatever the timing, a program gives what a naive evaluation of its steps one after the other gives."""

from __future__ import annotations

import asyncio
import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st

from ramify import FakeBackend, function, gen
from ramify.backend.api import prompt_text

STEPS = st.recursive(
    st.lists(st.sampled_from(["fill", "gen", "read", "text", "scope"]), max_size=4),
    lambda inner: st.lists(
        st.one_of(
            st.sampled_from(["fill", "gen", "read", "text"]),
            st.tuples(st.sampled_from(["fork", "join", "copy"]), st.lists(inner, min_size=1, max_size=3)),
        ),
        max_size=4,
    ),
    max_leaves=12,
)


def answer(prompt):
    return hashlib.blake2b(prompt.encode(), digest_size=2).hexdigest()


class Jittery(FakeBackend):
    """Takes a time that differs from request to request, so that branches overtake each other."""

    async def generate(self, request):
        await asyncio.sleep(int(answer(prompt_text(request.prompt) + "delay"), 16) % 4 / 1000)
        async for chunk in super().generate(request):
            yield chunk


class Naive:
    """The same steps on a plain string."""

    def __init__(self, text="", values=None, inherited=0):
        self.text, self.values, self.inherited = text, dict(values or {}), inherited

    def take(self, steps, log, path):
        for number, step in enumerate(steps):
            name = f"{path}.{number}"
            if step == "fill":
                self.text += name
            elif step in ("gen", "scope"):
                self.values[name] = answer(self.text) if self.text else "first"
                self.text += self.values[name]
                if step == "scope":
                    self.values[f"{name}s"] = self.values[name]
            elif step == "read":
                log.extend(self.values.items())
            elif step == "text":
                log.append(self.text)
            else:
                self.branch(step, name, log)

    def branch(self, step, name, log):
        kind, children = step
        branches = [Naive(self.text, self.values, len(self.values)) for _ in children]
        for index, (branch, steps) in enumerate(zip(branches, children, strict=True)):
            branch.take(steps, log, f"{name}/{index}")
        if kind == "join":
            own = [dict(list(branch.values.items())[branch.inherited :]) for branch in branches]
            for key in dict.fromkeys(key for values in own for key in values):
                self.values[key] = tuple(values.get(key) for values in own)


def live(s, steps, log, path):
    for number, step in enumerate(steps):
        name = f"{path}.{number}"
        if step == "fill":
            s += name
        elif step == "gen":
            s += gen(name)
        elif step == "scope":
            with s.var_scope(f"{name}s"):
                s += gen(name)
        elif step == "read":
            log.extend((known, s[known]) for known in s.recorder.names)
        elif step == "text":
            log.append(s.text())
        else:
            kind, children = step
            branches = [s.copy() for _ in children] if kind == "copy" else s.fork(len(children))
            for index, (branch, inner) in enumerate(zip(branches, children, strict=True)):
                live(branch, inner, log, f"{name}/{index}")
            if kind == "join":
                s.join(branches)


@settings(max_examples=60)
@given(steps=STEPS)
def test_live_runs_equal_the_naive_evaluation(steps):
    expected, expected_log = Naive("start"), []
    expected.take(steps, expected_log, "r")
    log = []

    @function
    def program(s):
        s += "start"
        live(s, steps, log, "r")

    backend = Jittery(lambda request: answer(prompt_text(request.prompt)))
    result = program.run(backend=backend)
    assert result.text() == expected.text and dict(result) == expected.values
    assert log == expected_log
    graph = function(lambda s: live(s, without_texts(steps), [], "r")).trace()
    assert backend.in_flight == 0 and len(graph.nodes) <= 10_000


def without_texts(steps):
    """The text cannot be read while tracing."""
    return [
        step if isinstance(step, str) else (step[0], [without_texts(child) for child in step[1]])
        for step in steps
        if step != "text"
    ]
