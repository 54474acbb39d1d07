"""Random workloads on random engines: whatever the schedule, tokens are the oracle's, memory is accounted for, all end.

Every invariant is checked after every step, and the worker verifies every slot that could be read (see conftest).
"""

from __future__ import annotations

import random
import time

import pytest

from ramify.backend.engine.policy import AgedLongestPrefixMatch, FirstComeFirstServed, LongestPrefixMatch
from ramify.lang.errors import AbortError, BackendError, CapacityError, DeadlineError
from ramify.lang.sampling import Sampling

POLICIES = (AgedLongestPrefixMatch, LongestPrefixMatch, FirstComeFirstServed)


def random_prompts(rng: random.Random, longest: int) -> list[list[int]]:
    """Prompts that share prefixes, extend each other and repeat."""
    trunks = [[rng.randrange(4) for _ in range(rng.randint(1, longest))] for _ in range(3)]
    prompts: list[list[int]] = []
    for _ in range(rng.randint(3, 14)):
        base = rng.choice(trunks + prompts)[: rng.randint(1, longest)]
        prompts.append((base + [rng.randrange(4) for _ in range(rng.randint(0, 8))])[:longest])
    return prompts


def random_req(rng: random.Random, harness, prompt, *, is_wild: bool):
    """A request that generates, prefills only, or scores its prompt."""
    kind = rng.random()
    max_tokens = 0 if kind < 0.2 else rng.randint(1, 24)
    start = rng.randint(0, len(prompt)) if kind < 0.3 else None
    req = harness.req(
        prompt,
        rid=f"q{rng.randrange(10**9)}",
        sampling=Sampling(max_tokens=max_tokens, seed=rng.randrange(3), logprobs=rng.choice([None, 0])),
        priority=rng.choice([0, 0, 0, 1, -1]),
        program=rng.choice([None, None, "a", "b"]),
        keep_prefix=rng.random() < 0.5,
        cache_salt=rng.choice(["", "", "tenant"]),
        logprob_start_len=start,
        stream=rng.random() < 0.7,
        deadline=time.monotonic() + rng.choice([0.0, 0.01, 60]) if is_wild and rng.random() < 0.1 else None,
    )
    if rng.random() < 0.4:
        harness.forcing(req, {rng.randrange(20): rng.randint(1, 30) for _ in range(rng.randint(1, 6))})
    return req


def expect_result(harness, req, output) -> None:
    """The request's tokens are a prefix of the oracle's, all of them if it finished; logprobs fit the prompt."""
    expected = harness.oracle_output(req.origin_input_ids, req.sampling.max_tokens, req.sampling.seed)
    assert req.output_ids == expected[: len(req.output_ids)] == harness.sent(req)
    if req.sampling.logprobs is not None:
        assert [entry.token_id for entry in req.output_logprobs] == req.output_ids
    if req.error is None:
        assert req.output_ids == expected and output.finish.reason == "length"
        if req.logprob_start_len is not None:
            span = range(req.logprob_start_len, len(req.origin_input_ids))
            expected_logprobs = [harness.oracle_logprob(req.origin_input_ids, position) for position in span]
            assert [entry.logprob for entry in req.input_logprobs] == expected_logprobs
    assert output.usage.completion_tokens == len(req.output_ids)
    assert output.usage.cached_tokens < len(req.origin_input_ids) + (req.matcher is not None)


def run_case(seed: int, make_harness, *, is_wild: bool):
    rng = random.Random(seed)
    page_size = rng.choice([1, 1, 4, 16])
    longest = rng.choice([10, 30, 60])
    # The smallest memory in which one request of this workload can end, up to plenty.
    total = -(-(longest + 24) // page_size) * page_size + page_size * rng.choice([0, 1, 3, 40])
    harness = make_harness(
        max_running=rng.choice([1, 3, 8]),
        max_context=longest + 24,
        max_total_tokens=total,
        page_size=page_size,
        radix_cache=rng.random() < 0.8,
        chunk=rng.choice([1, 2, 3, 7, 16, 33, 64]),
        mixed=rng.random() < 0.5,
        jump_forward=rng.random() < 0.8,
        policy=rng.choice(POLICIES)(),
    )
    if rng.random() < 0.6:
        harness.scheduler.new_token_ratio.value = 0.0  # hopeful admission: memory will run out
    reqs = [random_req(rng, harness, prompt, is_wild=is_wild) for prompt in random_prompts(rng, longest)]
    pending = list(reqs)
    for _ in range(20_000):
        if pending and (rng.random() < 0.3 or not harness.scheduler.has_work):
            count = rng.randint(1, len(pending))
            harness.submit(*pending[:count])
            del pending[:count]
        if is_wild:
            disturb(rng, harness, reqs)
        harness.step()
        if not pending and not harness.scheduler.has_work:
            break
    harness.run()
    finals = harness.finals()
    assert set(finals) == set(reqs)
    for req in reqs:
        expect_result(harness, req, finals[req])
    assert harness.worker.open == {}
    return harness, reqs


def disturb(rng: random.Random, harness, reqs) -> None:
    """Abort somebody, fail a forward or one row, flush the cache."""
    chance = rng.random()
    if chance < 0.04:
        harness.abort(rng.choice(reqs).rid)
    elif chance < 0.05:
        harness.worker.fail_next = RuntimeError("planted")
    elif chance < 0.06:
        harness.worker.row_errors[rng.choice(reqs).rid] = BackendError("planted for one row")
    elif chance < 0.07:
        harness.scheduler.flush_cache()


@pytest.mark.parametrize("seed", range(120))
def test_every_schedule_gives_the_oracles_tokens(seed: int, make_harness) -> None:
    _, reqs = run_case(seed, make_harness, is_wild=False)
    assert all(req.error is None for req in reqs)


@pytest.mark.parametrize("seed", range(1000, 1120))
def test_aborts_deadlines_and_failures_leave_no_trace(seed: int, make_harness) -> None:
    _, reqs = run_case(seed, make_harness, is_wild=True)
    kinds = (AbortError, DeadlineError, BackendError, CapacityError)
    assert all(req.error is None or isinstance(req.error, kinds) for req in reqs)


def test_the_workloads_reach_the_hard_cases(make_harness) -> None:
    """Retraction, sharing within one forward, chunking and re-use all happen in the runs above."""
    stats = [run_case(seed, make_harness, is_wild=False)[0].scheduler.stats() for seed in range(60)]
    assert sum(one.retractions for one in stats) > 10
    assert sum(one.cached_tokens for one in stats) > 500
    assert sum(one.steps for one in stats) > 1000
    assert sum(one.forced_tokens for one in stats) > 300
