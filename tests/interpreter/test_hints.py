"""What a caller says about the programs of a block reaches every request, and nothing beyond the block."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

import ramify


@ramify.function
def forked(s, word):
    s += word + ramify.gen("first", max_tokens=3)
    branches = s.fork(2)
    for branch in branches:
        branch += "and" + ramify.gen("more", max_tokens=3)
    branches[0]["more"]


@ramify.function
def nesting(s):
    s += forked.run("inner")["first"]
    with ramify.hints(priority=-1):
        s += forked.run("lower")["first"]


def said(backend: ramify.FakeBackend) -> list[tuple[int, str]]:
    return [(request.hints.priority, request.hints.cache_salt) for request in backend.requests]


def test_every_request_of_a_run_carries_them() -> None:
    backend = ramify.FakeBackend()
    with ramify.hints(priority=2, cache_salt="tenant"):
        forked.run("a", backend=backend)
    forked.run("b", backend=backend)
    assert said(backend) == [(2, "tenant")] * 3 + [(0, "")] * 3
    assert len({request.hints.program for request in backend.requests}) == 2  # the rest is the program's own


def test_inner_blocks_change_what_they_name() -> None:
    backend = ramify.FakeBackend()
    outer, inner = ramify.hints(cache_salt="tenant"), ramify.hints(priority=3)
    with outer, inner:
        forked.run("a", backend=backend, timeout=60)
    with inner, pytest.raises(ZeroDivisionError):
        _ = 1 / 0
    with outer:
        forked.run("b", backend=backend)
    assert said(backend) == [(3, "tenant")] * 3 + [(0, "tenant")] * 3


def test_programs_that_programs_start_inherit_them() -> None:
    backend = ramify.FakeBackend()
    with ramify.hints(priority=5):
        nesting.run(backend=backend)
    assert [priority for priority, _ in said(backend)] == [5] * 3 + [-1] * 3


def test_batches_graphs_and_async_runs_carry_them() -> None:
    backend = ramify.FakeBackend()

    async def both() -> None:
        with ramify.hints(priority=1):
            high = asyncio.ensure_future(forked.arun("high", backend=backend))
        await asyncio.gather(high, forked.arun("low", backend=backend))

    asyncio.run(both())
    priorities = {text[:3]: priority for text, (priority, _) in zip(backend.prompts, said(backend), strict=True)}
    assert priorities == {"hig": 1, "low": 0}
    with ramify.hints(priority=4):
        forked.run_batch([{"word": "a"}, {"word": "b"}], backend=backend, progress=False)
        forked.compile(word="c").run(backend=backend)
    assert [priority for priority, _ in said(backend)[6:]] == [4] * 9


@pytest.mark.parametrize("wrong", [{"priority": "high"}, {"priority": True}, {"priority": 1.5}, {"cache_salt": 3}])
def test_wrong_hints_are_refused(wrong: dict) -> None:
    with pytest.raises(ramify.ParameterError, match=next(iter(wrong))):
        ramify.hints(**wrong)


class Shipping(ramify.FakeBackend):
    """A backend that takes graphs and notes that it was asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.shipped: list[tuple[str, int]] = []

    @property
    def capabilities(self):
        return replace(super().capabilities, graphs=True)

    def ship(self, graph: str, **facts: Any) -> ramify.FakeBackend:
        self.shipped.append((facts["name"], facts["hints"].priority))
        return ramify.FakeBackend()


def test_what_a_block_says_is_shipped_with_the_graph() -> None:
    backend = Shipping()
    forked.run("a", backend=backend)
    with ramify.hints(priority=1):
        forked.run("b", backend=backend)
    assert backend.shipped == [("forked", 0), ("forked", 1)] and said(backend) == []
