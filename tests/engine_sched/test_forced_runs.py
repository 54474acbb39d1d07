"""Forced tokens: appended unsampled and computed in one go, with the output, memory and limits of sampling them."""

from __future__ import annotations

import math

import pytest

from ramify.backend.api import Finish
from ramify.lang.errors import CapacityError
from ramify.lang.sampling import Sampling

PROMPT = [1, 2, 3, 4, 5]


def steps_of(harness, *reqs) -> int:
    harness.run(*reqs)
    harness.expect_oracle(reqs)
    return harness.scheduler.stats().steps


@pytest.mark.parametrize("runs", [{0: 6}, {2: 6}, {1: 1, 3: 4, 7: 2}, {0: 9}, {0: 3, 3: 4, 9: 50}])
@pytest.mark.parametrize("chunk", [2, 3, 512])
def test_runs_save_steps_and_change_nothing(runs, chunk, make_harness) -> None:
    on, off = (make_harness(chunk=chunk, jump_forward=jump) for jump in (True, False))
    saved = [steps_of(harness, harness.forcing(harness.req(PROMPT, 12), runs)) for harness in (on, off)]
    assert saved[0] < saved[1]
    assert (on.scheduler.stats().forced_tokens > 0, off.scheduler.stats().forced_tokens) == (True, 0)


def test_a_run_before_the_first_token_is_computed_with_the_prompt(make_harness) -> None:
    harness = make_harness()
    steps_of(harness, harness.forcing(harness.req(PROMPT, 5), {0: 4}))
    assert harness.worker.batches == [(1, 1, 9)]
    assert harness.scheduler.stats().forced_tokens == 4


def test_a_run_is_one_extend_in_the_batch_that_decodes(make_harness) -> None:
    harness = make_harness()
    other, req = harness.req([7, 7], 8), harness.forcing(harness.req(PROMPT, 8), {2: 5})
    steps_of(harness, other, req)
    assert harness.worker.batches[:4] == [(2, 2, 7), (2, 0, 2), (2, 0, 7), (1, 0, 1)]


def test_runs_share_the_budget_of_a_forward(make_harness) -> None:
    harness = make_harness(chunk=6)
    reqs = [harness.forcing(harness.req([row], 20), {1: 10}) for row in range(3)]
    steps_of(harness, *reqs)
    assert max(tokens for _, _, tokens in harness.worker.batches) == 6


def test_a_run_ends_where_the_length_ends(make_harness) -> None:
    harness = make_harness()
    req = harness.forcing(harness.req(PROMPT, 6), {2: 40})
    harness.run(req)
    harness.expect_oracle([req])
    assert req.finished == Finish("length", None, 6, is_partial=True)


def test_an_output_that_is_all_forced_needs_no_forward(make_harness) -> None:
    harness = make_harness()
    req = harness.forcing(harness.req(PROMPT, 6), {0: 6})
    assert steps_of(harness, req) == 0
    assert harness.finals()[req].usage.completion_tokens == 6


@pytest.mark.parametrize("place", [0, 2, 5])
def test_a_run_stops_before_what_sampling_might_not_give(place, make_harness) -> None:
    """Before a stop token, and before one that `logit_bias` forbids: these are sampled."""
    expected = make_harness().oracle_output(PROMPT, 9)
    for fields in (
        dict(stop_token_ids=frozenset({expected[place]})),
        dict(sampling=Sampling(max_tokens=9, seed=0, logit_bias=((expected[place], -math.inf),))),
    ):
        harness = make_harness()
        req = harness.forcing(harness.req(PROMPT, 9, **fields), {0: 9})
        harness.submit(req)
        harness.step()
        assert req.output_ids[: place + 1] == expected[: place + 1]
        assert harness.scheduler.stats().forced_tokens >= place
        assert harness.worker.batches[0] == (1, 1, 5 + expected.index(expected[place]))
        harness.run()


def test_logprobs_need_the_model_for_every_token(make_harness) -> None:
    harness = make_harness()
    req = harness.req(PROMPT, sampling=Sampling(max_tokens=8, seed=0, logprobs=0))
    assert steps_of(harness, harness.forcing(req, {0: 3, 4: 3})) == 8
    assert [entry.token_id for entry in req.output_logprobs] == req.output_ids
    prompt = harness.req(PROMPT, 8, logprob_start_len=0)
    harness.run(harness.forcing(prompt, {0: 3}))
    assert len(prompt.input_logprobs) == 5


def test_streams_show_runs_at_once(make_harness) -> None:
    harness = make_harness()
    req = harness.forcing(harness.req(PROMPT, 8), {2: 4})
    harness.run(req)
    assert [len(output.token_ids) for output in harness.outputs] == [1, 5, 1, 1]


def test_samples_of_one_prompt_share_the_run_before_them(make_harness) -> None:
    harness = make_harness()
    first, second = (harness.forcing(harness.req(PROMPT, 8), {0: 5}) for _ in range(2))
    harness.run(first)
    harness.run(second)
    assert (first.cached_tokens, second.cached_tokens) == (0, 5)
    assert harness.worker.batches[0] == (1, 1, 10) and second.output_ids == first.output_ids


@pytest.mark.parametrize("page_size", [1, 4])
def test_a_run_that_does_not_fit_waits_and_goes_on(page_size, make_harness) -> None:
    """Memory for the run comes free in the middle of it; the request retracted meanwhile ends as it should."""
    harness = make_harness(max_total_tokens=48, page_size=page_size)
    harness.scheduler.new_token_ratio.value = 0.0
    reqs = [harness.forcing(harness.req([row] * 6, 30), {3: 20, 25: 4}) for row in range(3)]
    steps_of(harness, *reqs)
    assert harness.scheduler.stats().retractions > 0


def test_a_run_longer_than_the_memory_is_a_capacity_error(make_harness) -> None:
    harness = make_harness(max_total_tokens=16, max_context=64)
    for runs in ({0: 40}, {2: 40}):
        req = harness.forcing(harness.req(PROMPT, 50), runs)
        harness.run(req)
        assert isinstance(req.error, CapacityError)


def test_an_abort_in_the_middle_of_a_run_gives_everything_back(make_harness) -> None:
    harness = make_harness(chunk=4)
    req = harness.forcing(harness.req(PROMPT, 30), {1: 20})
    harness.submit(req)
    while len(req.output_ids) < 20:
        harness.step()
    harness.step()
    harness.abort(req.rid)
    harness.run()
    assert harness.scheduler.stats().aborted == 1
