"""Decode attention for CUDA: one query a row over the paged pool, the keys of a row split among programs (split-K).

Splits: Flash-Decoding, Dao et al. 2023. `tree_attention_triton` runs the same kernel on rows that share their keys.
Knows slots and rows, never requests. Called by `paged_attention`, once a layer.
"""

from __future__ import annotations

import functools

import torch
import triton
import triton.language as tl
from torch import Tensor

from .attention_block_triton import block_sizes, check, fold, nothing_seen, operand, scaling
from .paged_attention import AttentionSpec, PagedLayout

MIN_SPAN = 256  # keys of a split: fewer are not worth a partial result
MAX_SPLITS = 64
_PROGRAMS_PER_SM = 4
_MERGED_AT_ONCE = 16  # splits


@triton.jit  # type: ignore[untyped-decorator]
def _attend_spans(  # type: ignore[no-untyped-def]
    query, key_cache, value_cache, table, rows, seq_lens, order, bounds, out, out_lse,
    batch, scale, softcap, window, cache_stride, cache_head_stride, table_stride, first_slot, num_slots,
    NUM_SPLITS: tl.constexpr, MIN_SPAN: tl.constexpr, ROWS: tl.constexpr, GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    OPERAND: tl.constexpr, CAPPED: tl.constexpr, WINDOWED: tl.constexpr, PARTIAL: tl.constexpr,
):  # fmt: skip
    """Program (tile, KV head, split): its split of positions [bounds[0, tile], bounds[1, tile]) for ROWS rows at once.

    The rows of a tile, `order[tile * ROWS + i]`, have the same slots there. Matrix row m is head m % GROUP of row
    m // GROUP, so a tile reads each key once for all its rows and heads.

        out      (batch, heads, num_slots, HEAD_DIM)   this launch writes partial results [first_slot, + NUM_SPLITS)
        out_lse  (batch, heads, num_slots)             log2 of their weights; minus infinity: nothing seen

    Not PARTIAL: the one split is the result, in the query's dtype.
    """
    tile, kv_head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    lane = tl.arange(0, BLOCK_M)
    place = tile * ROWS + lane // GROUP
    real = (lane < ROWS * GROUP) & (place < batch)
    row = tl.load(order + place, mask=real, other=0).to(tl.int64)  # (BLOCK_M,) places in the batch
    last = tl.load(seq_lens + row, mask=real, other=1).to(tl.int32) - 1  # the query's own position
    begin = tl.load(bounds + tile * ROWS).to(tl.int32)
    end = tl.load(bounds + batch + tile * ROWS).to(tl.int32)
    lowest = last - window + 1
    if WINDOWED:
        begin = tl.maximum(begin, tl.min(tl.where(real, lowest, 2147483647)))
    start, stop = _split(begin, end, split, NUM_SPLITS, MIN_SPAN, BLOCK_N)
    heads = tl.num_programs(1) * GROUP
    head = kv_head * GROUP + lane % GROUP
    dims = tl.arange(0, BLOCK_D)
    shown = real[:, None] & (dims < HEAD_DIM)[None, :]
    vectors = tl.load(query + (row * heads + head)[:, None] * HEAD_DIM + dims[None, :], mask=shown, other=0.0).to(
        OPERAND
    )
    slots = table + tl.load(rows + tl.load(order + tile * ROWS)).to(tl.int64) * table_stride
    at_head = kv_head.to(tl.int64) * cache_head_stride
    acc, total, top = nothing_seen(BLOCK_M, BLOCK_D)
    acc, total, top = fold(
        acc, total, top, vectors, key_cache + at_head, value_cache + at_head, slots, start, stop, lowest, last,
        cache_stride, scale, softcap, BLOCK_N, HEAD_DIM, BLOCK_D, False, WINDOWED, CAPPED,
    )  # fmt: skip
    acc = acc / tl.where(total > 0.0, total, 1.0)[:, None]
    cell = (row * heads + head) * num_slots + first_slot + split
    if PARTIAL:
        tl.store(out_lse + cell, top + tl.log2(total), mask=real)
        shown = shown & (total > 0.0)[:, None]
    tl.store(out + cell[:, None] * HEAD_DIM + dims[None, :], acc.to(out.dtype.element_ty), mask=shown)


@triton.jit  # type: ignore[untyped-decorator]
def _split(  # type: ignore[no-untyped-def]
    begin, end, split, NUM_SPLITS: tl.constexpr, MIN_SPAN: tl.constexpr, BLOCK_N: tl.constexpr
):
    """The positions of one split: whole blocks, at least MIN_SPAN keys, so a short row leaves its last splits empty."""
    span = tl.maximum(tl.cdiv(end - begin, NUM_SPLITS), MIN_SPAN)
    span = tl.cdiv(span, BLOCK_N) * BLOCK_N
    start = begin + split * span
    return start, tl.minimum(start + span, end)


@triton.jit  # type: ignore[untyped-decorator]
def _merge(  # type: ignore[no-untyped-def]
    partial, lse, out, num_slots,
    HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_S: tl.constexpr, AT_ONCE: tl.constexpr,
):  # fmt: skip
    """Program i: the partial results of one (row, head), each weighted by 2 ** lse. Empty ones are not read."""
    cell = tl.program_id(0).to(tl.int64)
    every = tl.arange(0, BLOCK_S)
    top = tl.max(tl.load(lse + cell * num_slots + every, mask=every < num_slots, other=float("-inf")))
    top = tl.where(top == float("-inf"), 0.0, top)
    dims = tl.arange(0, BLOCK_D)
    acc = tl.zeros((BLOCK_D,), tl.float32)
    total = 0.0
    for first in range(0, num_slots, AT_ONCE):
        slot = first + tl.arange(0, AT_ONCE)
        weight = tl.exp2(tl.load(lse + cell * num_slots + slot, mask=slot < num_slots, other=float("-inf")) - top)
        shown = (weight > 0.0)[:, None] & (dims < HEAD_DIM)[None, :]
        places = partial + (cell * num_slots + slot)[:, None] * HEAD_DIM + dims[None, :]
        acc += tl.sum(tl.load(places, mask=shown, other=0.0) * weight[:, None], axis=0)
        total += tl.sum(weight)
    acc = acc / tl.where(total > 0.0, total, 1.0)
    tl.store(out + cell * HEAD_DIM + dims, acc.to(out.dtype.element_ty), mask=dims < HEAD_DIM)


class SpanAttention:
    """One layer's decode attention, taken part by part: `add` launches a part, `result` merges what they found."""

    def __init__(
        self, query: Tensor, key_cache: Tensor, value_cache: Tensor, layout: PagedLayout, spec: AttentionSpec
    ) -> None:
        check(query, key_cache, value_cache)
        self._query, self._caches, self._layout, self._spec = query, (key_cache, value_cache), layout, spec

    def __call__(self, parts: list[tuple[Tensor, Tensor, int, int]]) -> Tensor:
        """Return (batch, heads, head_dim) of the parts (order, bounds, rows of a tile, splits).

        `order` (batch,) int64; `bounds` (2, batch) int32, in that order, alike for the rows of a tile: the positions
        of the part. The parts of a row together are all of its positions, each once.
        """
        batch, heads, head_dim = self._query.shape
        num_slots = sum(splits for *_, splits in parts)
        out = torch.empty_like(self._query)
        if num_slots == 1:
            self._launch(*parts[0], out, out, 0, 1)
            return out
        device = self._query.device
        partial = torch.empty((batch, heads, num_slots, head_dim), dtype=torch.float32, device=device)
        lse = torch.empty((batch, heads, num_slots), dtype=torch.float32, device=device)
        first = 0
        for order, bounds, rows, splits in parts:
            self._launch(order, bounds, rows, splits, partial, lse, first, num_slots)
            first += splits
        padded = max(16, triton.next_power_of_2(head_dim))
        at_once = min(_MERGED_AT_ONCE, triton.next_power_of_2(num_slots))
        _merge[(batch * heads,)](
            partial, lse, out, num_slots, HEAD_DIM=head_dim, BLOCK_D=padded,
            BLOCK_S=triton.next_power_of_2(num_slots), AT_ONCE=at_once, num_warps=4,
        )  # fmt: skip
        return out

    def _launch(
        self, order: Tensor, bounds: Tensor, rows: int, splits: int, out: Tensor, lse: Tensor, first: int, num: int
    ) -> None:
        batch, heads, head_dim = self._query.shape
        keys, values = self._caches
        layout, spec = self._layout, self._spec
        group = heads // keys.shape[1]
        block_n, padded = block_sizes(head_dim, self._query.dtype)
        block_m = max(16, triton.next_power_of_2(rows * group))
        _attend_spans[(triton.cdiv(batch, rows), keys.shape[1], splits)](
            self._query, keys, values, layout.req_to_token, layout.rows, layout.seq_lens, order, bounds, out, lse,
            batch, scaling(spec.scale, spec.softcap), spec.softcap, spec.window,
            keys.stride(0), keys.stride(1), layout.req_to_token.stride(0), first, num,
            NUM_SPLITS=splits, MIN_SPAN=MIN_SPAN, ROWS=rows, GROUP=group,
            HEAD_DIM=head_dim, BLOCK_D=padded, BLOCK_M=block_m, BLOCK_N=block_n,
            OPERAND=operand(self._query), CAPPED=spec.softcap != 0.0, WINDOWED=spec.window != 0, PARTIAL=num > 1,
            num_warps=4 if block_m <= 64 else 8, num_stages=2,
        )  # fmt: skip


def decode_attention(
    query: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    layout: PagedLayout,
    spec: AttentionSpec,
    *,
    num_splits: int | None = None,
) -> Tensor:
    """See `paged_attention.paged_attention`, for rows of one token: `query` (batch, heads, head_dim).

    `num_splits`: programs that share a row's keys; None: as many as fill the device.
    """
    splits = num_splits or splits_for(len(query) * key_cache.shape[1], layout.max_seq_len, query.device)
    order, bounds = _whole_rows(layout)
    return SpanAttention(query, key_cache, value_cache, layout, spec)([(order, bounds, 1, splits)])


def _whole_rows(layout: PagedLayout) -> tuple[Tensor, Tensor]:
    """Order and bounds of the plain case: every row by itself, all of it. Made once a forward."""
    if layout.whole_rows is None:
        order = torch.arange(len(layout.rows), device=layout.rows.device)
        lens = layout.seq_lens.to(torch.int32)
        layout.whole_rows = order, torch.stack((torch.zeros_like(lens), lens))
    return layout.whole_rows


def splits_for(num_programs: int, max_keys: int, device: torch.device) -> int:
    """Return into how many splits to cut rows that give `num_programs` programs uncut."""
    wanted = triton.cdiv(_PROGRAMS_PER_SM * _num_multiprocessors(device), num_programs)
    return int(max(1, min(wanted, triton.cdiv(max_keys, MIN_SPAN), MAX_SPLITS)))


@functools.cache
def _num_multiprocessors(device: torch.device) -> int:
    if device.type != "cuda":
        return 1  # the interpreter
    return int(torch.cuda.get_device_properties(device).multi_processor_count)
