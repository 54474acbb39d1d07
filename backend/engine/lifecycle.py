"""`Lifecycle`: how a request leaves: finished, failed or retracted, and the outputs that tell the front. No torch.

The one place where memory, row, queue and output of a request are given up together. Called by the scheduler and by
`results.py`.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from ...lang.errors import AbortError, RamifyError
from ..api import Finish, TokenLogprob, Usage
from .batch import Worker
from .kv_manager import KVManager
from .messages import StepOutput
from .programs import Programs
from .radix_cache import TreeNode
from .req import Req
from .stats import Counters
from .waiting_queue import WaitingQueue


class OpenRequests:
    """Every request that has not ended, by id and by deadline."""

    def __init__(self) -> None:
        self._by_rid: dict[str, list[Req]] = {}
        self._deadlines: list[tuple[float, int, Req]] = []
        self._num_deadlines = 0

    def __len__(self) -> int:
        return len(self._by_rid)

    def __iter__(self) -> Iterator[Req]:
        for reqs in self._by_rid.values():
            yield from reqs

    def __contains__(self, rid: str) -> bool:
        return rid in self._by_rid

    def add(self, req: Req) -> None:
        """Register a request that was received."""
        self._by_rid.setdefault(req.rid, []).append(req)
        if req.deadline is not None:
            self._num_deadlines += 1
            heapq.heappush(self._deadlines, (req.deadline, self._num_deadlines, req))

    def remove(self, req: Req) -> None:
        """Forget a request that has ended."""
        reqs = self._by_rid[req.rid]
        reqs.remove(req)
        if not reqs:
            del self._by_rid[req.rid]

    def with_rid(self, rid: str) -> list[Req]:
        """The open requests with exactly this id: the samples of one prompt."""
        return list(self._by_rid.get(rid, ()))

    def expired(self, now: float) -> Iterator[Req]:
        """Open requests whose deadline has passed."""
        while self._deadlines and self._deadlines[0][0] <= now:
            req = heapq.heappop(self._deadlines)[2]
            if not req.is_done:
                yield req

    @property
    def has_deadlines(self) -> bool:
        """False when `expired` has nothing to look at."""
        return bool(self._deadlines)


class Lifecycle:
    """Ends requests and collects the outputs of a step."""

    def __init__(self, kv: KVManager, worker: Worker, waiting_queue: WaitingQueue) -> None:
        self.kv = kv
        self.worker = worker
        self.waiting_queue = waiting_queue
        self.open_requests = OpenRequests()
        self.programs = Programs(kv.tree_cache)
        self.counters = Counters()
        self.outputs: list[StepOutput] = []
        self.num_releases = 0  # tells the scheduler that memory came free

    def progress(self, req: Req) -> None:
        """Hand out what a running request produced, if there is anything to show."""
        text = ""
        if req.output_text is not None:
            text = req.output_text.take()
            if not text:
                return
        start, req.num_sent = req.num_sent, len(req.output_ids)
        ids = tuple(req.output_ids[start:])
        logprobs = tuple(req.output_logprobs[start:]) if req.output_logprobs else ()
        self.outputs.append(StepOutput(req, text, ids, logprobs, () if start else tuple(req.input_logprobs)))

    def finish(self, req: Req, finish: Finish) -> None:
        """The request ends as it should; its KV stays in the cache. One whose output was forced may have none."""
        req.finished = finish
        if req.row > 0:
            end = self.release(req)
            if req.keep_prefix:
                self.programs.keep(req, end)
        self._end(req)

    def fail(self, req: Req, error: RamifyError) -> None:
        """The request ends with `error`, wherever it is: waiting or running."""
        req.error = error
        if not self.waiting_queue.remove(req):
            self.release(req)
        self._end(req)

    def drop(self, req: Req, allocated: int, error: RamifyError) -> None:
        """The request ends because its forward failed: nothing of its KV is kept."""
        req.error = error
        row = req.row
        self.kv.drop(req, allocated)
        self.worker.close_row(row)
        self.num_releases += 1
        self._end(req)

    def refuse(self, req: Req, error: RamifyError) -> None:
        """The request ends before it was queued."""
        req.error = error
        self._end(req)

    def retract(self, req: Req) -> None:
        """The request gives up its memory and waits again; its KV stays in the cache as long as there is room."""
        req.num_retractions += 1
        self.counters.retractions += 1
        self.release(req)
        self.waiting_queue.add(req, self.kv.cached_len(req))

    def release(self, req: Req) -> TreeNode:
        """Give up memory and row; returns the tree's node where its KV ends."""
        row, known_len = req.row, req.cache_protected_len
        tokens = req.token_array()[: req.prefix_len]
        end = self.kv.release(req)
        self.worker.close_row(row)
        self.num_releases += 1
        self.waiting_queue.prefix_cached(tokens, req.cache_salt, known_len)
        return end

    def take_outputs(self) -> list[StepOutput]:
        """Return the outputs since the last call."""
        outputs, self.outputs = self.outputs, []
        return outputs

    def _end(self, req: Req) -> None:
        self.open_requests.remove(req)
        self.counters.completion_tokens += len(req.output_ids)
        self.programs.end(req, self.waiting_queue.clock)
        match req.error:
            case None:
                pass
            case AbortError():
                self.counters.aborted += 1
            case _:
                self.counters.failed += 1
        self.outputs.append(final_output(req))


def final_output(req: Req) -> StepOutput:
    """The last output of a request that has `finished` or `error`: everything not sent yet, and the usage."""
    start, req.num_sent = req.num_sent, len(req.output_ids)
    logprobs: tuple[TokenLogprob, ...] = tuple(req.output_logprobs[start:])
    return StepOutput(
        req,
        "" if req.output_text is None else req.output_text.take(),
        tuple(req.output_ids[start:]),
        logprobs,
        () if start else tuple(req.input_logprobs),
        req.finished,
        req.error,
        Usage(len(req.origin_input_ids), req.cached_tokens, len(req.output_ids)),
    )
