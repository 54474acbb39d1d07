"""How requests end: stops, limits, constraints, scores, errors of one row or of a whole forward."""

from __future__ import annotations

import numpy as np
import pytest

from ramify.backend.api import Finish
from ramify.backend.engine.batch import ScheduleBatch
from ramify.lang.errors import (
    BackendError,
    CapacityError,
    DeadEndError,
    ParameterError,
    PromptError,
    RequestError,
)
from ramify.lang.sampling import Sampling


class PlainText:
    """One letter a token; stops at `stop`, holds every second letter back."""

    def __init__(self, stop: int | None = None, *, breaks_at: int | None = None) -> None:
        self.tokens: list[int] = []
        self.ready = ""
        self.stop, self.breaks_at = stop, breaks_at

    def push(self, token_id: int) -> Finish | None:
        if token_id == self.breaks_at:
            raise RequestError("the pattern takes too long")
        self.tokens.append(token_id)
        if token_id == self.stop:
            return Finish("stop", "S", len(self.tokens) - 1)
        self.ready += chr(65 + token_id)
        return None

    def end(self, finish: Finish) -> Finish:
        return Finish(finish.reason, finish.matched, len(self.tokens), "tail")

    def take(self) -> str:
        text, self.ready = self.ready, ""
        return text


class OracleMatcher:
    """Accepts the given tokens in order and is over after the last."""

    def __init__(self, tokens: list[int]) -> None:
        self.tokens = tokens
        self.num_accepted = 0

    def accept(self, token_id: int) -> bool:
        if self.tokens[self.num_accepted] != token_id:
            return False
        self.num_accepted += 1
        return True

    def forced(self) -> tuple[int, ...]:
        return ()

    @property
    def is_terminated(self) -> bool:
        return self.num_accepted == len(self.tokens)


PROMPT = [1, 2, 3, 4, 5]


def test_length(make_harness) -> None:
    harness = make_harness()
    req = harness.req(PROMPT, 3)
    harness.run(req)
    output = harness.finals()[req]
    assert output.finish == Finish("length", None, 3) == req.finished
    assert (output.usage.prompt_tokens, output.usage.cached_tokens, output.usage.completion_tokens) == (5, 0, 3)


def test_the_context_ends_a_request_like_its_limit(make_harness) -> None:
    harness = make_harness(max_context=8)
    req = harness.req(PROMPT, 100)
    harness.run(req)
    assert len(req.output_ids) == 3 and req.finished.reason == "length"


def test_a_stop_token_is_in_the_ids_but_not_in_the_text(make_harness) -> None:
    harness = make_harness()
    expected = harness.oracle_output(PROMPT, 9)
    stop = expected[4]
    num = expected.index(stop) + 1
    req = harness.req(PROMPT, 9, stop_token_ids=frozenset([stop]), output_text=PlainText())
    harness.run(req)
    assert req.output_ids == expected[:num] and req.output_text.tokens == expected[: num - 1]
    assert harness.finals()[req].finish == Finish("stop", stop, num - 1, "tail")
    assert "".join(output.text for output in harness.outputs) == "".join(
        chr(65 + token) for token in expected[: num - 1]
    )


def test_a_stop_string_ends_the_request_as_the_text_says(make_harness) -> None:
    harness = make_harness()
    expected = harness.oracle_output(PROMPT, 9)
    req = harness.req(PROMPT, 9, output_text=PlainText(stop=expected[3]))
    harness.run(req)
    num = expected.index(expected[3]) + 1
    assert req.output_ids == expected[:num]
    assert req.finished == Finish("stop", "S", num - 1)


def test_text_that_cannot_go_on_fails_its_request_only(make_harness) -> None:
    harness = make_harness()
    expected = harness.oracle_output(PROMPT, 9)
    broken = harness.req(PROMPT, 9, output_text=PlainText(breaks_at=expected[2]))
    other = harness.req(PROMPT, 9)
    harness.run(broken, other)
    assert isinstance(broken.error, RequestError) and "too long" in str(broken.error)
    harness.expect_oracle([other])


def test_a_matcher_sees_every_token_and_ends_the_request(make_harness) -> None:
    harness = make_harness()
    matcher = OracleMatcher(harness.oracle_output(PROMPT, 4))
    req = harness.req(PROMPT, 9, matcher=matcher)
    harness.submit(req)
    for num in range(1, 5):
        harness.step()
        assert matcher.num_accepted == num == len(req.output_ids)  # before the next forward fills a mask
    assert req.finished == Finish("stop", None, 4)


def test_a_token_that_the_constraint_forbids_is_an_error(make_harness) -> None:
    harness = make_harness()
    req = harness.req(PROMPT, 9, matcher=OracleMatcher([-1]))
    harness.run(req)
    assert isinstance(req.error, BackendError) and "forbids" in str(req.error)


def test_a_dead_end_ends_its_request_only(make_harness) -> None:
    harness = make_harness()
    stuck, other = harness.req(PROMPT, 5), harness.req([9, 9], 5)
    harness.worker.row_errors[stuck.rid] = DeadEndError("no token is legal")
    harness.run(stuck, other)
    assert isinstance(harness.finals()[stuck].error, DeadEndError)
    harness.expect_oracle([other])


def test_no_tokens_asked_for_means_prefill_only(make_harness) -> None:
    harness = make_harness()
    warm = harness.req(PROMPT, 0)
    harness.run(warm)
    assert harness.finals()[warm].finish == Finish("length") and warm.output_ids == []
    assert harness.worker.num_tokens == 5
    later = harness.req([*PROMPT, 6], 1)
    harness.run(later)
    assert later.cached_tokens == 5


@pytest.mark.parametrize("chunk", [1, 2, 3, 512])
@pytest.mark.parametrize("start", [0, 1, 3, 4, 5])
@pytest.mark.parametrize("max_tokens", [0, 2])
def test_prompt_logprobs_whatever_the_chunks_and_the_cache(chunk, start, max_tokens, make_harness) -> None:
    harness = make_harness(chunk=chunk)
    harness.run(harness.req(PROMPT, 3))
    req = harness.req(PROMPT, max_tokens, logprob_start_len=start)
    harness.run(req)
    first = next(output for output in harness.outputs if output.req is req)
    expected = [harness.oracle_logprob(PROMPT, position) for position in range(start, 5)]
    assert [entry.logprob for entry in first.input_logprobs] == expected
    assert req.cached_tokens == min(max(start - 1, 0), 4 if max_tokens else 3)
    assert sum(len(output.input_logprobs) for output in harness.outputs) == len(expected)


@pytest.mark.parametrize(
    ("start", "prefix_len", "extend_len", "expected"),
    [
        (None, 0, 5, []),
        (0, 0, 5, [0, 1, 2, 3, 4]),
        (0, 0, 2, [0, 1, 2]),  # the chunk's last logits predict the first token of the next chunk
        (0, 2, 2, [3, 4]),
        (3, 2, 3, [3, 4]),
        (3, 0, 2, []),
        (4, 4, 1, []),
        (2, 7, 1, []),  # decoding
    ],
)
def test_logprob_span(start, prefix_len, extend_len, expected, make_harness) -> None:
    req = make_harness().req(PROMPT, logprob_start_len=start)
    prefix_lens, extend_lens = np.array([prefix_len]), np.array([extend_len])
    tokens = np.zeros(extend_len, dtype=np.int64)
    batch = ScheduleBatch([req], np.array([1]), prefix_lens, extend_lens, tokens, tokens, np.array([True]))
    assert list(batch.logprob_span(0)) == expected


def test_output_logprobs_go_with_their_tokens(make_harness) -> None:
    harness = make_harness()
    req = harness.req(PROMPT, sampling=Sampling(max_tokens=4, seed=0, logprobs=0))
    harness.run(req)
    for output in harness.outputs:
        assert [entry.token_id for entry in output.logprobs] == list(output.token_ids)
    assert [entry.logprob for output in harness.outputs for entry in output.logprobs] == [0.0, -1.0, -2.0, -3.0]


def test_one_output_a_token_or_one_in_all(make_harness) -> None:
    harness = make_harness()
    streamed, whole = harness.req(PROMPT, 4), harness.req(PROMPT, 4, stream=False)
    harness.run(streamed, whole)
    assert [output.token_ids for output in harness.outputs if output.req is whole] == [tuple(whole.output_ids)]
    assert sum(output.req is streamed for output in harness.outputs) == 4


@pytest.mark.parametrize(
    ("prompt", "error", "remedy"),
    [
        ([], PromptError, "at least one token"),
        (range(20), PromptError, "shorten it"),
        (range(12), CapacityError, "max_total_tokens"),
    ],
)
def test_what_can_never_run_is_refused_at_once(prompt, error, remedy, make_harness) -> None:
    harness = make_harness(max_context=20, max_total_tokens=8)
    bad, good = harness.req(prompt), harness.req(PROMPT, 2)
    harness.run(bad, good)
    assert isinstance(bad.error, error) and remedy in str(bad.error)
    harness.expect_oracle([good])


def test_an_id_in_use_is_refused_and_its_owner_goes_on(make_harness) -> None:
    harness = make_harness()
    first, second = harness.req(PROMPT, 6, rid="same"), harness.req([7], 6, rid="same")
    harness.submit(first)
    harness.step()
    harness.run(second)
    assert isinstance(second.error, ParameterError)
    harness.expect_oracle([first])
    again = harness.req([7], 2, rid="same")
    harness.run(again)
    harness.expect_oracle([again])


def test_one_that_alone_exceeds_memory_fails_with_what_it_has(make_harness) -> None:
    harness = make_harness(max_total_tokens=20)
    req = harness.req(PROMPT, 100)
    harness.run(req)
    assert isinstance(req.error, CapacityError) and "20 tokens" in str(req.error)
    assert harness.sent(req) == req.output_ids == harness.oracle_output(PROMPT, 16)


def test_a_failed_forward_fails_its_requests_and_leaves_no_trace(make_harness) -> None:
    harness = make_harness(mixed=False)
    running = harness.req([9, 8, 7], 8)
    harness.submit(running)
    harness.step()
    failed = [harness.req([*range(40), last], 3) for last in (1, 2)]  # the second reads what the first computes
    harness.worker.fail_next = RuntimeError("out of memory")
    harness.submit(*failed)
    harness.step()
    assert all(isinstance(req.error, BackendError) and "out of memory" in str(req.error) for req in failed)
    assert isinstance(failed[0].error.__cause__, RuntimeError)
    again = harness.req([*range(40), 1], 3)
    harness.run(again)
    assert again.cached_tokens == 0  # the canary would have caught a read of the spoiled slots as well
    harness.expect_oracle([running, again])


def test_a_failed_chunk_keeps_the_chunks_before_it(make_harness) -> None:
    harness = make_harness(chunk=8)
    req = harness.req(range(30), 2)
    harness.submit(req)
    harness.step()
    harness.worker.fail_next = RuntimeError("planted")
    harness.step()
    assert isinstance(req.error, BackendError) and harness.scheduler.chunked_req is None
    again = harness.req(range(30), 2)
    harness.run(again)
    assert again.cached_tokens == 8
    harness.expect_oracle([again])


def test_a_worker_that_cannot_open_a_row_fails_the_batch(make_harness, monkeypatch: pytest.MonkeyPatch) -> None:
    harness = make_harness()
    req = harness.req(PROMPT, 2)
    with monkeypatch.context() as patch:
        patch.setattr(harness.worker, "open_row", lambda req: 1 / 0)
        harness.run(req)
    assert isinstance(req.error, BackendError)
    again = harness.req(PROMPT, 2)
    harness.run(again)
    harness.expect_oracle([again])


def test_arrays_of_a_launched_batch_are_never_changed(make_harness, monkeypatch: pytest.MonkeyPatch) -> None:
    harness = make_harness(chunk=6)
    launched = []
    forward = harness.worker.forward

    def keep(batch):
        arrays = (batch.rows, batch.prefix_lens, batch.extend_lens, batch.input_ids, batch.out_cache_loc, batch.samples)
        launched.append((batch, list(batch.reqs), arrays, [array.copy() for array in arrays]))
        return forward(batch)

    monkeypatch.setattr(harness.worker, "forward", keep)
    harness.run(*(harness.req(range(number, number + 9), number + 2) for number in range(5)))
    assert len(launched) > 8
    for batch, reqs, arrays, copies in launched:
        assert batch.reqs == reqs
        assert all(np.array_equal(array, copy) for array, copy in zip(arrays, copies, strict=True))
