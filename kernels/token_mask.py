"""Apply packed token masks to logits: tokens whose bit is not set get minus infinity.

Bits are laid out as every grammar library lays them out: token t is bit t % 32 of word t // 32. Knows nothing of
grammars. Called by the sampler, on the constrained rows only, before any other filter.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import native

# What the eight bits of a byte add to eight logits, (256, 8): without the C kernel an addition from this table takes a
# tenth of the time of masked_fill on unpacked bits, whose branches mispredict.
_BIAS_OF_BYTE = torch.where((torch.arange(256).unsqueeze(1) >> torch.arange(8)) & 1 == 1, 0.0, float("-inf"))
_LONG_ROW = 16_384  # tokens; above this, adding row by row beats index_add (which is 3 times slower at 150k)


def apply_token_mask(logits: Tensor, rows: Tensor, mask: Tensor) -> None:
    """Set `logits[rows[i], t]` to minus infinity, in place, for every token t whose bit in `mask[i]` is 0.

    - `logits`: (batch, vocabulary), any floating dtype, no value plus infinity or NaN.
    - `rows`: (k,) int64 rows of `logits`, distinct.
    - `mask`: (k, ceil(vocabulary / 32)) int32; bits beyond the vocabulary are ignored.

    All three on one device. Other rows are not touched.

    >>> logits = torch.zeros(2, 3)
    >>> apply_token_mask(logits, torch.tensor([1]), torch.tensor([[0b101]], dtype=torch.int32))
    >>> logits
    tensor([[0., 0., 0.],
            [0., -inf, 0.]])
    """
    num_tokens = logits.shape[1]
    if not len(rows):
        return
    if logits.device.type == "cuda":
        from .token_mask_triton import forbid_tokens  # loading Triton takes a third of a second

        forbid_tokens(logits, rows, mask)
        return
    if logits.device.type != "cpu":
        logits[rows] = logits[rows].masked_fill_(~unpacked(mask, num_tokens), float("-inf"))
        return
    library = native.library() if logits.dtype == torch.float32 and logits.stride(1) == 1 else None
    if library is not None:
        mask = mask.contiguous()
        sizes = (mask.shape[1], len(rows), num_tokens)
        library.token_mask(logits.data_ptr(), logits.stride(0), rows.data_ptr(), mask.data_ptr(), *sizes)
        return
    octets = mask.contiguous().view(torch.uint8).flatten().int()
    bias = _BIAS_OF_BYTE.to(logits.dtype).index_select(0, octets).view(mask.shape[0], -1)[:, :num_tokens]
    if num_tokens < _LONG_ROW:
        logits.index_add_(0, rows, bias)
        return
    for row, row_bias in zip(rows.tolist(), bias, strict=True):
        logits[row].add_(row_bias)


def unpacked(mask: Tensor, num_tokens: int) -> Tensor:
    """Return (k, num_tokens) bool from (k, words) int32: True where the token's bit is set."""
    shifts = torch.arange(32, dtype=torch.int32, device=mask.device)
    return ((mask.unsqueeze(-1) >> shifts) & 1).flatten(1)[:, :num_tokens].bool()
