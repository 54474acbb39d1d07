"""Runs programs of token counts on the real scheduler; a worker without a model gives each request its known answer.

Time is virtual: each forward takes `FORWARD_WORK` plus one unit per token, so results are the same on every machine.
"""

from __future__ import annotations

import heapq
import statistics
from collections import deque
from dataclasses import dataclass

import numpy as np

from ramify.backend.api import TokenLogprob
from ramify.backend.engine.batch import BatchResult, ScheduleBatch
from ramify.backend.engine.kv_manager import KVManager
from ramify.backend.engine.memory import Int64
from ramify.backend.engine.messages import StepOutput, Submit
from ramify.backend.engine.policy import AgedLongestPrefixMatch, FirstComeFirstServed
from ramify.backend.engine.req import Req
from ramify.backend.engine.scheduler import Scheduler, SchedulerConfig
from ramify.lang.sampling import Sampling

from token_programs import Program, TokenWorkload

FORWARD_WORK = 32  # what a forward costs whatever it computes, in tokens
MAX_RUNNING = 64
CHUNK = 512


@dataclass(frozen=True, slots=True)
class Setting:
    """What the engine may do, and what programs tell it."""

    name: str
    radix_cache: bool = True
    cache_aware: bool = True
    in_batch: bool = True  # a prefix is shared from its admission on, not only when it is computed
    gives_program: bool = False
    gives_keep: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """Token counts and times of one replay."""

    prompt_tokens: int
    cached_tokens: int
    computed_tokens: int
    retractions: int
    steps: int
    work: int  # units of work until the last program ended
    mean_program: float  # mean units of work from a program's start to its end

    @property
    def hit_rate(self) -> float:
        """Cached share of the prompt tokens, at first admission."""
        return self.cached_tokens / self.prompt_tokens


class KnownAnswers:
    """A worker whose model always says the request's seed."""

    def __init__(self, max_running: int) -> None:
        self.answers: Int64 = np.zeros(max_running + 1, dtype=np.int64)
        self.work = 0

    def open_row(self, req: Req) -> None:
        """Remember what the row will say."""
        assert req.sampling.seed is not None
        self.answers[req.row] = req.sampling.seed

    def close_row(self, row: int) -> None:
        """Nothing is kept for a row."""

    def forward(self, batch: ScheduleBatch) -> BatchResult:
        """Answer every row."""
        self.work += FORWARD_WORK + len(batch.input_ids)
        result = BatchResult(np.where(batch.samples, self.answers[batch.rows], -1))
        for index, req in enumerate(batch.reqs[: batch.num_prefill]):
            if req.logprob_start_len is not None:
                span = batch.logprob_span(index)
                result.input_logprobs[index] = [TokenLogprob(0, None, "")] * len(span)
        return result


class SharesComputed(KVManager):
    """The field's usual way, for comparison: a prefix can be shared once a forward has computed it."""

    def extend(self, req: Req, end: int) -> tuple[Int64, int]:
        """Allocate, and leave the tree alone."""
        start, row = req.prefix_len, self.pool.req_to_token[req.row]
        first = max(req.cache_protected_len, start)
        slots = np.zeros(end - start, dtype=np.int64)
        if end > first:
            self._make_room(end - first)
            slots[first - start :] = row[first:end] = self.allocator.extend(0, first, end)
        return slots, req.cache_protected_len

    def computed(self, req: Req, end: int) -> None:
        """Put what the last forward wrote into the tree; what another row computed as well is given back."""
        row, protected = self.pool.req_to_token[req.row], req.cache_protected_len
        inserted = self.tree_cache.insert(req.token_array()[:end], req.cache_salt, row[:end])
        self.allocator.free(row[protected : inserted.num_existing].copy())
        self.tree_cache.lock(inserted.node)
        assert req.last_node is not None
        self.tree_cache.unlock(req.last_node)
        req.last_node, req.cache_protected_len = inserted.node, max(protected, end)
        row[:end] = self.tree_cache.match_prefix(req.token_array()[:end], req.cache_salt).slots


class SharingWorker(KnownAnswers):
    """Tells `SharesComputed` what each forward has computed."""

    def __init__(self, kv: SharesComputed) -> None:
        super().__init__(kv.pool.max_running)
        self.kv = kv

    def forward(self, batch: ScheduleBatch) -> BatchResult:
        """Answer every row."""
        for req in batch.reqs[: batch.num_prefill]:
            self.kv.computed(req, max(req.cache_protected_len, req.prefix_len + req.extend_len))
        return super().forward(batch)


class Replay:
    """One workload on one engine."""

    def __init__(self, workload: TokenWorkload, setting: Setting, max_total_tokens: int, *, is_checked: bool = False):
        calls = [call for program in workload.programs for call in program]
        make_kv = KVManager if setting.in_batch else SharesComputed
        kv = make_kv.create(
            max_running=MAX_RUNNING,
            max_context=max(call.prompt_len + call.output.length for call in calls),
            max_total_tokens=max_total_tokens,
            radix_cache=setting.radix_cache,
        )
        self.worker = SharingWorker(kv) if isinstance(kv, SharesComputed) else KnownAnswers(MAX_RUNNING)
        policy = AgedLongestPrefixMatch() if setting.cache_aware else FirstComeFirstServed()
        config = SchedulerConfig(chunked_prefill_size=CHUNK)
        self.scheduler = Scheduler(self.worker, kv, policy, self._receive, config)
        self._setting, self._is_checked = setting, is_checked
        self._unstarted = deque(_Running(f"p{number}", program) for number, program in enumerate(workload.programs))
        self._known: list[tuple[int, int, _Running, int]] = []  # heap of (due, order, program, call)
        self._num_known = 0
        self._num_open = 0
        self._owners: dict[Req, tuple[_Running, int]] = {}
        self._program_work: list[int] = []
        for _ in range(min(workload.concurrency, len(workload.programs))):
            self._start_program()

    def run(self) -> Outcome:
        """Run every program to its end."""
        while self._num_open:
            if not self._submit_known() and not self.scheduler.has_work:
                self.worker.work = self._known[0][0]
                continue
            self.scheduler.step()
            if self._is_checked:
                self.scheduler.check()
        stats = self.scheduler.stats()
        return Outcome(
            prompt_tokens=stats.prompt_tokens,
            cached_tokens=stats.cached_tokens,
            computed_tokens=stats.computed_tokens,
            retractions=stats.retractions,
            steps=stats.steps,
            work=self.worker.work,
            mean_program=statistics.mean(self._program_work),
        )

    def _start_program(self) -> None:
        program = self._unstarted.popleft()
        program.started_at = self.worker.work
        self._num_open += 1
        for index, call in enumerate(program.calls):
            if not call.after:
                self._learn(program, index)

    def _learn(self, program: _Running, index: int) -> None:
        """A call has become known, or will once its delay is over."""
        self._num_known += 1
        due = self.worker.work + program.calls[index].delay
        heapq.heappush(self._known, (due, self._num_known, program, index))

    def _submit_known(self) -> bool:
        reqs = []
        while self._known and self._known[0][0] <= self.worker.work:
            _, _, program, index = heapq.heappop(self._known)
            reqs.append(self._request(program, index))
        for req in reqs:
            self.scheduler.inbox.put(Submit((req,)))
        return bool(reqs)

    def _request(self, program: _Running, index: int) -> Req:
        call, setting = program.calls[index], self._setting
        sampling = Sampling(max_tokens=call.output.length, seed=call.output.number)
        ids = [segment.number for segment in call.prompt for _ in range(segment.length)]
        req = Req(
            rid=f"{program.name}.{index}",
            origin_input_ids=ids,
            sampling=sampling,
            logprob_start_len=call.prompt_len - call.prompt[-1].length if call.is_scored else None,
            stream=False,
            program=program.name if setting.gives_program else None,
            keep_prefix=setting.gives_keep and call.is_extended,
        )
        self._owners[req] = program, index
        return req

    def _receive(self, outputs: list[StepOutput]) -> None:
        for output in outputs:
            if output.error is not None:
                raise output.error
            if output.is_final:
                program, index = self._owners.pop(output.req)
                answer = program.calls[index].output
                assert output.req.output_ids == [answer.number] * answer.length, "another request's answer"
                self._end_call(program, index)

    def _end_call(self, program: _Running, index: int) -> None:
        for later in program.end(index):
            self._learn(program, later)
        if not program.num_open:
            self._program_work.append(self.worker.work - program.started_at)
            self._num_open -= 1
            if self._unstarted:
                self._start_program()


class _Running:
    """A program and which of its calls are still to come."""

    def __init__(self, name: str, calls: Program) -> None:
        self.name = name
        self.calls = calls
        self.num_open = len(calls)
        self.started_at = 0
        self._waits_for = [len(call.after) for call in calls]
        self._before: dict[int, list[int]] = {}
        for index, call in enumerate(calls):
            for before in call.after:
                self._before.setdefault(before, []).append(index)

    def end(self, index: int) -> list[int]:
        """A call has ended; returns the calls that waited for nothing else."""
        self.num_open -= 1
        free = []
        for later in self._before.get(index, ()):
            self._waits_for[later] -= 1
            if not self._waits_for[later]:
                free.append(later)
        return free
