"""The Triton kernel of `gather_logprobs`: one pass over a row, a running sum in every lane."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 4096  # logits at once


@triton.jit  # type: ignore[untyped-decorator]
def _gather(  # type: ignore[no-untyped-def]
    logits, rows, token_ids, out, num_tokens, columns, stride, BLOCK: tl.constexpr, COLUMNS: tl.constexpr
):
    """Program i: the logits of row rows[i] at token_ids[i], less the log of the sum of all exponentials."""
    index = tl.program_id(0).to(tl.int64)
    row = logits + tl.load(rows + index).to(tl.int64) * stride
    lane = tl.arange(0, BLOCK)
    top = tl.full((BLOCK,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    for first in range(0, num_tokens, BLOCK):
        inside = first + lane < num_tokens
        values = tl.load(row + first + lane, mask=inside, other=float("-inf")).to(tl.float32)
        higher = tl.maximum(top, values)
        base = tl.where(higher == float("-inf"), 0.0, higher)
        total = total * tl.exp(top - base) + tl.exp(values - base)
        top = higher
    peak = tl.max(top)
    total_of_row = tl.sum(total * tl.exp(top - peak))
    column = tl.arange(0, COLUMNS)
    token = tl.load(token_ids + index * columns + column, mask=column < columns, other=0)
    value = tl.load(row + token).to(tl.float32)
    tl.store(out + index * columns + column, value - peak - tl.log(total_of_row), mask=column < columns)


def gather(logits: Tensor, rows: Tensor, token_ids: Tensor) -> Tensor:
    """See `gather_logprobs.gather_logprobs`."""
    assert logits.stride(1) == 1
    token_ids = token_ids.contiguous()
    count, columns = token_ids.shape
    out = torch.empty((count, columns), dtype=torch.float32, device=logits.device)
    if count and columns:
        _gather[(count,)](
            logits, rows, token_ids, out, logits.shape[1], columns, logits.stride(0),
            BLOCK=_BLOCK, COLUMNS=triton.next_power_of_2(columns), num_warps=8,
        )  # fmt: skip
    return out
