"""`Scheduler`: continuous batching, one prefill chunk at a time. Knows sequences and slots; no torch, text or programs.

It decides what each forward computes and applies what came back. `event_loop_normal` runs on the engine thread; the
front talks to it through `inbox` and receives one list of `StepOutput` a step.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from ...lang.errors import AbortError, BackendError, CapacityError, ClosedError, DeadlineError, RamifyError
from .admission import MAX_EXPECTED_TOKENS, Extension, NewTokenRatio, PrefillAdder, Verdict
from .batch import BatchResult, ScheduleBatch, Worker
from .batch_building import decode_batch, mixed_batch, prefill_batch
from .intake import Intake
from .invariants import check_scheduler
from .kv_manager import KVManager
from .lifecycle import Lifecycle, final_output
from .messages import Abort, Call, Close, Flush, Inbox, Message, StepOutput, Submit
from .policy import Policy
from .req import Req
from .results import ResultProcessor
from .running_batch import RunningBatch
from .stats import EngineStats, ProgramStats
from .tree_cache import TreeCache
from .waiting_queue import Waiting, WaitingQueue

# How many requests that do not fit admission looks past, and how often one may be passed before it holds the line.
MAX_LOOK_PAST = 8
PATIENCE = 32
# A queue whose best requests did not fit is offered again when memory came free, and every so many steps.
RETRY_STEPS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerConfig:
    """`chunked_prefill_size`: most tokens of one forward. `mixed`: decoding rows ride along with prefill chunks.

    `jump_forward`: tokens that a constraint forces are appended unsampled and computed together.
    """

    chunked_prefill_size: int = 512
    mixed: bool = True
    jump_forward: bool = True
    debug_checks: bool = False  # recount everything whenever the engine is idle


class Scheduler:
    """The loop and its queues; memory, order, budget and results are collaborators.

    `emit` gets the outputs of each step, on the engine thread; it must not raise.
    """

    def __init__(
        self,
        worker: Worker,
        kv: KVManager,
        policy: Policy,
        emit: Callable[[list[StepOutput]], None],
        config: SchedulerConfig | None = None,
    ) -> None:
        self.worker = worker
        self.kv = kv
        self.emit = emit
        self.config = config or SchedulerConfig()
        self.inbox = Inbox()
        self.waiting_queue = WaitingQueue(policy)
        self.running_batch = RunningBatch()
        self.cur_batch: ScheduleBatch | None = None
        self.last_batch: ScheduleBatch | None = None
        self.chunked_req: Req | None = None
        self.lifecycle = Lifecycle(kv, worker, self.waiting_queue)
        self.intake = Intake(self.lifecycle, jump_forward=self.config.jump_forward)
        self.results = ResultProcessor(self.lifecycle, jump_forward=self.config.jump_forward)
        self.new_token_ratio = NewTokenRatio()
        self._extensions: list[Extension] = []  # prefill rows of the current batch
        self._blocked_at: tuple[int, int] | None = None  # (releases, step) when nothing that waits could be admitted
        self._is_closing = False

    @property
    def tree_cache(self) -> TreeCache:
        """The prefix cache."""
        return self.kv.tree_cache

    @property
    def has_work(self) -> bool:
        """True while any request is open."""
        return len(self.lifecycle.open_requests) > 0

    # -- the loop

    def event_loop_normal(self) -> None:
        """Run until `Close`; whatever is open then, or when the loop itself fails, ends with an error."""
        failure: BaseException | None = None
        try:
            while not self._is_closing:
                self.step()
        except BaseException as error:
            failure = error
            raise
        finally:
            self._end_everything(failure)

    def step(self) -> None:
        """One turn: messages, one forward, its results. Blocks when there is nothing to do."""
        self.process_input_requests(self.recv_requests())
        batch = self.cur_batch = self.get_next_batch_to_run()
        if batch is not None:
            result = self.run_batch(batch)
            if result is not None:
                self.process_batch_result(batch, result)
        elif not self.has_work:
            self._on_idle()
        self.last_batch, self.cur_batch = batch, None
        outputs = self.lifecycle.take_outputs()
        if outputs:
            self.emit(outputs)

    def recv_requests(self) -> list[Message]:
        """Messages since the last step; waits for one when no request is open."""
        return self.inbox.take(wait=not self.has_work)

    def process_input_requests(self, messages: list[Message]) -> None:
        """Act on messages in order."""
        for message in messages:
            match message:
                case Submit(reqs):
                    self.intake.receive(reqs)
                    self._blocked_at = None
                case Abort(rid):
                    for req in self.lifecycle.open_requests.with_rid(rid):
                        self._fail(req, AbortError(f"request {rid} was aborted"))
                case Flush():
                    self.kv.flush()
                case Call():
                    message.run()
                case Close():
                    self._is_closing = True

    # -- choosing the next forward

    def get_next_batch_to_run(self) -> ScheduleBatch | None:
        """Plan the next forward: waiting prompts first, with or else followed by the decoding rows."""
        self._expire_deadlines()
        running = self.running_batch
        running.filter_batch()
        if self.last_batch is not None:
            running.merge_batch(self._just_prefilled(self.last_batch))
        if self._is_closing:
            return None
        reserved, budget = self.kv.allocator.decode_tokens_needed(running.seq_lens), self.config.chunked_prefill_size
        if reserved > self.kv.obtainable:
            self.retract_decode()
            running.plan_runs(self.kv.allocator, room=0, budget=0)
            self._extensions = []
        else:
            room = self.kv.obtainable - reserved
            reserved += running.plan_runs(self.kv.allocator, room=room, budget=max(0, budget - len(running)))
            self._extensions = self.get_new_batch_prefill(reserved)
        if self._extensions and not (self.config.mixed and len(running)):
            return prefill_batch(self._extensions)
        if not len(running):
            return None
        self.new_token_ratio.decay()
        decode = decode_batch(running, self.kv.decode(running.rows, running.seq_lens, running.extend_lens))
        return mixed_batch(prefill_batch(self._extensions), decode) if self._extensions else decode

    def get_new_batch_prefill(self, reserved: int) -> list[Extension]:
        """Choose what to prefill: the chunked request's next chunk, then whoever waits, within budget and memory."""
        may_admit = len(self.waiting_queue) > 0 and self.kv.pool.num_free > 0 and not self._is_blocked()
        if self.chunked_req is None and not may_admit:
            return []
        running, config = self.running_batch, self.config
        budget = config.chunked_prefill_size - (int(running.extend_lens.sum()) if config.mixed else 0)
        adder = PrefillAdder(
            self.kv,
            self.new_token_ratio.value,
            budget=max(budget, self.kv.allocator.page_size),
            reserved=reserved,
            expected=self.new_token_ratio.value * running.num_expected(MAX_EXPECTED_TOKENS),
            is_alone=not len(running) and self.chunked_req is None,
        )
        if self.chunked_req is not None:
            self.lifecycle.counters.cached_tokens += adder.add_chunked(self.chunked_req)
        for extension in adder.extensions:
            self._announce(extension)
        self._admit_waiting(adder)
        self.chunked_req = adder.chunked_req
        return adder.extensions

    def retract_decode(self) -> None:
        """Take memory from requests until the others can decode one more token; at least one goes on.

        The chunked request goes first (it has produced nothing yet), then low priorities, then the shortest outputs.
        What they computed stays in the cache while there is room. A request that alone has no room left fails.
        """
        running = self.running_batch
        if self.chunked_req is not None:
            self.lifecycle.retract(self.chunked_req)
            self.chunked_req = None
        by_loss = sorted(running.reqs, key=lambda req: (req.priority, len(req.output_ids), -len(req.origin_input_ids)))
        retracted = 0
        while self.kv.allocator.decode_tokens_needed(running.seq_lens) > self.kv.obtainable:
            victim = by_loss[retracted]
            retracted += 1
            if len(running) == 1:
                message = f"the request needs more than the {self.kv.allocator.total} tokens of memory the engine has"
                self._fail(victim, CapacityError(message))
            else:
                self.lifecycle.retract(victim)
            running.filter_batch()
        self.new_token_ratio.retracted(running.reqs)

    # -- running it

    def run_batch(self, batch: ScheduleBatch) -> BatchResult | None:
        """Run the forward; when it raises, its requests fail, its plan is undone, and None is returned."""
        self.lifecycle.counters.steps += 1
        try:
            for extension in self._extensions:
                if extension.is_new:
                    self.worker.open_row(extension.req)
            return self.worker.forward(batch)
        except Exception as error:  # noqa: BLE001 - whatever a model raises belongs to the requests of its batch
            self._fail_batch(batch, error)
            return None

    def process_batch_result(self, batch: ScheduleBatch, result: BatchResult) -> None:
        """Apply a result to the batch that produced it."""
        tokens: list[int] = result.next_token_ids.tolist()
        if batch.num_prefill < len(batch.reqs):
            self.running_batch.advance(result.next_token_ids[batch.num_prefill :])
        self.results.process_prefill(batch, result, tokens)
        self.running_batch.add_runs(self.results.process_decode(batch, result, tokens))
        self._clear_chunked()

    # -- for the front, on the engine thread

    def flush_cache(self) -> None:
        """Forget every cached prefix that no running request uses."""
        self.kv.flush()

    def stats(self) -> EngineStats:
        """Count what there is now; call it through `inbox.call`."""
        waiting = len(self.waiting_queue)
        return EngineStats(
            **asdict(self.lifecycle.counters),
            running=sum(1 for _ in self.lifecycle.open_requests) - waiting,
            waiting=waiting,
            available=self.kv.allocator.available,
            evictable=self.tree_cache.evictable_size,
            protected=self.tree_cache.protected_size,
            total=self.kv.allocator.total,
        )

    def program_stats(self) -> dict[str, ProgramStats]:
        """Count what the programs of late used, by their id."""
        return self.lifecycle.programs.stats()

    def check(self) -> None:
        """Recount everything and assert the invariants; between two steps."""
        check_scheduler(self)

    # -- parts of the above

    def _just_prefilled(self, batch: ScheduleBatch) -> list[Req]:
        rows = zip(batch.reqs[: batch.num_prefill], batch.samples, strict=False)
        return [req for req, samples in rows if samples and req.row > 0]

    def _is_blocked(self) -> bool:
        if self._blocked_at is None:
            return False
        releases, step = self._blocked_at
        return releases == self.lifecycle.num_releases and self.lifecycle.counters.steps - step < RETRY_STEPS

    def _admit_waiting(self, adder: PrefillAdder) -> None:
        """Offer waiting requests, best first, looking past some that do not fit."""
        queue = self.waiting_queue
        passed: list[Waiting] = []
        num_before, verdict = len(adder.extensions), Verdict.ADDED
        while adder.has_room and len(passed) < MAX_LOOK_PAST:
            entry = queue.pop()
            if entry is None:
                break
            if queue.policy.uses_cache and queue.is_outranked(entry, self.kv.cached_len(entry.req)):
                continue
            verdict = adder.add(entry.req)
            if verdict is not Verdict.ADDED:
                passed.append(entry)
                if verdict is Verdict.NO_BUDGET or entry.num_overtaken >= PATIENCE:
                    break
                continue
            queue.admit(entry, entry.req.extend_len)
            if entry.req.num_retractions == 0:
                counters = self.lifecycle.counters
                counters.cached_tokens += entry.req.cached_tokens
                counters.admitted += 1
                counters.queue_seconds += time.monotonic() - entry.req.arrival
            self._announce(adder.extensions[-1])
            for waiting in passed:
                waiting.num_overtaken += 1
        for waiting in passed:
            queue.put_back(waiting)
        is_stuck = verdict is Verdict.NO_MEMORY and len(adder.extensions) == num_before
        self._blocked_at = (self.lifecycle.num_releases, self.lifecycle.counters.steps) if is_stuck else None

    def _announce(self, extension: Extension) -> None:
        """Tell the queue that a prefix is in the cache now."""
        req = extension.req
        tokens = req.token_array()[: req.prefix_len + req.extend_len]
        self.waiting_queue.prefix_cached(tokens, req.cache_salt, extension.depends_from)

    def _fail(self, req: Req, error: RamifyError) -> None:
        self.lifecycle.fail(req, error)
        self._clear_chunked()

    def _clear_chunked(self) -> None:
        if self.chunked_req is not None and self.chunked_req.is_done:
            self.chunked_req = None

    def _expire_deadlines(self) -> None:
        if self.lifecycle.open_requests.has_deadlines:
            for req in self.lifecycle.open_requests.expired(time.monotonic()):
                state = "waiting" if req.row < 0 else "running"
                self._fail(req, DeadlineError(f"the deadline of request {req.rid} passed while it was {state}"))

    def _fail_batch(self, batch: ScheduleBatch, cause: Exception) -> None:
        seq_lens = batch.seq_lens.tolist()
        for req, allocated in zip(batch.reqs, seq_lens, strict=True):
            error = BackendError(f"the model failed: {cause!r}")
            error.__cause__ = cause
            self.lifecycle.drop(req, allocated, error)
        for extension in self._extensions:
            self.kv.discard(extension.req, extension.depends_from)
        self._clear_chunked()

    def _on_idle(self) -> None:
        self.new_token_ratio.reset()
        if self.config.debug_checks:
            self.check()

    def _end_everything(self, failure: BaseException | None) -> None:
        """Answer every request and call that is still open; memory is not touched, it may be what failed."""
        open_reqs = list(self.lifecycle.open_requests)
        for message in self.inbox.close():
            match message:
                case Submit(reqs):
                    open_reqs.extend(reqs)
                case Call():
                    message.run()
                case Abort() | Flush() | Close():
                    pass
        for req in open_reqs:
            if failure is None:
                req.error = ClosedError("the engine was closed before the request ended")
            else:
                req.error = BackendError(f"the engine failed: {failure!r}")
                req.error.__cause__ = failure
        self.emit([*self.lifecycle.take_outputs(), *(final_output(req) for req in open_reqs)])
