"""`Columns`: the logits that each row chooses among: the whole vocabulary, or the few tokens that a constraint allows.

Tensors and masks only; knows nothing of temperatures or draws. Called by the sampler for every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...kernels.token_mask import apply_token_mask
from .masks import FEW, RowMask

# Widths of gathered rows. A row's width depends on its own legal tokens alone, and so does the rounding of its sums.
_WIDTHS = (256, FEW)


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Row `rows[i]` of `values` (any, width) holds the logits of the batch's sampled row `places[i]`.

    Column j stands for token j, or where rows are gathered for token `ids[row, j]`; spare columns are minus infinity.
    """

    places: NDArray[np.int64]
    rows: NDArray[np.int64]
    values: Tensor
    ids: NDArray[np.int64] | None = None
    num_legal: NDArray[np.int64] | None = None  # (places,) of the columns, where rows are gathered

    def best(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return each row's best column, the lowest of equals, and its logit; NaN wins over everything."""
        if self.values.device.type != "cpu":
            found = self._chosen().max(dim=-1)
            return found.indices.cpu().numpy(), found.values.cpu().numpy()
        table = self.values.numpy()  # numpy's argmax of a (32, 152k) batch takes 0.6 ms, torch's 8
        if len(self.rows) == len(table):
            columns = table.argmax(axis=-1)
        else:
            columns = np.array([table[row].argmax() for row in self.rows], dtype=np.int64)
        return columns, table[self.rows, columns]

    def take(self, which: NDArray[np.int64]) -> Tensor:
        """Return (len(which), width) logits of the rows `which` (numbers of `places`); the tensor itself if all."""
        return self._chosen() if len(which) == len(self.rows) else self.values[_index(self.rows[which], self.values)]

    def tokens(self, columns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the tokens that one column of each row stands for."""
        return columns if self.ids is None else self.ids[self.rows, columns]

    def _chosen(self) -> Tensor:
        whole = len(self.rows) == len(self.values)
        return self.values if whole else self.values[_index(self.rows, self.values)]


def all_columns(values: Tensor) -> list[Columns]:
    """Return every row with the whole vocabulary."""
    places = np.arange(len(values))
    return [Columns(places, places, values)]


def legal_columns(
    values: Tensor, places: Sequence[int], masks: Sequence[RowMask], eos_ids: Sequence[int]
) -> list[Columns]:
    """Split the rows of `values` (sampled, vocabulary); `masks[i]` is that of row `places[i]`, the others are free.

    A row with few legal tokens is gathered. Of the others the forbidden logits become minus infinity, in place. Where
    the text may end, end-of-sequence (the first legal one) gets the probability of what is forbidden.
    """
    gathers = values.device.type == "cpu"
    wide = [index for index, mask in enumerate(masks) if mask.few is None or not gathers]
    _mask_in_place(values, [places[index] for index in wide], [masks[index] for index in wide], eos_ids)
    if len(wide) == len(masks):
        return all_columns(values)
    narrow = sorted(set(range(len(masks))).difference(wide))
    free = np.setdiff1d(np.arange(len(values)), [places[index] for index in narrow])
    parts = [Columns(free, free, values)] if len(free) else []
    lowest = 0
    for width in _WIDTHS:
        group = [index for index in narrow if lowest < len(masks[index].legal) <= width]
        lowest = width
        if group:
            parts.append(_gather(values, [places[i] for i in group], [masks[i] for i in group], width, eos_ids))
    return parts


def _mask_in_place(values: Tensor, places: list[int], masks: list[RowMask], eos_ids: Sequence[int]) -> None:
    if not places:
        return
    before = {place: values[place].clone() for place, mask in zip(places, masks, strict=True) if mask.can_stop}
    words = torch.from_numpy(np.stack([mask.words for mask in masks])).to(values.device, non_blocking=True)
    apply_token_mask(values, torch.tensor(places, device=values.device), words)
    for place, row in before.items():
        legal = [token for token in eos_ids if values[place, token] > -torch.inf]
        if legal:  # `min_tokens` may have barred it
            row.masked_fill_(values[place] > -torch.inf, -torch.inf)
            values[place, legal[0]] = _joined(values[place, legal[0]], row)


def _gather(values: Tensor, places: list[int], masks: list[RowMask], width: int, eos_ids: Sequence[int]) -> Columns:
    ids = np.zeros((len(places), width), dtype=np.int64)
    table = np.full((len(places), width), -np.inf, dtype=np.float32)
    logits = values.numpy()
    for row, (place, mask) in enumerate(zip(places, masks, strict=True)):
        count = len(mask.legal)
        ids[row, :count] = mask.legal
        table[row, :count] = logits[place, mask.legal]
        legal = [token for token in eos_ids if logits[place, token] > -np.inf] if mask.can_stop else []
        if legal:
            rest = values[place].clone()
            rest[torch.from_numpy(mask.legal)] = -torch.inf
            table[row, np.searchsorted(mask.legal, legal[0])] = _joined(values[place, legal[0]], rest)
    counts = np.array([len(mask.legal) for mask in masks])
    return Columns(np.array(places), np.arange(len(places)), torch.from_numpy(table), ids, counts)


def _joined(end: Tensor, forbidden: Tensor) -> Tensor:
    """Return the logit of the end with the probability of `forbidden` (vocabulary,): row by row, so that no row's
    rounding hangs on others.
    """
    return torch.logaddexp(end, torch.logsumexp(forbidden, dim=0))


def _index(places: NDArray[np.int64], like: Tensor) -> Tensor:
    return torch.from_numpy(places).to(like.device)
