"""Draw one token a row from logits: top-k, top-p and min-p filters and an inverse-CDF draw from one uniform number.

Tensors only; knows nothing of requests. Called by the sampler for its random rows.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Heads of the sorted distribution that are tried before the whole vocabulary is sorted: a peaked distribution is
# decided by the first, most others by the second.
_HEADS = (64, 1024)


def draw(
    scaled: Tensor,
    uniforms: NDArray[np.float64],
    *,
    top_k: NDArray[np.int64],
    top_p: NDArray[np.float64],
    min_p: NDArray[np.float32],
) -> Tensor:
    """Return (rows,) token ids drawn from `scaled` (rows, vocab), the logits over the temperature.

    Each row keeps its `top_k` most likely tokens (0: all), of those the fewest whose mass reaches `top_p`, of those the
    ones at least `min_p` times as likely as the most likely; tokens tied at a cut-off are kept together. The draw takes
    the kept tokens in the order of their ids. What a row gets depends on that row alone. The maximum of every row must
    be finite; a row where it is not gets an arbitrary token.

    Avoids what is slow on CPUs: no multinomial, and no full sort unless neither head of the sorted row decides.
    """
    vocab = scaled.shape[-1]
    weights = torch.exp(scaled - scaled.amax(dim=-1, keepdim=True))  # relative to the most likely token
    tokens = torch.zeros(len(scaled), dtype=torch.int64, device=scaled.device)
    limits = np.where(top_k > 0, np.minimum(top_k, vocab), vocab)
    filtered = (limits < vocab) | (top_p < 1.0)
    plain = np.flatnonzero(~filtered)
    if len(plain):
        chosen = weights if len(plain) == len(scaled) else weights[_index(plain, scaled)]
        kept = _above(chosen, min_p[plain])
        tokens[_index(plain, scaled)] = _invert(kept, uniforms[plain])
    left = np.flatnonzero(filtered)
    for width in (*(head for head in _HEADS if head < vocab), vocab):
        if len(left) == 0:
            break
        rows = weights if len(left) == len(scaled) else weights[_index(left, scaled)]
        head, ids, decided = _filter_head(rows, width, limits[left], top_p[left])
        done = np.flatnonzero(decided)
        if len(done):
            at = _index(done, scaled)
            kept = _above(head[at], min_p[left[done]])
            order = ids[at].argsort(dim=-1)
            place = _invert(kept.gather(-1, order), uniforms[left[done]])
            sorted_ids = ids[at].gather(-1, order)
            tokens[_index(left[done], scaled)] = sorted_ids.gather(-1, place.unsqueeze(-1)).squeeze(-1)
        left = left[~decided]
    return tokens


def _filter_head(
    weights: Tensor, width: int, limits: NDArray[np.int64], top_p: NDArray[np.float64]
) -> tuple[Tensor, Tensor, NDArray[np.bool_]]:
    """Apply top-k and top-p within the `width` heaviest tokens of each row.

    Returns the head's weights, zero where filtered, their token ids, and which rows this head decides: those whose
    cut-off lies inside it, with all its ties.
    """
    vocab = weights.shape[-1]
    head, ids = weights.topk(width, dim=-1)  # (rows, width), heaviest first
    limit = torch.from_numpy(limits).to(head.device).unsqueeze(-1)
    share = torch.from_numpy(top_p).to(head.device).unsqueeze(-1)
    whole = width == vocab
    # top-k: its last token lies in the head, or there is no limit
    smallest = head.gather(-1, (limit - 1).clamp(max=width - 1))
    in_limit = (head >= smallest) | (limit >= width)
    masses = torch.where(in_limit, head, 0.0).cumsum(dim=-1, dtype=torch.float64)
    total = torch.where(limit < width, masses[:, -1:], weights.sum(dim=-1, keepdim=True, dtype=torch.float64))
    # top-p: a token stays while the mass before it falls short
    short = (masses - head) < share * total
    num_kept = (short & in_limit).sum(dim=-1, keepdim=True).clamp(min=1)
    cutoff = head.gather(-1, num_kept - 1)
    kept = torch.where((head >= cutoff) & in_limit, head, 0.0)
    if whole:
        return kept, ids, np.ones(len(limits), dtype=np.bool_)
    known_total = (limit < width) | (limit == vocab)
    decided = known_total & (cutoff > head[:, -1:])
    return kept, ids, decided.squeeze(-1).cpu().numpy()


def _above(weights: Tensor, min_p: NDArray[np.float32]) -> Tensor:
    """Zero the weights below `min_p`; the heaviest token has weight one."""
    if not min_p.any():
        return weights
    floor = torch.from_numpy(min_p).to(weights.device).unsqueeze(-1)
    return torch.where(weights >= floor, weights, 0.0)


def _invert(weights: Tensor, uniforms: NDArray[np.float64]) -> Tensor:
    """Return (rows,) the first place where the running sum of the weights exceeds `uniforms` times their total."""
    sums = weights.cumsum(dim=-1, dtype=torch.float64)
    total = sums[:, -1:]
    target = torch.from_numpy(uniforms).to(weights.device).unsqueeze(-1) * total
    target = torch.minimum(target, torch.nextafter(total, torch.zeros_like(total)))  # rounding never leaves the last
    return torch.searchsorted(sums, target, right=True).squeeze(-1).clamp(max=weights.shape[-1] - 1)


def _index(places: NDArray[np.int64], like: Tensor) -> Tensor:
    return torch.from_numpy(places).to(like.device)
