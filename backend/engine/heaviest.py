"""The largest entries of long rows without sorting them. Tensors only; called by draws and by logprobs."""

from __future__ import annotations

import torch
from torch import Tensor


def heaviest(weights: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Return the `width` largest entries of each row of `weights` (rows, vocab), in descending order, and their ids.

    In a long row they are looked for only in the `width` blocks with the largest maxima, which hold all but for ties:
    topk(64) of 32 rows of 152k takes 11 ms directly and 3 this way.

    >>> heaviest(torch.tensor([[1.0, 3.0, 2.0]]), 2)
    (tensor([[3., 2.]]), tensor([[1, 2]]))
    """
    rows, vocab = weights.shape
    block = vocab // (8 * width)  # makes the search among blocks and the search inside the chosen ones about as long
    if block < 4:
        head = weights.topk(width, dim=-1)
        return head.values, head.indices
    num_blocks = vocab // block
    end = num_blocks * block
    blocked = weights[:, :end].view(rows, num_blocks, block)
    chosen = blocked.amax(dim=-1).topk(width, dim=-1).indices  # (rows, width) blocks
    found = blocked.gather(1, chosen.unsqueeze(-1).expand(-1, -1, block)).flatten(1)
    ids = (chosen.unsqueeze(-1) * block + torch.arange(block, device=weights.device)).flatten(1)
    rest = torch.arange(end, vocab, device=weights.device).expand(rows, -1)
    head = torch.cat([found, weights[:, end:]], dim=-1).topk(width, dim=-1)
    return head.values, torch.cat([ids, rest], dim=-1).gather(-1, head.indices)
