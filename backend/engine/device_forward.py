"""`DeviceForward`: forwards on a device; decode steps are captured once for each bucket of batch sizes and replayed.

The eager path and the captured one run the same code on the same inputs. Made by ModelRunner for CUDA.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .batch import ScheduleBatch
from .device_inputs import DeviceInputs
from .forward_batch import Logits, token_positions, wanted_positions
from .kv_pool import TokenToKVPool
from .models.api import CausalLM

Capture = Callable[[Callable[[], Tensor]], Callable[[], Tensor]]
"""From a computation on fixed buffers to one that does the same again and returns the same tensor, filled anew."""

MAX_CAPTURED = 512  # rows; a larger batch keeps the device busy without


class DeviceForward:
    """Runs forwards of `model` over `pool`. `capture`: how decode steps are captured; None: they are not.

    The logits of a captured step are overwritten by the next one of its size.
    """

    def __init__(
        self, model: CausalLM, pool: TokenToKVPool, req_to_token: NDArray[np.int32], *, capture: Capture | None
    ) -> None:
        self._model = model
        self._pool = pool
        self._inputs = DeviceInputs(req_to_token, model.device)
        self._capture = capture
        self._captured: dict[tuple[int, bool], tuple[Tensor, Callable[[], Tensor]]] = {}

    def __call__(self, batch: ScheduleBatch) -> Logits:
        """Compute the batch, write its KV, and return the wanted logits."""
        if self._model.device.index is not None:
            torch.cuda.set_device(self._model.device)  # of this thread: Triton launches where that points
        wanted, offsets = wanted_positions(batch, token_positions(batch)[0])
        if not batch.is_decode or wanted is not None:
            return Logits(self._model.forward(self._inputs.ragged(batch, wanted, offsets), self._pool), offsets)
        num = len(batch.reqs)
        is_captured = self._capture is not None and num <= MAX_CAPTURED
        columns, shares = self._inputs.decode(batch, bucket(num) if is_captured else num)
        if is_captured:
            return Logits(self._replay(columns, shares=shares)[:num], offsets)
        view = self._inputs.decode_view(columns, shares=shares, max_seq_len=int(batch.seq_lens.max()))
        return Logits(self._model.forward(view, self._pool), offsets)

    def _replay(self, columns: Tensor, *, shares: bool) -> Tensor:
        key = (columns.shape[1], shares)
        if key not in self._captured:
            assert self._capture is not None
            fixed = columns.clone()

            def run() -> Tensor:
                # the view is made inside: what attention works out once a forward must be part of what is captured
                return self._model.forward(self._inputs.decode_view(fixed, shares=shares), self._pool)

            self._captured[key] = fixed, self._capture(run)
        fixed, replay = self._captured[key]
        fixed.copy_(columns)
        return replay()


def bucket(num_rows: int) -> int:
    """Return the batch size that `num_rows` are filled up to: powers of two up to 16, then steps of 16, then of 32."""
    if num_rows <= 16:
        return 1 << (num_rows - 1).bit_length()
    step = 16 if num_rows <= 64 else 32
    return -(-num_rows // step) * step


class CudaCapture:
    """A `Capture` with CUDA graphs, all in one memory pool: only one of them runs at a time."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, run: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """Run twice aside, which compiles and loads every kernel, then capture. Each run writes the same KV."""
        side, current = torch.cuda.Stream(), torch.cuda.current_stream()  # type: ignore[no-untyped-call]
        side.wait_stream(current)
        with torch.cuda.stream(side):
            run()
            run()
        current.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # thread_local: what other threads of the process do with the device meanwhile is none of the capture's business
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            result = run()

        def replay() -> Tensor:
            graph.replay()
            return result

        return replay
