"""`ForwardBatch`, the device view of a `ScheduleBatch`, and `Logits`, what a model answers.

Knows which positions need logits; nothing of sampling. Made by ModelRunner for every forward.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...kernels.paged_attention import PagedLayout
from .batch import Int64, ScheduleBatch


@dataclass(frozen=True, slots=True)
class Logits:
    """Logits of the wanted positions: batch row i owns `values[offsets[i]:offsets[i + 1]]`, in position order.

    One row (the last position) for a row that samples, none for a middle chunk, and for a row with `logprob_start_len`
    all positions of this forward from `max(prefix_len, logprob_start_len - 1)`. Position p's logits predict p + 1.
    """

    values: Tensor  # (wanted, vocab) float32
    offsets: Int64  # (batch + 1,)


@dataclass(frozen=True, slots=True)
class ForwardBatch:
    """One forward's inputs on the model's device. `wanted` are the token indices whose logits are computed."""

    input_ids: Tensor  # (tokens,) int64
    positions: Tensor  # (tokens,) int64
    slots: Tensor  # (tokens,) int64: where each token's KV is written
    layout: PagedLayout
    wanted: Tensor | None  # (wanted,) int64; None: every token, in order
    offsets: Int64  # (batch + 1,) see Logits

    @classmethod
    def of(cls, batch: ScheduleBatch, req_to_token: NDArray[np.int32], device: torch.device) -> ForwardBatch:
        """Lay `batch` out for `device`. On the CPU the tensors share its memory; nothing writes to them."""
        query_starts = np.zeros(len(batch.reqs) + 1, dtype=np.int64)
        np.cumsum(batch.extend_lens, out=query_starts[1:])
        positions = batch.prefix_lens
        if not batch.is_decode:
            positions = np.arange(len(batch.input_ids), dtype=np.int64)
            positions += np.repeat(batch.prefix_lens - query_starts[:-1], batch.extend_lens)
        seq_lens = batch.seq_lens
        wanted, offsets = _wanted_positions(batch, query_starts)
        table = torch.from_numpy(req_to_token)
        rows = torch.from_numpy(batch.rows)
        if device.type != "cpu":
            # only the rows of this batch travel, so a large table costs nothing
            table = torch.from_numpy(req_to_token[batch.rows, : int(seq_lens.max())]).to(device, non_blocking=True)
            rows = torch.arange(len(batch.reqs), device=device)
        layout = PagedLayout(
            req_to_token=table,
            rows=rows,
            query_starts=_tensor(query_starts, device),
            seq_lens=_tensor(seq_lens, device),
            max_query_len=int(batch.extend_lens.max()),
            max_seq_len=int(seq_lens.max()),
        )
        return cls(
            input_ids=_tensor(batch.input_ids, device),
            positions=_tensor(positions, device),
            slots=_tensor(batch.out_cache_loc, device),
            layout=layout,
            wanted=None if wanted is None else _tensor(wanted, device),
            offsets=offsets,
        )


def _tensor(array: Int64, device: torch.device) -> Tensor:
    return torch.from_numpy(array).to(device, non_blocking=True)


def _wanted_positions(batch: ScheduleBatch, query_starts: Int64) -> tuple[Int64 | None, Int64]:
    """Token indices whose logits are wanted (None: all) and each row's span among them."""
    ends = query_starts[1:]
    begins = ends - batch.samples
    for index, req in enumerate(batch.reqs):
        if req.logprob_start_len is not None:
            first = max(0, req.logprob_start_len - 1 - int(batch.prefix_lens[index]))
            begins[index] = min(begins[index], query_starts[index] + first)
    counts = ends - begins
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    if offsets[-1] == query_starts[-1]:
        return None, offsets
    wanted = np.arange(offsets[-1], dtype=np.int64)
    wanted += np.repeat(begins - offsets[:-1], counts)
    return wanted, offsets
