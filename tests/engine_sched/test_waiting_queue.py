"""The order of waiting requests: policies, priorities, programs, and that it follows the cache."""

from __future__ import annotations

import random

import numpy as np
import pytest

from ramify.backend.engine.policy import AgedLongestPrefixMatch, FirstComeFirstServed, LongestPrefixMatch
from ramify.backend.engine.programs import Program
from ramify.backend.engine.radix_cache import common_prefix_len
from ramify.backend.engine.req import Req
from ramify.backend.engine.waiting_queue import WaitingQueue
from ramify.lang.sampling import Sampling


def req(name: str, *tokens: int, **fields: object) -> Req:
    return Req(name, list(tokens) or [1], Sampling(), **fields)


def drain(queue: WaitingQueue) -> list[str]:
    names = []
    while (entry := queue.pop()) is not None:
        queue.admit(entry, 0)
        names.append(entry.req.rid)
    queue.check()
    return names


def test_first_come_first_served_ignores_the_cache() -> None:
    queue = WaitingQueue(FirstComeFirstServed())
    for name, cached in (("a", 0), ("b", 9), ("c", 5)):
        queue.add(req(name), cached)
    assert list(queue) == list(queue) and drain(queue) == ["a", "b", "c"]


@pytest.mark.parametrize("policy", [LongestPrefixMatch, AgedLongestPrefixMatch])
def test_a_burst_goes_longest_prefix_first(policy: type) -> None:
    queue = WaitingQueue(policy())
    for name, cached in (("a", 0), ("b", 9), ("c", 5), ("d", 9)):
        queue.add(req(name), cached)
    assert drain(queue) == ["b", "d", "c", "a"]


def test_waiting_counts_as_cached_tokens() -> None:
    """With aging 0.5, a request 100 cached tokens ahead passes those that came up to 200 units of work before."""
    queue = WaitingQueue(AgedLongestPrefixMatch(aging=0.5))
    queue.add(req("very old"), 0)
    queue.clock = 150
    queue.add(req("old"), 0)
    queue.clock = 300
    queue.add(req("hot"), 100)
    assert drain(queue) == ["very old", "hot", "old"]


def test_nobody_starves_under_a_stream_of_cached_requests() -> None:
    queue = WaitingQueue(AgedLongestPrefixMatch())
    queue.add(req("cold"), 0)
    for number in range(1000):
        queue.add(req(f"hot{number}"), 500)
        entry = queue.pop()
        queue.admit(entry, 1)
        if entry.req.rid == "cold":
            return
    raise AssertionError("the request without a match starved")


def test_priority_is_above_everything_and_retracted_requests_go_first_within_it() -> None:
    queue = WaitingQueue(LongestPrefixMatch())
    queue.add(req("cached"), 99)
    queue.add(req("retracted", num_retractions=1), 0)
    queue.add(req("urgent", priority=1), 0)
    queue.add(req("idle", priority=-1), 500)
    assert drain(queue) == ["urgent", "retracted", "cached", "idle"]


def test_a_retracted_request_keeps_its_place_in_line() -> None:
    queue = WaitingQueue(FirstComeFirstServed())
    first, second = req("first"), req("second")
    queue.add(first, 0)
    queue.add(second, 0)
    queue.admit(queue.pop(), 5)
    queue.add(req("third"), 0)
    queue.add(first, 0)
    assert drain(queue) == ["first", "second", "third"]


@pytest.mark.parametrize("policy", [FirstComeFirstServed, AgedLongestPrefixMatch])
def test_a_request_is_as_old_as_its_program(policy: type) -> None:
    queue, a, b = WaitingQueue(policy()), Program("a"), Program("b")
    queue.add(req("a1", program_record=a), 0)
    queue.add(req("b1", program_record=b), 0)
    queue.clock = 1000
    queue.add(req("c"), 0)
    queue.add(req("a2", program_record=a), 0)
    assert drain(queue) == ["a1", "a2", "b1", "c"]


def test_removed_requests_are_gone() -> None:
    queue = WaitingQueue(LongestPrefixMatch())
    gone, stays = req("gone"), req("stays")
    queue.add(gone, 5)
    queue.add(stays, 0)
    assert queue.remove(gone) and not queue.remove(gone)
    assert len(queue) == 1 and drain(queue) == ["stays"]


def test_popped_entries_can_be_put_back() -> None:
    queue = WaitingQueue(FirstComeFirstServed())
    queue.add(req("a"), 0)
    queue.add(req("b"), 0)
    entry = queue.pop()
    assert queue.pop().req.rid == "b" and queue.pop() is None
    queue.put_back(entry)
    assert queue.pop() is entry


def test_a_shrunken_prefix_sends_an_entry_back_and_a_grown_one_does_not() -> None:
    queue = WaitingQueue(LongestPrefixMatch())
    queue.add(req("a"), 9)
    queue.add(req("b"), 5)
    entry = queue.pop()
    assert queue.is_outranked(entry, 3)
    assert not queue.is_outranked(queue.pop(), 7)
    assert queue.pop() is entry and entry.cached_len == 3


@pytest.mark.parametrize("seed", range(5))
def test_a_new_prefix_reaches_exactly_those_that_share_it(seed: int) -> None:
    rng = random.Random(seed)
    queue = WaitingQueue(LongestPrefixMatch())
    reqs = [
        req(str(number), *(rng.randrange(2) for _ in range(rng.randint(1, 12))), cache_salt=rng.choice(["", "x"]))
        for number in range(60)
    ]
    for one in reqs:
        queue.add(one, 0)
    cached: list[tuple[str, np.ndarray]] = []
    for _ in range(10):
        salt, tokens = rng.choice(["", "x"]), np.array([rng.randrange(2) for _ in range(8)], dtype=np.int32)
        known = max((common_prefix_len(tokens, other) for at, other in cached if at == salt), default=0)
        queue.prefix_cached(tokens, salt, known)
        cached.append((salt, tokens))
        for one in reqs:
            own = [common_prefix_len(one.token_array(), other) for at, other in cached if at == one.cache_salt]
            assert queue._entries[one].cached_len == max(own, default=0)
    queue.check()


def test_a_new_prefix_looks_only_at_its_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    import ramify.backend.engine.waiting_queue as module

    queue = WaitingQueue(LongestPrefixMatch())
    for number in range(1000):
        queue.add(req(str(number), number, 1, 2), 0)
    compared = []
    monkeypatch.setattr(module, "common_prefix_len", lambda a, b: compared.append(1) or common_prefix_len(a, b))
    queue.prefix_cached(np.array([500, 1, 2, 3], dtype=np.int32), "", 0)
    assert len(compared) <= 4
    assert drain(queue)[0] == "500"
