"""`ForwardBatch`, the device view of a `ScheduleBatch`, and `Logits`, what a model answers.

Knows which positions need logits; nothing of sampling. Made by ModelRunner on the CPU, by DeviceInputs for
other devices.
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
    def of(cls, batch: ScheduleBatch, req_to_token: NDArray[np.int32]) -> ForwardBatch:
        """Lay `batch` out on the CPU. The tensors share its memory; nothing writes to them."""
        query_starts, positions = token_positions(batch)
        seq_lens = batch.seq_lens
        wanted, offsets = wanted_positions(batch, query_starts)
        layout = PagedLayout(
            req_to_token=torch.from_numpy(req_to_token),
            rows=torch.from_numpy(batch.rows),
            query_starts=torch.from_numpy(query_starts),
            seq_lens=torch.from_numpy(seq_lens),
            max_query_len=int(batch.extend_lens.max()),
            max_seq_len=int(seq_lens.max()),
        )
        return cls(
            input_ids=torch.from_numpy(batch.input_ids),
            positions=torch.from_numpy(positions),
            slots=torch.from_numpy(batch.out_cache_loc),
            layout=layout,
            wanted=None if wanted is None else torch.from_numpy(wanted),
            offsets=offsets,
        )


def token_positions(batch: ScheduleBatch) -> tuple[Int64, Int64]:
    """Return (batch + 1,) where each row's tokens start, and (tokens,) the position of each in its sequence."""
    query_starts = np.zeros(len(batch.reqs) + 1, dtype=np.int64)
    np.cumsum(batch.extend_lens, out=query_starts[1:])
    if batch.is_decode:
        return query_starts, batch.prefix_lens
    positions = np.arange(len(batch.input_ids), dtype=np.int64)
    positions += np.repeat(batch.prefix_lens - query_starts[:-1], batch.extend_lens)
    return query_starts, positions


def wanted_positions(batch: ScheduleBatch, query_starts: Int64) -> tuple[Int64 | None, Int64]:
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
