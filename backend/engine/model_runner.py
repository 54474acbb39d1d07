"""`ModelRunner`: a model, its KV pool and one forward.

Knows memory sizes and tensors; nothing of sampling or scheduling policy. Made by the engine, called by ModelWorker.
"""

from __future__ import annotations

import os

import numpy as np
import torch
from numpy.typing import NDArray

from ...lang.errors import CapacityError
from .batch import ScheduleBatch
from .device_forward import CudaCapture, DeviceForward
from .forward_batch import ForwardBatch, Logits
from .kv_pool import TokenToKVPool
from .models.api import CausalLM

GRAPHS = "RAMIFY_CUDA_GRAPHS"  # "0" turns the capture of decode steps off

_CPU_FRACTION = 0.25  # of the memory that is free: an engine on a CPU shares the machine
_CPU_LIMIT = 8 << 30
_CUDA_FRACTION = 0.85
_MAX_CONTEXTS = 64  # more than this many full contexts are never useful


class ModelRunner:
    """Runs forwards of `model` over a pool of `max_total_tokens` slots plus a dummy page.

    `req_to_token` is the scheduler's table (rows, max_context) int32 of slots; it is read, never written. Slots are
    numbered 0 .. max_total_tokens + page_size - 1; the first page is the dummy.

    Example: `runner = ModelRunner(load_model().model, table, max_total_tokens=4096)`, then `runner.forward(batch)`.
    """

    def __init__(
        self,
        model: CausalLM,
        req_to_token: NDArray[np.int32],
        *,
        max_total_tokens: int,
        page_size: int = 1,
    ) -> None:
        self.model = model
        self.max_total_tokens = max_total_tokens
        self.req_to_token = req_to_token
        try:
            self.pool = TokenToKVPool(model.kv_shape, max_total_tokens + page_size, model.device)
        except (MemoryError, torch.OutOfMemoryError) as error:
            num_bytes = model.kv_shape.bytes_per_token * max_total_tokens
            raise CapacityError(
                f"no memory for the keys and values of {max_total_tokens} tokens ({num_bytes >> 20} MiB); "
                "give a smaller max_total_tokens"
            ) from error
        self._on_device: DeviceForward | None = None
        if model.device.type == "cuda":
            captured = model.is_capturable and os.environ.get(GRAPHS) != "0"
            capture = CudaCapture() if captured else None
            self._on_device = DeviceForward(model, self.pool, req_to_token, capture=capture)

    @property
    def context_len(self) -> int:
        """Most tokens of one sequence: the model's context, or the whole pool if that is smaller."""
        return min(self.model.context_len, self.max_total_tokens)

    @property
    def vocab_size(self) -> int:
        """Number of logits per position."""
        return self.model.vocab_size

    def forward(self, batch: ScheduleBatch) -> Logits:
        """Compute the batch, write its KV, and return the wanted logits."""
        with torch.inference_mode():
            if self._on_device is not None:
                return self._on_device(batch)
            view = ForwardBatch.of(batch, self.req_to_token)
            return Logits(self.model.forward(view, self.pool), view.offsets)


def default_max_total_tokens(model: CausalLM, *, page_size: int = 1) -> int:
    """Return how many tokens' KV fit the memory that is free now, a multiple of `page_size`.

    A quarter of the free memory (at most 8 GiB) on the CPU, 85 % of it on CUDA; at most 64 full contexts.
    """
    if model.device.type == "cuda":
        budget = int(torch.cuda.mem_get_info(model.device)[0] * _CUDA_FRACTION)
    else:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        budget = min(int(free * _CPU_FRACTION), _CPU_LIMIT)
    fitting = budget // model.kv_shape.bytes_per_token
    tokens = max(min(fitting, _MAX_CONTEXTS * model.context_len), min(model.context_len, 4096))
    return max(1, tokens // page_size) * page_size
