"""The scheduler's decisions: chunks, mixed batches, order, looking past, retraction, aborts, deadlines."""

from __future__ import annotations

import time

import pytest

from ramify.backend.engine.policy import FirstComeFirstServed
from ramify.lang.errors import AbortError, DeadlineError

# -- what runs together


def test_a_long_prompt_is_computed_in_chunks_and_gives_no_token_before_the_last(make_harness) -> None:
    harness = make_harness(chunk=8)
    req = harness.req(range(20), 2)
    harness.submit(req)
    for computed in (8, 16):
        harness.step()
        assert harness.scheduler.chunked_req is req and req.prefix_len == computed and req.output_ids == []
    harness.step()
    assert harness.scheduler.chunked_req is None and len(req.output_ids) == 1
    harness.run()
    assert harness.worker.batches == [(1, 1, 8), (1, 1, 8), (1, 1, 4), (1, 0, 1)]


def test_decoding_rows_ride_along_with_a_chunk_and_count(make_harness) -> None:
    harness = make_harness(chunk=8)
    first = harness.req([1, 2], 20)
    harness.submit(first)
    harness.step()
    second = harness.req(range(10, 24), 2)
    harness.submit(second)
    harness.step()
    assert harness.worker.batches[-1] == (2, 1, 8)  # 7 prompt tokens and one decoded
    harness.run()
    harness.expect_oracle([first, second])


def test_without_mixing_prompts_go_first_and_alone(make_harness) -> None:
    harness = make_harness(chunk=8, mixed=False)
    first, second = harness.req([1, 2], 20), harness.req(range(10, 24), 2)
    harness.submit(first)
    harness.step()
    harness.submit(second)
    harness.step()
    harness.step()
    assert harness.worker.batches[-2:] == [(1, 1, 8), (1, 1, 6)]
    harness.run()
    harness.expect_oracle([first, second])


def test_more_decoding_rows_than_the_budget_do_not_stop_prompts(make_harness) -> None:
    harness = make_harness(chunk=2)
    reqs = [harness.req([number, 1], 30) for number in range(8)]
    harness.run(*reqs)
    harness.expect_oracle(reqs)
    assert max(rows for rows, _, _ in harness.worker.batches) == 8


def test_chunks_end_at_page_boundaries(make_harness) -> None:
    harness = make_harness(chunk=10, page_size=4)
    harness.run(harness.req(range(30), 1))
    assert [tokens for _, _, tokens in harness.worker.batches] == [8, 8, 8, 6]


def test_no_more_requests_than_rows(make_harness) -> None:
    harness = make_harness(max_running=2)
    reqs = [harness.req([number], 5) for number in range(5)]
    harness.submit(*reqs)
    harness.step()
    stats = harness.scheduler.stats()
    assert (stats.running, stats.waiting) == (2, 3)
    harness.run()
    harness.expect_oracle(reqs)


def test_names_of_the_design(make_harness) -> None:
    harness = make_harness()
    scheduler = harness.scheduler
    harness.submit(harness.req([1, 2], 3))
    assert scheduler.cur_batch is None and scheduler.last_batch is None
    harness.step()
    assert scheduler.last_batch.num_prefill == 1 and len(scheduler.running_batch) == 0
    harness.step()
    assert scheduler.last_batch.is_decode and len(scheduler.running_batch) == 1
    assert len(scheduler.waiting_queue) == 0 and scheduler.tree_cache is scheduler.kv.tree_cache


# -- order


def finish_order(harness) -> list[str]:
    return [output.req.rid for output in harness.outputs if output.is_final]


def test_priorities_go_first(make_harness) -> None:
    harness = make_harness(max_running=1)
    reqs = [
        harness.req([number, 5], 2, rid=f"p{priority}", priority=priority) for number, priority in enumerate((0, 2, 1))
    ]
    harness.run(*reqs)
    assert finish_order(harness) == ["p2", "p1", "p0"]


def test_a_small_request_passes_one_that_does_not_fit_yet(make_harness) -> None:
    harness = make_harness(max_total_tokens=60, policy=FirstComeFirstServed())
    running = harness.req(range(20), 20, rid="running")
    harness.submit(running)
    harness.step()
    large, small = harness.req(range(100, 140), 4, rid="large"), harness.req([7, 8], 4, rid="small")
    harness.run(large, small)
    assert finish_order(harness) == ["small", "running", "large"]
    harness.expect_oracle([running, large, small])


def test_one_that_does_not_fit_is_not_passed_for_ever(make_harness) -> None:
    harness = make_harness(max_total_tokens=60, policy=FirstComeFirstServed(), max_running=4)
    large = harness.req(range(100, 155), 4, rid="large")
    harness.submit(harness.req([1, 2], 6))
    harness.step()
    harness.submit(large)
    for number in range(400):
        harness.submit(harness.req([number % 50, 3], 6))
        harness.step()
        if large.is_done:
            break
    assert large.is_done, "small requests starved a large one"
    assert number > 20  # but for a while it was passed
    harness.run()


def test_one_that_did_not_fit_is_offered_again_though_nobody_left(make_harness) -> None:
    harness = make_harness(max_context=2000, max_total_tokens=2000)
    harness.scheduler.new_token_ratio.value = 1.0  # falls with every step that finds enough memory
    running, waiting = harness.req([1, 2], 1500), harness.req(range(500), 1)
    harness.submit(running, waiting)
    harness.step()
    assert harness.scheduler.stats().waiting == 1
    for _ in range(60):
        harness.step()
    assert waiting.is_done and not running.is_done


def test_a_stream_of_cached_requests_does_not_starve_others(make_harness) -> None:
    harness = make_harness(max_running=1)
    cold = harness.req(range(300, 310), 1)
    harness.run(harness.req(range(100), 1))
    harness.submit(harness.req(range(100), 1), cold)
    for _ in range(200):
        harness.submit(harness.req(range(100), 1))
        harness.step()
        if cold.is_done:
            return
    raise AssertionError("the request without a cached prefix starved")


# -- memory runs out


def test_retraction_keeps_one_running_and_its_victims_resume_from_the_cache(make_harness) -> None:
    harness = make_harness(max_total_tokens=64, mixed=False)
    harness.scheduler.new_token_ratio.value = 0.0
    reqs = [harness.req([number] * 10, 30) for number in range(2)]
    harness.run(*reqs)
    harness.expect_oracle(reqs)
    stats = harness.scheduler.stats()
    assert stats.retractions == sum(req.num_retractions for req in reqs) == 1
    # Both had 32 tokens when memory ran out. The one that went on took 7 of the other's: 25 are found again.
    assert stats.computed_tokens == 20 + 32 + 1 - 25
    assert stats.cached_tokens == sum(req.cached_tokens for req in reqs)


def test_victims_are_low_priority_then_short_outputs(make_harness) -> None:
    harness = make_harness(max_total_tokens=45, mixed=False)
    harness.scheduler.new_token_ratio.value = 0.0
    old = harness.req([1] * 10, 20, priority=0)
    low = harness.req([2] * 10, 20, priority=-1)
    harness.submit(low)
    harness.step()
    harness.step()
    harness.step()
    harness.submit(old)
    harness.run()
    assert low.num_retractions > 0 and old.num_retractions == 0
    harness.expect_oracle([old, low])


@pytest.mark.parametrize("total", [60, 61, 62, 63])
def test_a_chunked_request_gives_way_when_decoding_needs_memory(total: int, make_harness) -> None:
    harness = make_harness(max_total_tokens=total, chunk=4)
    harness.scheduler.new_token_ratio.value = 0.0
    first, long = harness.req([1, 2], 40), harness.req(range(100, 150), 3)
    harness.submit(first, long)
    harness.run()
    assert long.num_retractions > 0
    harness.expect_oracle([first, long])


@pytest.mark.parametrize("prompt_len", [12, 13, 14, 15])
def test_a_prompt_leaves_room_for_the_rows_that_decode_beside_it(prompt_len: int, make_harness) -> None:
    harness = make_harness(max_total_tokens=30)
    harness.scheduler.new_token_ratio.value = 0.0
    running = [harness.req([number] * 5, 3) for number in range(3)]
    harness.submit(*running)
    harness.step()
    prompt = harness.req(range(100, 100 + prompt_len), 1)
    harness.run(prompt)  # 15 tokens are free, and the three rows need one each in the same forward
    assert prompt.num_retractions == 0
    harness.expect_oracle([*running, prompt])


def test_admission_is_more_careful_after_a_retraction(make_harness) -> None:
    harness = make_harness(max_total_tokens=64, mixed=False)
    ratio = harness.scheduler.new_token_ratio
    ratio.value = 0.0
    harness.submit(*(harness.req([number] * 10, 30) for number in range(3)))
    while not harness.scheduler.stats().retractions:
        harness.step()
    assert ratio.value > 0.3
    harness.run()
    with harness.idle():
        harness.step()
    assert ratio.value == ratio.START


# -- aborts and deadlines


def at_stage(harness, stage: str):
    """A request with id "x" at one stage of its life, beside one with a similar id that must not be touched."""
    other = harness.req([5, 6, 7], 12, rid="xy")
    match stage:
        case "waiting":
            harness.submit(other)
            harness.step()
            req = harness.req([1, 2], 5, rid="x")
            harness.submit(req)
        case "chunked":
            req = harness.req(range(30), 5, rid="x")
            harness.submit(other)
            harness.step()
            harness.submit(req)
            harness.step()
            assert harness.scheduler.chunked_req is req
        case "running":
            req = harness.req([1, 2], 9, rid="x")
            harness.submit(other, req)
            harness.step()
            harness.step()
            assert req in harness.scheduler.running_batch.reqs
        case _:
            req = harness.req([1, 2], 1, rid="x")
            harness.submit(other, req)
            harness.step()
            assert req.is_done
    return req, other


STAGES = ["waiting", "chunked", "running", "finished"]


@pytest.mark.parametrize("stage", STAGES)
def test_abort_at_every_stage(stage: str, make_harness) -> None:
    harness = make_harness(chunk=8, max_running=1 if stage == "waiting" else 4)
    req, other = at_stage(harness, stage)
    harness.abort("x")
    harness.abort("unknown")
    harness.step()
    if stage == "finished":
        assert req.error is None
    else:
        assert isinstance(harness.finals()[req].error, AbortError) and harness.scheduler.stats().aborted == 1
        assert harness.sent(req) == req.output_ids
    harness.run()
    harness.expect_oracle([other])


@pytest.mark.parametrize("stage", STAGES[:3])
def test_deadlines_pass_at_every_stage(stage: str, make_harness, monkeypatch: pytest.MonkeyPatch) -> None:
    harness = make_harness(chunk=8, max_running=1 if stage == "waiting" else 4)
    req_of, deadline = harness.req, time.monotonic() + 1000
    monkeypatch.setattr(
        harness,
        "req",
        lambda *args, rid, **fields: req_of(*args, rid=rid, deadline=deadline if rid == "x" else None, **fields),
    )
    req, other = at_stage(harness, stage)
    harness.step()
    assert not req.is_done
    monkeypatch.setattr("ramify.backend.engine.scheduler.time.monotonic", lambda: deadline)
    harness.step()
    assert isinstance(req.error, DeadlineError) and isinstance(req.error, TimeoutError)
    assert ("waiting" if stage == "waiting" else "running") in str(req.error)
    harness.run()
    harness.expect_oracle([other])


def test_all_samples_of_a_request_are_aborted(make_harness) -> None:
    harness = make_harness()
    samples = [harness.req([1, 2], 9, rid="n", index=index, seed=index) for index in range(3)]
    harness.submit(*samples)
    harness.step()
    harness.abort("n")
    harness.step()
    assert all(isinstance(req.error, AbortError) for req in samples)
    assert not harness.scheduler.has_work


def test_an_aborted_requests_work_stays_in_the_cache(make_harness) -> None:
    harness = make_harness()
    req = harness.req(range(20), 9, rid="x")
    harness.submit(req)
    harness.step()
    harness.abort("x")
    harness.step()
    again = harness.req(range(20), 1)
    harness.run(again)
    assert again.cached_tokens == 19


# -- for the front


def test_stats_add_up(make_harness) -> None:
    harness = make_harness()
    reqs = [harness.req(range(10), 4) for _ in range(3)]
    harness.submit(*reqs)
    harness.step()
    during = harness.scheduler.stats()
    assert (during.running, during.waiting, during.requests, during.steps) == (3, 0, 3, 1)
    assert during.available + during.evictable + during.protected <= during.total
    harness.run()
    after = harness.scheduler.stats()
    assert (after.prompt_tokens, after.cached_tokens, after.computed_tokens) == (30, 18, 12)
    assert after.completion_tokens == 12 and after.failed == after.aborted == 0
    assert after.cache_hit_rate == pytest.approx(0.6)


def test_flush_forgets_what_nobody_uses(make_harness) -> None:
    harness = make_harness()
    harness.run(harness.req(range(10), 2))
    running = harness.req(range(20, 30), 5)
    harness.submit(running)
    harness.step()
    harness.scheduler.flush_cache()
    assert harness.scheduler.stats().evictable == 0
    harness.run()
    harness.expect_oracle([running])
    again = harness.req(range(10), 2)
    harness.run(again)
    assert again.cached_tokens == 0
