"""Draw one token a row: top-k, top-p and min-p filters and an inverse-CDF draw from one uniform number.

Tensors only; knows nothing of requests. Called by the sampler for its random rows.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .heaviest import heaviest

# Heads of the sorted distribution that are tried before the whole row is sorted: a peaked distribution is decided by
# the first, most others by the second. Short rows are sorted at once.
_HEADS = (64, 1024)
_SHORT = 4096
_BLOCK = 256  # tokens summed at once: running sums over 152k tokens in float64 take 76 ms for 32 rows, blocks of them 1


def draw(
    weights: Tensor,
    uniforms: NDArray[np.float64],
    *,
    top_k: NDArray[np.int64],
    top_p: NDArray[np.float64],
    min_p: NDArray[np.float32],
) -> Tensor:
    """Return (rows,) token ids drawn in proportion to `weights` (rows, vocab) float32, the largest of each row being 1.

    Each row keeps its `top_k` most likely tokens (0: all), of those the fewest whose mass reaches `top_p`, of those the
    ones at least `min_p` times as likely as the most likely; tokens tied at a cut-off are kept together. The draw takes
    the kept tokens in the order of their ids. What a row gets depends on that row alone.

    Avoids what is slow on CPUs: no multinomial, and no full sort unless neither head of the sorted row decides.
    """
    vocab = weights.shape[-1]
    tokens = torch.zeros(len(weights), dtype=torch.int64, device=weights.device)
    limits = np.where(top_k > 0, np.minimum(top_k, vocab), vocab)
    filtered = (limits < vocab) | (top_p < 1.0)
    plain = np.flatnonzero(~filtered)
    if len(plain):
        kept = _above(_rows(weights, plain), min_p[plain])
        tokens[_index(plain, weights)] = _invert_blocks(kept, uniforms[plain])
    left = np.flatnonzero(filtered)
    for width in _HEADS if vocab > _SHORT else ():
        if len(left) == 0:
            break
        rows = _rows(weights, left)
        head, ids = heaviest(rows, width)
        cutoff, decided = _cutoffs(head, rows, limits[left], top_p[left])
        done = np.flatnonzero(decided)
        if len(done):
            at = _index(done, weights)
            kept = _above(torch.where(head[at] >= cutoff[at], head[at], 0.0), min_p[left[done]])
            sorted_ids, order = ids[at].sort(dim=-1)
            place = _invert(kept.gather(-1, order), uniforms[left[done]])
            tokens[_index(left[done], weights)] = sorted_ids.gather(-1, place.unsqueeze(-1)).squeeze(-1)
        left = left[~decided]
    if len(left):
        rows = _rows(weights, left)
        cutoff, _ = _cutoffs(_descending(rows), rows, limits[left], top_p[left])
        kept = _above(torch.where(rows >= cutoff, rows, 0.0), min_p[left])
        tokens[_index(left, weights)] = _invert_blocks(kept, uniforms[left])
    return tokens


def _cutoffs(
    head: Tensor, weights: Tensor, limits: NDArray[np.int64], top_p: NDArray[np.float64]
) -> tuple[Tensor, NDArray[np.bool_]]:
    """Return (rows, 1) the smallest weight that top-k and top-p keep, and which rows it is right for.

    `head` (rows, width) are the largest of `weights`, in descending order; a row is decided when its cut-off lies
    inside the head, with all its ties.
    """
    vocab, width = weights.shape[-1], head.shape[-1]
    limit = torch.from_numpy(limits).to(head.device).unsqueeze(-1)
    share = torch.from_numpy(top_p).to(head.device).unsqueeze(-1)
    # top-k: its last token lies in the head, or there is no limit
    smallest = head.gather(-1, (limit - 1).clamp(max=width - 1))
    in_limit = (head >= smallest) | (limit >= width)
    masses = torch.where(in_limit, head, 0.0).cumsum(dim=-1, dtype=torch.float64)
    total = torch.where(limit < width, masses[:, -1:], block_sums(weights).sum(dim=-1, keepdim=True))
    # top-p: a token stays while the mass before it falls short
    num_kept = ((masses - head < share * total) & in_limit).sum(dim=-1, keepdim=True).clamp(min=1)
    cutoff = head.gather(-1, num_kept - 1)
    decided = ((limit < width) | (limit == vocab)) & (cutoff > head[:, -1:])
    return cutoff, decided.squeeze(-1).cpu().numpy()


def _descending(weights: Tensor) -> Tensor:
    """Return each row sorted, largest first; numpy's sort is four times faster than torch's on the CPU."""
    if weights.device.type == "cpu":
        return torch.from_numpy(np.sort(weights.numpy(), axis=-1)[:, ::-1].copy())
    return weights.sort(dim=-1, descending=True).values


def _above(weights: Tensor, min_p: NDArray[np.float32]) -> Tensor:
    """Zero the weights below `min_p`; the heaviest token has weight one."""
    if not min_p.any():
        return weights
    floor = torch.from_numpy(min_p).to(weights.device).unsqueeze(-1)
    return torch.where(weights >= floor, weights, 0.0)


def _invert_blocks(weights: Tensor, uniforms: NDArray[np.float64]) -> Tensor:
    """Do what `_invert` does, over long rows: find the block of the token first, then the token in it."""
    vocab = weights.shape[-1]
    sums = block_sums(weights).cumsum(dim=-1)
    target = _target(sums, uniforms)
    block = torch.searchsorted(sums, target, right=True).clamp(max=sums.shape[-1] - 1)
    before = torch.where(block > 0, sums.gather(-1, (block - 1).clamp(min=0)), 0.0)
    ids = block * _BLOCK + torch.arange(_BLOCK, device=weights.device)
    inside = torch.where(ids < vocab, weights.gather(-1, ids.clamp(max=vocab - 1)), 0.0)
    running = inside.cumsum(dim=-1, dtype=torch.float64)
    place = torch.searchsorted(running, _below(target - before, running[:, -1:]), right=True)
    return (block * _BLOCK + place.clamp(max=_BLOCK - 1)).squeeze(-1).clamp(max=vocab - 1)


def _invert(weights: Tensor, uniforms: NDArray[np.float64]) -> Tensor:
    """Return (rows,) the first place where the running sum of the weights exceeds `uniforms` times their total."""
    sums = weights.cumsum(dim=-1, dtype=torch.float64)
    return torch.searchsorted(sums, _target(sums, uniforms), right=True).squeeze(-1).clamp(max=weights.shape[-1] - 1)


def _target(sums: Tensor, uniforms: NDArray[np.float64]) -> Tensor:
    total = sums[:, -1:]
    return _below(torch.from_numpy(uniforms).to(sums.device).unsqueeze(-1) * total, total)


def _below(target: Tensor, total: Tensor) -> Tensor:
    """Keep `target` in [0, total): rounding must not lead past the last token that has weight, or before the first."""
    return torch.minimum(target.clamp(min=0.0), torch.nextafter(total, torch.zeros_like(total)))


def block_sums(weights: Tensor) -> Tensor:
    """Return (rows, blocks) float64 sums of consecutive `_BLOCK` weights, the last block being shorter."""
    whole = weights.shape[-1] // _BLOCK
    sums = weights[:, : whole * _BLOCK].view(len(weights), whole, _BLOCK).sum(dim=-1)
    return torch.cat([sums, weights[:, whole * _BLOCK :].sum(dim=-1, keepdim=True)], dim=-1).double()


def _rows(weights: Tensor, places: NDArray[np.int64]) -> Tensor:
    return weights if len(places) == len(weights) else weights[_index(places, weights)]


def _index(places: NDArray[np.int64], like: Tensor) -> Tensor:
    return torch.from_numpy(places).to(like.device)
