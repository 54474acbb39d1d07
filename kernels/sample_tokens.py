"""Choose a token a row: the most likely, or a draw after temperature, top-k, top-p and min-p.

The draw inverts the distribution's CDF at one uniform number that the caller brings, so that a seed means the same on
every device. Knows nothing of requests. Called by the engine's sampler for logits on a device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Draws:
    """How each row is drawn, all (rows,) on the device of the logits.

    - `temperature` float32, 0: take the most likely token. `uniform` float64 in [0, 1).
    - `top_k` int64, 0: all. `top_p` float64. `min_p` float32, a share of the most likely token's probability.

    As in the CPU's draw: of the `top_k` most likely the fewest whose mass reaches `top_p`, of those the ones at least
    `min_p` times as likely as the first; tokens tied at a cut-off stay together; kept tokens in the order of their ids.
    """

    temperature: Tensor
    uniform: Tensor
    top_k: Tensor
    top_p: Tensor
    min_p: Tensor


def sample_tokens(logits: Tensor, rows: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """Return each row's token, (k,) int64, and its highest logit, (k,) float32.

    `logits` (batch, vocabulary), any floating dtype, unchanged; `rows` (k,) int64. Of equals the lowest id counts as
    the most likely. Where the highest logit is not finite the token means nothing.
    """
    if logits.device.type == "cuda":
        from .sample_tokens_triton import sample  # loading Triton takes a third of a second

        return sample(logits, rows, draws)
    return sample_tokens_reference(logits, rows, draws)


def sample_tokens_reference(logits: Tensor, rows: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """The same in plain torch, by sorting every row."""
    chosen = logits.index_select(0, rows).float()
    peak, best = chosen.max(dim=1, keepdim=True)
    random = draws.temperature > 0
    temperature = torch.where(random, draws.temperature, 1.0).unsqueeze(1)
    weights = ((chosen - peak) / temperature).exp()
    heaviest = weights.sort(dim=1, descending=True).values
    place = torch.arange(weights.shape[1], device=weights.device)
    limit = torch.where(draws.top_k > 0, draws.top_k, weights.shape[1]).clamp(max=weights.shape[1]).unsqueeze(1)
    in_limit = heaviest >= heaviest.gather(1, limit - 1)
    masses = torch.where(in_limit, heaviest, 0.0).cumsum(1, dtype=torch.float64)
    share = draws.top_p.unsqueeze(1)
    in_share = in_limit & ((masses - heaviest < share * masses[:, -1:]) | (share >= 1.0) | (place == 0))
    cutoff = heaviest.gather(1, in_share.sum(1, keepdim=True) - 1)
    kept = torch.where((weights >= cutoff) & (weights >= draws.min_p.unsqueeze(1)), weights, 0.0)
    sums = kept.cumsum(1, dtype=torch.float64)
    target = draws.uniform.unsqueeze(1) * sums[:, -1:]
    drawn = torch.argmax(((sums > target) & (kept > 0)).byte(), dim=1)
    return torch.where(random, drawn, best.squeeze(1)), peak.squeeze(1)
