"""Log-probabilities of a few tokens of each row, without writing the whole row's.

Knows nothing of requests. Called by the engine's `logprobs` for logits on a device.
"""

from __future__ import annotations

import torch
from torch import Tensor


def gather_logprobs(logits: Tensor, rows: Tensor, token_ids: Tensor) -> Tensor:
    """Return (k, columns) float32: `log_softmax(logits[rows[i]])[token_ids[i, j]]`.

    `logits` (batch, vocabulary), any floating dtype; `rows` (k,) int64; `token_ids` (k, columns) int64. The logits stay
    as they are. A row without a finite logit gives NaN.

    >>> gather_logprobs(torch.zeros(2, 4), torch.tensor([1]), torch.tensor([[0, 3]]))
    tensor([[-1.3863, -1.3863]])
    """
    if logits.device.type == "cuda":
        from .gather_logprobs_triton import gather  # loading Triton takes a third of a second

        return gather(logits, rows, token_ids)
    return gather_logprobs_reference(logits, rows, token_ids)


def gather_logprobs_reference(logits: Tensor, rows: Tensor, token_ids: Tensor) -> Tensor:
    """The same in plain torch."""
    chosen = logits.index_select(0, rows).float()
    return chosen.gather(1, token_ids) - torch.logsumexp(chosen, dim=1, keepdim=True)
