"""What the engine knows of programs: place in line without starving anyone, prefixes kept while they run, counts."""

from __future__ import annotations

import random

import pytest

import ramify.backend.engine.programs as programs_module
import ramify.backend.engine.waiting_queue as queue_module
from ramify.backend.engine.policy import AgedLongestPrefixMatch, FirstComeFirstServed
from ramify.backend.engine.programs import Program
from ramify.backend.engine.req import Req
from ramify.backend.engine.waiting_queue import WaitingQueue
from ramify.lang.sampling import Sampling


def cached_len(harness, req) -> int:
    return harness.scheduler.tree_cache.match_len(req.token_array(), "")


def kept_size(harness) -> int:
    return harness.scheduler.tree_cache.kept_size


def fill(harness, num_tokens: int, base: int = 1000) -> None:
    """Let requests of no program take `num_tokens` of the cache."""
    for start in range(0, num_tokens, 100):
        harness.run(harness.req(range(base + start, base + start + 99), 1))


# ---- place in line ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [FirstComeFirstServed, AgedLongestPrefixMatch])
@pytest.mark.parametrize("seed", range(20))
def test_nobody_is_passed_by_those_that_came_much_later(policy: type, seed: int, monkeypatch) -> None:
    """Whatever programs do, a request is passed only by those that came within a bound of it, on the work clock."""
    head_start, longest = 200, 50
    monkeypatch.setattr(queue_module, "MAX_HEAD_START", head_start)
    rng = random.Random(seed)
    queue, programs = WaitingQueue(policy()), [Program(str(number)) for number in range(4)]
    for number in range(600):
        program = rng.choice([None, *programs])  # old programs that never end
        req = Req(f"r{number}", [number, 1], Sampling(), program_record=program)
        queue.add(req, 0 if program is None else rng.randrange(longest))
        if len(queue) > 5:
            entry = queue.pop()
            queue.admit(entry, rng.randrange(20))
            for waiting in queue:
                assert entry.req.arrived_at <= waiting.arrived_at + head_start + longest / 0.5
    queue.check()


def test_a_program_that_never_ends_does_not_keep_others_out(make_harness, monkeypatch) -> None:
    """The same on the scheduler: endless programs fill every row, and a late request still gets one."""
    monkeypatch.setattr(queue_module, "MAX_HEAD_START", 400)
    harness = make_harness(max_running=2, max_total_tokens=400, max_context=64)

    def go_on(name: int) -> Req:
        req = harness.req([name] * 30, 2, program=str(name), keep_prefix=True)
        harness.submit(req)
        return req

    endless = {name: go_on(name) for name in range(1, 5)}
    late = harness.req([9] * 30, 2)
    for step in range(500):
        if step == 50:
            harness.submit(late)
        harness.step()
        endless = {name: go_on(name) if req.is_done else req for name, req in endless.items()}
        if late.is_done:
            break
    assert late.is_done and 70 < step < 200  # programs go first, but not for ever


# ---- prefixes --------------------------------------------------------------------------------------------------------


def test_what_a_running_program_comes_back_to_outlives_what_others_leave(make_harness) -> None:
    harness = make_harness(max_total_tokens=1000)
    kept = harness.req(range(200), 3, program="p", keep_prefix=True)
    other = harness.req(range(500, 700), 3, program="q")
    harness.run(kept, other)
    assert kept_size(harness) == 202
    fill(harness, 900)
    assert cached_len(harness, kept) == 202 and cached_len(harness, other) == 0


def test_a_program_whose_last_request_is_not_extended_lets_go(make_harness) -> None:
    harness = make_harness()
    begin = harness.req(range(50), 3, program="p", keep_prefix=True)
    harness.run(begin)
    assert kept_size(harness) == 52
    harness.submit(harness.req([*range(50), *begin.output_ids, 7], 3, program="p"))
    harness.step()
    assert kept_size(harness) == 0 and harness.scheduler.tree_cache.protected_size == 54  # in use
    harness.run()
    assert kept_size(harness) == 0


def test_a_branch_that_ends_does_not_let_go_for_its_siblings(make_harness) -> None:
    harness = make_harness()
    harness.run(harness.req(range(50), 3, program="p", keep_prefix=True))
    short, long = (harness.req([*range(50), name], num, program="p") for name, num in ((1, 1), (2, 9)))
    harness.submit(short, long)
    while not short.is_done:
        harness.step()
    assert not long.is_done and harness.scheduler.program_stats()["p"].open_requests == 1
    harness.run()
    assert kept_size(harness) == 0


def test_a_silent_program_counts_as_ended(make_harness, monkeypatch) -> None:
    monkeypatch.setattr(programs_module, "MAX_SILENCE", 500)
    harness = make_harness()
    harness.run(harness.req(range(50), 3, program="p", keep_prefix=True))
    fill(harness, 300)
    assert kept_size(harness) == 52
    fill(harness, 200, base=5000)
    assert kept_size(harness) == 0
    again = harness.req(range(50), 3, program="p")
    harness.run(again)
    assert again.program_record.first_seq == again.arrival_seq  # another program now: at the end of the line


def test_memory_for_programs_is_bounded(make_harness, monkeypatch) -> None:
    monkeypatch.setattr(programs_module, "MAX_REMEMBERED", 3)
    monkeypatch.setattr(programs_module, "MAX_KEEPS", 2)
    harness = make_harness()
    for number in range(6):
        harness.run(harness.req([number] * 20, 2, program=str(number), keep_prefix=True))
        harness.scheduler.check()
    assert list(harness.scheduler.program_stats()) == ["3", "4", "5"]
    assert kept_size(harness) == 3 * 21
    for length in (25, 30, 35):
        harness.run(harness.req([5] * length, 2, program="5", keep_prefix=True))
    assert kept_size(harness) == 2 * 21 + 36 + 1 and len(harness.scheduler.lifecycle.programs._silent["5"].keeps) == 2


def test_failed_and_aborted_requests_keep_nothing(make_harness) -> None:
    harness = make_harness()
    gone = harness.req(range(50), 30, program="p", keep_prefix=True)
    harness.submit(gone)
    harness.step()
    harness.abort(gone.rid)
    harness.run()
    assert kept_size(harness) == 0 and harness.scheduler.program_stats()["p"].open_requests == 0
    refused = harness.req([], 3, program="q")
    harness.run(refused)
    assert "q" not in harness.scheduler.program_stats()


def test_without_a_cache_nothing_is_kept(make_harness) -> None:
    harness = make_harness(radix_cache=False)
    req = harness.req(range(50), 3, program="p", keep_prefix=True)
    harness.run(req)
    assert harness.scheduler.program_stats()["p"].prompt_tokens == 50


def test_only_the_first_in_line_displaces_what_is_kept(make_harness) -> None:
    """Two requests fit side by side only without the kept prefix: in one forward, only the first takes of it."""
    harness = make_harness(max_total_tokens=300, max_context=300)
    kept = harness.req(range(150), 2, program="p", keep_prefix=True)
    harness.run(kept)
    first, second = (harness.req(range(base, base + 90), 4) for base in (1000, 2000))
    harness.submit(first, second)
    harness.step()
    assert first.row > 0 and second.row < 0
    assert cached_len(harness, kept) == 151
    harness.step()
    assert second.row > 0 and cached_len(harness, kept) < 151
    harness.run()


# ---- counts ----------------------------------------------------------------------------------------------------------


def test_counts_of_a_program(make_harness) -> None:
    harness = make_harness()
    root = harness.req(range(50), 3, program="p", keep_prefix=True)
    harness.run(root)
    branches = [harness.req([*range(50), *root.output_ids, name], name, program="p") for name in (2, 7, 4)]
    harness.run(harness.req(range(40), 5), *branches)  # the first is of no program
    stats = harness.scheduler.program_stats()
    assert list(stats) == ["p"]
    assert (stats["p"].requests, stats["p"].open_requests) == (4, 0)
    assert stats["p"].prompt_tokens == 50 + 3 * 54 and stats["p"].completion_tokens == 3 + 13
    # the branches share the root's 50 + 2 tokens, and its last one as soon as one of them computes it
    assert stats["p"].cached_tokens == sum(req.cached_tokens for req in branches) == 52 + 2 * 53
    assert stats["p"].cache_hit_rate == (52 + 2 * 53) / 212
    assert stats["p"].critical_path_tokens == 3 + 7
    assert 0 < stats["p"].seconds < 60


def test_a_retracted_request_counts_once(make_harness) -> None:
    harness = make_harness(max_total_tokens=120, max_context=120, max_running=4)
    harness.scheduler.new_token_ratio.value = 0.0
    reqs = [harness.req([name] * 20, 40, program="p") for name in (1, 2, 3)]
    harness.run(*reqs)
    stats = harness.scheduler.program_stats()["p"]
    assert harness.scheduler.stats().retractions > 0
    assert (stats.requests, stats.prompt_tokens, stats.completion_tokens) == (3, 60, 120)
