"""`Intake`: receives submitted requests: refuses what can never run, queues the rest. No torch.

Called by the scheduler.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from ...lang.errors import CapacityError, ParameterError, PromptError, RamifyError
from .lifecycle import Lifecycle
from .output import push_forced
from .req import Req


class Intake:
    """The way in; `lifecycle` is the way out. `jump_forward`: see `ResultProcessor`."""

    def __init__(self, lifecycle: Lifecycle, *, jump_forward: bool = True) -> None:
        self.lifecycle = lifecycle
        self.jump_forward = jump_forward

    def receive(self, reqs: Sequence[Req]) -> None:
        """Queue the requests of one submission; those that cannot run end with their error."""
        lifecycle = self.lifecycle
        taken = {req.rid for req in reqs if req.rid in lifecycle.open_requests}
        for req in reqs:
            req.arrival = time.monotonic()
            lifecycle.counters.requests += 1
            lifecycle.open_requests.add(req)
            error = ParameterError(f"request id {req.rid!r} is in use") if req.rid in taken else self._refusal(req)
            if error is not None:
                lifecycle.refuse(req, error)
                continue
            lifecycle.counters.prompt_tokens += len(req.origin_input_ids)
            if req.program is not None:
                lifecycle.programs.arrive(req, lifecycle.waiting_queue.clock)
            if self.jump_forward and req.matcher is not None and req.max_new_tokens:
                self._begin(req)
            if not req.is_done:
                lifecycle.waiting_queue.add(req, lifecycle.kv.cached_len(req))

    def _begin(self, req: Req) -> None:
        """Append what the constraint forces before anything is sampled: it is computed along with the prompt."""
        if req.logprob_start_len is not None:  # its prompt must go through the model alone
            return
        lifecycle = self.lifecycle
        try:
            finish = push_forced(req, room=lifecycle.kv.allocator.total - req.num_tokens)
        except RamifyError as error:
            lifecycle.refuse(req, error)
            return
        lifecycle.counters.forced_tokens += len(req.output_ids)
        if finish is not None:
            lifecycle.finish(req, finish)

    def _refusal(self, req: Req) -> RamifyError | None:
        """Why this request can never run, or None; fixes its limit of new tokens."""
        prompt_len, max_context = len(req.origin_input_ids), self.lifecycle.kv.pool.max_context
        room = max_context - prompt_len - (req.healing is not None)  # the token taken from it may come back
        if prompt_len == 0:
            return PromptError("the prompt is empty; it needs at least one token")
        if room < min(req.sampling.max_tokens, 1):
            remedy = "shorten it, or use a model with a longer context"
            return PromptError(f"the prompt has {prompt_len} tokens, the context {max_context}; {remedy}")
        req.max_new_tokens = min(req.sampling.max_tokens, room)
        allocator = self.lifecycle.kv.allocator
        if allocator.tokens_needed(0, req.num_to_compute) > allocator.total:
            remedy = "shorten it, or give the engine a larger max_total_tokens"
            return CapacityError(f"the prompt has {prompt_len} tokens, the memory {allocator.total}; {remedy}")
        return None
