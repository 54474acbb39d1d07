"""A scheduler without a model: a worker whose tokens are known for any schedule, whose KV is checked at each read."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest

from ramify.backend.api import TokenLogprob
from ramify.backend.engine.batch import BatchResult, ScheduleBatch
from ramify.backend.engine.kv_manager import KVManager
from ramify.backend.engine.messages import Abort, Flush, StepOutput, Submit
from ramify.backend.engine.policy import AgedLongestPrefixMatch, Policy
from ramify.backend.engine.req import Req
from ramify.backend.engine.scheduler import Scheduler, SchedulerConfig
from ramify.lang.sampling import Sampling

VOCABULARY = 50
MASK = (1 << 61) - 1
FIRST = 12345


def mix(state: int, value: int) -> int:
    """One step of a hash chain; equal chains mean equal prefixes."""
    return (state * 1_000_003 + value + 7) % MASK


def prefix_hashes(tokens: Sequence[int]) -> list[int]:
    """Hash of every prefix: entry i covers tokens [0, i]."""
    return list(itertools.accumulate(tokens, mix, initial=FIRST))[1:]


def oracle_token(prompt: Sequence[int], position: int, seed: int = 0) -> int:
    """The token that every schedule must sample as output number `position`."""
    return mix(mix(prefix_hashes(prompt)[-1], position), seed) % VOCABULARY


def oracle_output(prompt: Sequence[int], length: int, seed: int = 0) -> list[int]:
    return [oracle_token(prompt, position, seed) for position in range(length)]


def oracle_logprob(prompt: Sequence[int], position: int) -> float | None:
    """The logprob of prompt token `position`: it depends on every token up to it."""
    return None if position == 0 else -float(prefix_hashes(prompt[: position + 1])[-1] % 1000)


class ForcingMatcher:
    """A constraint that the oracle's tokens satisfy and that leaves no choice about some stretches of them.

    `runs`: output position -> how many tokens are forced there.
    """

    can_stop = False
    is_terminated = False

    def __init__(self, tokens: Sequence[int], runs: dict[int, int]) -> None:
        self.tokens = list(tokens)
        self.runs = runs
        self.num_accepted = 0

    def accept(self, token_id: int) -> bool:
        legal = self.tokens[self.num_accepted] == token_id
        self.num_accepted += legal
        return legal

    def forced(self) -> list[int]:
        start = self.num_accepted
        return self.tokens[start : start + self.runs.get(start, 0)]


class OracleWorker:
    """Samples by hash and keeps a canary in place of each slot's KV: the hash of the whole prefix and the position.

    A forward writes first and then verifies everything that any open row can read, so a slot that was overwritten,
    freed too early, shared wrongly or read before it is written fails at once.
    """

    def __init__(self, kv: KVManager) -> None:
        self.kv = kv
        self.slot_hash = np.full(kv.allocator.num_slots, -1, dtype=np.int64)
        self.slot_position = np.full(kv.allocator.num_slots, -1, dtype=np.int64)
        self.open: dict[int, Req] = {}
        self.batches: list[tuple[int, int, int]] = []  # (rows, prefill rows, tokens) of each forward
        self.num_tokens = 0
        self.num_slots_checked = 0
        self.fail_next: Exception | None = None
        self.row_errors: dict[str, Exception] = {}
        self._hashes: dict[Req, np.ndarray] = {}

    def open_row(self, req: Req) -> None:
        assert req.row > 0 and req.row not in self.open, "a row was opened twice"
        self.open[req.row] = req

    def close_row(self, row: int) -> None:
        self.open.pop(row, None)

    def hashes(self, req: Req) -> np.ndarray:
        """(num_tokens,) hash of every prefix."""
        known = self._hashes.get(req, np.empty(0, dtype=np.int64))
        if len(known) < req.num_tokens:
            start = int(known[-1]) if len(known) else FIRST
            more = list(itertools.accumulate(req.fill_ids[len(known) :], mix, initial=start))[1:]
            known = self._hashes[req] = np.concatenate([known, np.array(more, dtype=np.int64)])
        return known

    def forward(self, batch: ScheduleBatch) -> BatchResult:
        self.check_shape(batch)
        if self.fail_next is not None:
            error, self.fail_next = self.fail_next, None
            self.write(batch, spoiled=True)
            raise error
        self.write(batch, spoiled=False)
        self.verify(batch)
        self.batches.append((len(batch.reqs), batch.num_prefill, len(batch.input_ids)))
        self.num_tokens += len(batch.input_ids)
        return self.answer(batch)

    def check_shape(self, batch: ScheduleBatch) -> None:
        assert batch.extend_lens.min() > 0
        assert batch.extend_lens.sum() == len(batch.input_ids) == len(batch.out_cache_loc)
        assert len(set(batch.rows.tolist())) == len(batch.reqs), "a row occurs twice"
        written = batch.out_cache_loc[batch.out_cache_loc > 0]
        assert len(np.unique(written)) == len(written), "two tokens are written to one slot"
        start = 0
        for index, req in enumerate(batch.reqs):
            assert self.open[int(batch.rows[index])] is req, "a row was not opened for its request"
            prefix_len, extend_len = int(batch.prefix_lens[index]), int(batch.extend_lens[index])
            ids = batch.input_ids[start : start + extend_len].tolist()
            assert ids == req.fill_ids[prefix_len : prefix_len + extend_len], "wrong tokens are computed"
            is_last = prefix_len + extend_len == req.num_tokens
            assert batch.samples[index] == (is_last and req.sampling.max_tokens > 0)
            start += extend_len

    def write(self, batch: ScheduleBatch, *, spoiled: bool) -> None:
        start = 0
        for index, req in enumerate(batch.reqs):
            prefix_len, extend_len = int(batch.prefix_lens[index]), int(batch.extend_lens[index])
            slots = batch.out_cache_loc[start : start + extend_len]
            start += extend_len
            hashes = self.hashes(req)[prefix_len : prefix_len + extend_len]
            self.slot_hash[slots] = -2 if spoiled else hashes
            self.slot_position[slots] = np.arange(prefix_len, prefix_len + extend_len)
            self.slot_hash[0] = -1

    def verify(self, batch: ScheduleBatch) -> None:
        """Verify what the batch reads, and what every other open row holds."""
        lengths = dict(zip(batch.reqs, batch.seq_lens.tolist(), strict=True))
        for row, req in self.open.items():
            length = lengths.get(req, req.prefix_len)
            slots = self.kv.pool.req_to_token[row, :length]
            assert np.array_equal(self.slot_position[slots], np.arange(length)), f"{req.rid}: a wrong position"
            assert np.array_equal(self.slot_hash[slots], self.hashes(req)[:length]), f"{req.rid}: a wrong prefix"
            self.num_slots_checked += length

    def answer(self, batch: ScheduleBatch) -> BatchResult:
        tokens = np.full(len(batch.reqs), -1, dtype=np.int64)
        result = BatchResult(tokens, logprobs=[None] * len(batch.reqs))
        for index, req in enumerate(batch.reqs):
            if req.rid in self.row_errors and batch.samples[index]:
                result.errors[index] = self.row_errors[req.rid]
            elif batch.samples[index]:
                tokens[index] = oracle_token(req.origin_input_ids, len(req.output_ids), req.sampling.seed or 0)
                if req.sampling.logprobs is not None:
                    result.logprobs[index] = TokenLogprob(int(tokens[index]), -float(len(req.output_ids)), "")
            span = batch.logprob_span(index)
            if len(span):
                prompt = req.origin_input_ids
                result.input_logprobs[index] = [
                    TokenLogprob(prompt[position], oracle_logprob(prompt, position), "") for position in span
                ]
        return result


class Harness:
    """A scheduler driven step by step, with every invariant checked after every step."""

    def __init__(
        self,
        *,
        max_running: int = 16,
        max_context: int = 512,
        max_total_tokens: int = 4096,
        page_size: int = 1,
        radix_cache: bool = True,
        chunk: int = 512,
        mixed: bool = True,
        policy: Policy | None = None,
        jump_forward: bool = True,
    ) -> None:
        self.kv = KVManager.create(
            max_running=max_running,
            max_context=max_context,
            max_total_tokens=max_total_tokens,
            page_size=page_size,
            radix_cache=radix_cache,
        )
        self.worker = OracleWorker(self.kv)
        self.outputs: list[StepOutput] = []
        self.scheduler = Scheduler(
            self.worker,
            self.kv,
            policy or AgedLongestPrefixMatch(),
            self.outputs.extend,
            SchedulerConfig(chunked_prefill_size=chunk, mixed=mixed, jump_forward=jump_forward, debug_checks=True),
        )
        self._ids = itertools.count()

    def req(self, prompt: Sequence[int], max_tokens: int = 4, *, rid: str | None = None, **fields: object) -> Req:
        sampling = fields.pop("sampling", None) or Sampling(max_tokens=max_tokens, seed=fields.pop("seed", 0))
        return Req(rid or f"r{next(self._ids)}", list(prompt), sampling, **fields)

    def forcing(self, req: Req, runs: dict[int, int]) -> Req:
        """Give `req` a matcher that forces `runs` of its oracle's tokens."""
        tokens = oracle_output(req.origin_input_ids, req.sampling.max_tokens + 1, req.sampling.seed or 0)
        req.matcher = ForcingMatcher(tokens, runs)
        return req

    def submit(self, *reqs: Req) -> None:
        self.scheduler.inbox.put(Submit(reqs))

    def abort(self, rid: str) -> None:
        self.scheduler.inbox.put(Abort(rid))

    def step(self) -> None:
        self.scheduler.step()
        self.scheduler.check()

    def run(self, *reqs: Req, max_steps: int = 20_000) -> None:
        """Submit and step until everything has ended."""
        if reqs:
            self.submit(*reqs)
        for _ in range(max_steps):
            if not self.scheduler.has_work and not self.scheduler.inbox._messages:
                break
            self.step()
        assert not self.scheduler.has_work, "the scheduler makes no progress"
        stats = self.scheduler.stats()
        assert stats.available + stats.evictable == stats.total and stats.protected == 0

    @contextmanager
    def idle(self) -> Iterator[None]:
        """Let a step without any request return instead of waiting for a message."""
        self.scheduler.inbox.put(Flush())
        yield

    def finals(self) -> dict[Req, StepOutput]:
        """The last output of each request; there is exactly one."""
        finals: dict[Req, StepOutput] = {}
        for output in self.outputs:
            assert output.req not in finals, "an output came after the last one"
            if output.is_final:
                finals[output.req] = output
        return finals

    def expect_oracle(self, reqs: Sequence[Req]) -> None:
        """Every request ended by length with exactly the tokens of the oracle, and they were handed out once each."""
        finals = self.finals()
        for req in reqs:
            expected = self.oracle_output(req.origin_input_ids, req.sampling.max_tokens, req.sampling.seed or 0)
            assert req.error is None and req.output_ids == expected == self.sent(req)
            assert finals[req].finish is not None and finals[req].finish.reason == "length"

    oracle_output = staticmethod(oracle_output)
    oracle_logprob = staticmethod(oracle_logprob)

    def sent(self, req: Req) -> list[int]:
        """All token ids handed out for `req`."""
        return [token for output in self.outputs if output.req is req for token in output.token_ids]


@pytest.fixture
def make_harness() -> Callable[..., Harness]:
    return Harness
