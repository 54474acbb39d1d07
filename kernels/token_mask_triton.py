"""The Triton kernel of `token_mask`: one launch forbids tokens on the chosen rows, wherever they lie in the batch.

Imported by `token_mask` when logits are on a device, because Triton takes a third of a second to load.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 4096  # tokens of one program: 128 words of mask


@triton.jit  # type: ignore[untyped-decorator]
def _forbid(  # type: ignore[no-untyped-def]
    logits, rows, mask, num_tokens, logits_stride, mask_stride, BLOCK: tl.constexpr
):
    """Write minus infinity where the bit is 0; program (i, j) has tokens [j * BLOCK, (j + 1) * BLOCK) of row i.

    Logits are never read, so an unconstrained stretch of a row costs its mask only.
    """
    index = tl.program_id(0).to(tl.int64)  # a batch of long rows has more than 2^31 logits
    tokens = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = tokens < num_tokens
    words = tl.load(mask + index * mask_stride + (tokens >> 5), mask=inside, other=-1)
    forbidden = inside & (((words >> (tokens & 31)) & 1) == 0)
    row = logits + tl.load(rows + index) * logits_stride
    tl.store(row + tokens, tl.full((BLOCK,), float("-inf"), logits.dtype.element_ty), mask=forbidden)


def forbid_tokens(logits: Tensor, rows: Tensor, mask: Tensor) -> None:
    """See `token_mask.apply_token_mask`: logits (batch, vocabulary), rows (k,) int64, mask (k, words) int32."""
    assert logits.stride(1) == 1 and mask.stride(1) == 1 and rows.dtype == torch.int64
    num_tokens = logits.shape[1]
    grid = (len(rows), triton.cdiv(num_tokens, _BLOCK))
    _forbid[grid](logits, rows, mask, num_tokens, logits.stride(0), mask.stride(0), BLOCK=_BLOCK)
