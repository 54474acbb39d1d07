"""Extend attention for CUDA: ragged rows of new tokens over their prefix in the paged pool, causal among themselves.

A tile is some queries of one row times all heads of a KV head's group, so each key is loaded once for the group. Knows
slots and rows, never requests. Called by `paged_attention`, once a layer.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .attention_block_triton import block_sizes, check, fold, nothing_seen, operand, scaling
from .paged_attention import AttentionSpec, PagedLayout

_MOST_LANES = {torch.float32: 32, torch.bfloat16: 128, torch.float16: 128}  # matrix rows of a tile
_WIDE_HEAD = 128  # beyond it the accumulator of a full tile would not fit the registers


@triton.jit  # type: ignore[untyped-decorator]
def _attend_tiles(  # type: ignore[no-untyped-def]
    query, key_cache, value_cache, out, table, rows, query_starts, seq_lens, tiles,
    batch, scale, softcap, window, cache_stride, cache_head_stride, table_stride, num_tiles,
    QUERIES: tl.constexpr, GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    OPERAND: tl.constexpr, CAPPED: tl.constexpr, WINDOWED: tl.constexpr,
):  # fmt: skip
    """Program (tile, KV head): queries [tiles[1], + QUERIES) of row tiles[0]; a row beyond the batch is no tile.

        positions of a row   0 ............ prefix ........... first query of the tile ..... its last ..... seq_len
        keys read            [ without a causal mask              ][ with one               ]

    Matrix row m is head m % GROUP of query m // GROUP.
    """
    tile, kv_head = tl.program_id(0), tl.program_id(1)
    row = tl.load(tiles + tile)
    if row < batch:
        first = tl.load(tiles + num_tiles + tile).to(tl.int32)
        query_start = tl.load(query_starts + row)
        count = (tl.load(query_starts + row + 1) - query_start).to(tl.int32)
        prefix = tl.load(seq_lens + row).to(tl.int32) - count
        lane = tl.arange(0, BLOCK_M)
        index = first + lane // GROUP  # of the row's new tokens
        real = (lane < QUERIES * GROUP) & (index < count)
        highest = prefix + index
        lowest = highest - window + 1

        heads = tl.num_programs(1) * GROUP
        vector = (query_start + index) * heads + kv_head * GROUP + lane % GROUP  # int64, as query_starts are
        dims = tl.arange(0, BLOCK_D)
        places = vector[:, None] * HEAD_DIM + dims[None, :]
        shown = real[:, None] & (dims < HEAD_DIM)[None, :]
        vectors = tl.load(query + places, mask=shown, other=0.0).to(OPERAND)
        slots = table + tl.load(rows + row).to(tl.int64) * table_stride
        at_head = kv_head.to(tl.int64) * cache_head_stride
        keys, values = key_cache + at_head, value_cache + at_head
        begin = tl.maximum(prefix + first - window + 1, 0) if WINDOWED else 0
        stop = prefix + tl.minimum(first + QUERIES, count)
        # every query of the tile sees the keys up to its first one: whole blocks of them need no causal mask
        plain = begin + tl.maximum(prefix + first + 1 - begin, 0) // BLOCK_N * BLOCK_N
        acc, total, top = nothing_seen(BLOCK_M, BLOCK_D)
        acc, total, top = fold(
            acc, total, top, vectors, keys, values, slots, begin, plain, lowest, highest,
            cache_stride, scale, softcap, BLOCK_N, HEAD_DIM, BLOCK_D, False, WINDOWED, CAPPED,
        )  # fmt: skip
        acc, total, top = fold(
            acc, total, top, vectors, keys, values, slots, plain, stop, lowest, highest,
            cache_stride, scale, softcap, BLOCK_N, HEAD_DIM, BLOCK_D, True, WINDOWED, CAPPED,
        )  # fmt: skip
        tl.store(out + places, (acc / tl.where(total > 0.0, total, 1.0)[:, None]).to(out.dtype.element_ty), mask=shown)


def extend_attention(
    query: Tensor, key_cache: Tensor, value_cache: Tensor, layout: PagedLayout, spec: AttentionSpec
) -> Tensor:
    """See `paged_attention.paged_attention`; any batch is right, rows of one token are better decoded."""
    check(query, key_cache, value_cache)
    _, heads, head_dim = query.shape
    kv_heads = key_cache.shape[1]
    group = heads // kv_heads
    block_n, padded = block_sizes(head_dim, query.dtype)
    most = _MOST_LANES[query.dtype] // (2 if padded > _WIDE_HEAD else 1)
    lanes = max(16, triton.next_power_of_2(group), min(most, triton.next_power_of_2(layout.max_query_len * group)))
    queries = lanes // group
    tiles = _tiles(layout, queries, len(query))
    out = torch.empty_like(query)
    _attend_tiles[(tiles.shape[1], kv_heads)](
        query, key_cache, value_cache, out, layout.req_to_token, layout.rows, layout.query_starts, layout.seq_lens,
        tiles, len(layout.rows), scaling(spec.scale, spec.softcap), spec.softcap, spec.window,
        key_cache.stride(0), key_cache.stride(1), layout.req_to_token.stride(0), tiles.shape[1],
        QUERIES=queries, GROUP=group, HEAD_DIM=head_dim, BLOCK_D=padded, BLOCK_M=lanes, BLOCK_N=block_n,
        OPERAND=operand(query), CAPPED=spec.softcap != 0.0, WINDOWED=spec.window != 0,
        num_warps=8 if lanes >= 128 else 4, num_stages=2,
    )  # fmt: skip
    return out


def _tiles(layout: PagedLayout, queries: int, num_tokens: int) -> Tensor:
    """(2, tiles) int64: row and first query of each tile of `queries`. Made once a forward, on the device.

    How many there are is known there only, so there are as many as there can be; those left over name no row.
    """
    if queries not in layout.tiles:
        per_row = (layout.query_starts.diff() + queries - 1) // queries
        ends = per_row.cumsum(0)
        batch = len(layout.rows)
        numbers = torch.arange(num_tokens // queries + batch, device=ends.device)
        row = torch.searchsorted(ends, numbers, right=True)
        before = (ends - per_row).index_select(0, row.clamp(max=batch - 1))
        layout.tiles[queries] = torch.stack((row, (numbers - before) * queries))
    return layout.tiles[queries]
