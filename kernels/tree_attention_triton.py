"""Tree decode attention for CUDA: keys that rows share are read once per group of rows, not once per row.

The tree is read off the slots, on the device: rows are put next to those that begin with the same slots, and what a
tile of neighbours has in common is attended to by the tile. As in Hydragen (Juravsky et al. 2024) and FastTree (Pan et
al. 2025) partial results are merged by log-sum-exp. Called by `paged_attention`, once a layer.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .decode_attention_triton import SpanAttention, splits_for
from .paged_attention import AttentionSpec, PagedLayout

_WIDE = {torch.float32: 32, torch.bfloat16: 64, torch.float16: 64}  # matrix rows of the widest tile
_NARROW = 16  # and of the narrowest that costs the matrix units nothing
_SLOTS_AT_ONCE = 1024


@triton.jit  # type: ignore[untyped-decorator]
def _common_prefix(table, rows, seq_lens, order, common, table_stride, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Program i: how many leading slots places i and i + 1 of `order` have in common, into common[i]."""
    index = tl.program_id(0)
    one = tl.load(order + index).to(tl.int64)
    other = tl.load(order + index + 1).to(tl.int64)
    most = tl.minimum(tl.load(seq_lens + one), tl.load(seq_lens + other)).to(tl.int32)
    left = table + tl.load(rows + one).to(tl.int64) * table_stride
    right = table + tl.load(rows + other).to(tl.int64) * table_stride
    length = most
    start = 0
    while start < length:
        positions = start + tl.arange(0, BLOCK)
        inside = positions < most
        mine = tl.load(left + positions, mask=inside, other=0)
        theirs = tl.load(right + positions, mask=inside, other=0)
        length = tl.minimum(length, tl.min(tl.where(inside & (mine != theirs), positions, most)))
        start += BLOCK
    tl.store(common + index, length)


def tree_attention(
    query: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    layout: PagedLayout,
    spec: AttentionSpec,
    *,
    num_splits: int | None = None,
) -> Tensor:
    """See `paged_attention.paged_attention`, for rows of one token: `query` (batch, heads, head_dim).

    `layout.order` (batch,) puts rows that share slots next to each other; any permutation is right, a good one is fast.
    `num_splits`: programs that share the keys of a tile; None: as many as fill the device.
    """
    assert layout.order is not None
    kv_heads = key_cache.shape[1]
    widths = tile_widths(query.shape[1] // kv_heads, query.dtype)
    levels = _levels(layout, widths)
    parts = []
    for level, width in enumerate(widths):
        programs = triton.cdiv(len(query), width) * kv_heads
        splits = num_splits or splits_for(programs, layout.max_seq_len, query.device)
        parts.append((layout.order, levels[level : level + 2], width, splits))
    return SpanAttention(query, key_cache, value_cache, layout, spec)(parts)


def tile_widths(group: int, dtype: torch.dtype) -> tuple[int, ...]:
    """Return the rows of a tile on each level, from the root: each a multiple of the next, the last one is 1."""
    narrow = max(1, _NARROW // group)
    wide = narrow * max(1, _WIDE[dtype] // (narrow * group))
    return tuple(dict.fromkeys((wide, narrow, 1)))


def _levels(layout: PagedLayout, widths: tuple[int, ...]) -> Tensor:
    """(levels + 1, batch) int32 where each level's positions begin, in `order`. Made once a forward, on the device.

        row of the table:  0 ... shared by the wide tile ... by the narrow tile ... own ... seq_len
        levels[k]:         0     1                           2                  3

    Level k attends to [levels[k], levels[k + 1]); the values are alike in a tile of level k.
    """
    if layout.levels is None:
        order, batch = layout.order, len(layout.rows)
        assert order is not None
        lens = layout.seq_lens.to(torch.int32)
        common = torch.empty(batch, dtype=torch.int32, device=lens.device)
        if batch > 1:
            _common_prefix[(batch - 1,)](
                layout.req_to_token, layout.rows, layout.seq_lens, order, common,
                layout.req_to_token.stride(0), BLOCK=_SLOTS_AT_ONCE,
            )  # fmt: skip
        in_order = lens[order]
        rows = [torch.zeros_like(in_order), *(_within(common, in_order, width) for width in widths[:-1]), in_order]
        layout.levels = torch.stack(rows)
    return layout.levels


def _within(common: Tensor, lens: Tensor, width: int) -> Tensor:
    """(batch,) leading slots that all rows of each tile of `width` have in common, given those of neighbours."""
    batch = len(lens)
    most = torch.iinfo(torch.int32).max
    pairs = torch.full((triton.cdiv(batch, width) * width,), most, dtype=torch.int32, device=lens.device)
    pairs[: batch - 1] = common[: batch - 1]
    shortest = pairs.view(-1, width)[:, :-1].amin(dim=1)  # the last pair of a tile leads out of it
    # a tile of one row has it all to itself
    return torch.minimum(shortest.unsqueeze(1).expand(-1, width).reshape(-1)[:batch], lens)
