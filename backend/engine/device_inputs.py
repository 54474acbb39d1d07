"""`DeviceInputs`: a batch's numbers on their way to a device: one pinned copy a forward, and nothing waits for it.

Keeps the scheduler's table of slots on the device too, and sends what changed of it. Called by DeviceForward.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...kernels.paged_attention import PagedLayout
from .batch import Int64, ScheduleBatch
from .forward_batch import ForwardBatch, token_positions

_COMPARED = 32  # slots of a row by which rows are put in order
DECODE_COLUMNS = 6  # see `decode`


class DeviceInputs:
    """Lays batches out for `device`; `req_to_token` (rows, max_context) int32 is the scheduler's, and only read."""

    def __init__(self, req_to_token: NDArray[np.int32], device: torch.device) -> None:
        self._host = req_to_token
        self._device = device
        self._table = torch.zeros(req_to_token.shape, dtype=torch.int32, device=device)
        self._known = np.zeros(len(req_to_token), dtype=np.int64)  # leading slots of each row that the device has
        self._ordered: tuple[Int64, Int64] | None = None  # rows of the last batch that shared slots, and their order

    def decode(self, batch: ScheduleBatch, size: int) -> tuple[Tensor, bool]:
        """Return (DECODE_COLUMNS, size) int64 for a batch of at most `size` rows of one token, and whether rows share.

            0 input ids | 1 positions | 2 slots | 3 rows | 4 seq_lens | 5 order of rows by their slots

        The rows that fill it up compute token 0 at the dummy slot of the table's row 0.
        """
        num = len(batch.reqs)
        order = self._order(batch, num)
        columns = np.zeros((DECODE_COLUMNS, size), dtype=np.int64)
        columns[4] = 1
        columns[5] = np.arange(size)
        columns[:5, :num] = batch.input_ids, batch.prefix_lens, batch.out_cache_loc, batch.rows, batch.seq_lens
        if order is not None:
            columns[5, :num] = order
        (flat,) = self._send([columns.reshape(-1)], batch)
        return flat.view(DECODE_COLUMNS, size), order is not None

    def decode_view(self, columns: Tensor, *, shares: bool, max_seq_len: int | None = None) -> ForwardBatch:
        """Return the forward of what `decode` gave. Only views and new tensors: a captured graph computes it anew."""
        size = columns.shape[1]
        ids, positions, slots, rows, seq_lens, order = columns.unbind(0)
        layout = PagedLayout(
            req_to_token=self._table,
            rows=rows,
            query_starts=torch.arange(size + 1, device=self._device),
            seq_lens=seq_lens,
            max_query_len=1,
            max_seq_len=self._host.shape[1] if max_seq_len is None else max_seq_len,
            num_decode=size,
            order=order if shares else None,
        )
        return ForwardBatch(ids, positions, slots, layout, wanted=None, offsets=np.arange(size + 1))

    def ragged(self, batch: ScheduleBatch, wanted: Int64 | None, offsets: Int64) -> ForwardBatch:
        """Return the forward of any batch; `wanted` and `offsets` as `wanted_positions` gives them."""
        query_starts, positions = token_positions(batch)
        several = np.flatnonzero(batch.extend_lens != 1)
        num_decode = len(batch.reqs) - (int(several[-1]) + 1 if len(several) else 0)
        order = self._order(batch, num_decode)
        empty = np.empty(0, dtype=np.int64)
        parts = [batch.input_ids, positions, batch.out_cache_loc, batch.rows, query_starts, batch.seq_lens]
        parts += [empty if order is None else order, empty if wanted is None else wanted]
        ids, places, slots, rows, starts, seq_lens, ordered, chosen = self._send(parts, batch)
        layout = PagedLayout(
            req_to_token=self._table,
            rows=rows,
            query_starts=starts,
            seq_lens=seq_lens,
            max_query_len=int(batch.extend_lens.max()),
            max_seq_len=int(batch.seq_lens.max()),
            num_decode=num_decode,
            order=None if order is None else ordered,
        )
        return ForwardBatch(ids, places, slots, layout, None if wanted is None else chosen, offsets)

    def _send(self, parts: Sequence[Int64], batch: ScheduleBatch) -> list[Tensor]:
        """Copy `parts` and the batch's new slots in one go, write the slots into the table, return the parts there."""
        cells, values = self._changes(batch)
        arrays = [*parts, cells, values]
        bounds = list(itertools.accumulate((len(array) for array in arrays), initial=0))
        # from torch's cache of pinned memory, which takes the buffer back when the copy is done
        staged = torch.empty(bounds[-1], dtype=torch.int64, pin_memory=self._device.type == "cuda")
        np.concatenate(arrays, out=staged.numpy())
        there = staged.to(self._device, non_blocking=True)
        *sent, places, slots = [there[begin:end] for begin, end in itertools.pairwise(bounds)]
        self._table.view(-1).index_copy_(0, places, slots.to(torch.int32))
        return sent

    def _changes(self, batch: ScheduleBatch) -> tuple[Int64, Int64]:
        """Cells of the flattened table that the device lacks for this batch, and their slots.

        A row that decodes only grows. One that prefills may begin with slots of the tree, also others than before.
        """
        seq_lens = batch.seq_lens
        begins = np.where(self._known[batch.rows] == batch.prefix_lens, batch.prefix_lens, 0)
        begins[: batch.num_prefill] = 0
        self._known[batch.rows] = seq_lens
        counts = seq_lens - begins
        ends = np.cumsum(counts)
        cells = np.arange(ends[-1], dtype=np.int64)
        cells += np.repeat(batch.rows * self._host.shape[1] + begins - (ends - counts), counts)
        return cells, self._host.reshape(-1)[cells].astype(np.int64)

    def _order(self, batch: ScheduleBatch, num_decode: int) -> Int64 | None:
        """An order of the last `num_decode` rows that puts those next to each other which share slots; None: none do.

        Made anew when other rows decode. Any order is right, so one that has grown stale costs time only.
        """
        rows = batch.rows[len(batch.rows) - num_decode :]
        if num_decode < 2 or len(np.unique(self._host[rows, 0])) == num_decode:
            return None
        if self._ordered is None or not np.array_equal(self._ordered[0], rows):
            longest = int(batch.seq_lens[len(batch.rows) - num_decode :].max())
            compared = self._host[rows, : longest : max(1, longest // _COMPARED)]
            self._ordered = rows.copy(), np.lexsort(compared.T[::-1]).astype(np.int64)
        return self._ordered[1]
