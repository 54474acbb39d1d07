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
from .device_sampling import mask_rows
from .masks import FEW, Masks

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


def legal_columns(values: Tensor, places: NDArray[np.int64], masks: Masks, eos_ids: Sequence[int]) -> list[Columns]:
    """Split the rows of `values` (sampled, vocabulary); row `places[i]` has the mask of index i, the others are free.

    On the CPU a row with few legal tokens is gathered. Of the others the forbidden logits become minus infinity, in
    place. Where the text may end, end-of-sequence (the first legal one) gets the probability of what is forbidden.
    """
    if values.device.type != "cpu":
        mask_rows(values, places, masks.words, masks.can_stop, eos_ids)
        return all_columns(values)
    for index in np.flatnonzero(masks.can_stop).tolist():
        _end_for_forbidden(values, int(places[index]), masks, index, eos_ids)
    is_narrow = np.array([few is not None for few in masks.few], dtype=np.bool_)
    wide = np.flatnonzero(~is_narrow)
    if len(wide):
        words = masks.words if len(wide) == len(places) else masks.words[wide]
        apply_token_mask(values, torch.from_numpy(places[wide]), torch.from_numpy(words))
    if len(wide) == len(places):
        return all_columns(values)
    free = np.setdiff1d(np.arange(len(values)), places[is_narrow])
    parts = [Columns(free, free, values)] if len(free) else []
    num_legal = np.array([0 if few is None else len(few) for few in masks.few])
    for width, lowest in zip(_WIDTHS, (0, *_WIDTHS), strict=False):
        group = np.flatnonzero(is_narrow & (num_legal > lowest) & (num_legal <= width))
        if len(group):
            legal = [tokens for index in group.tolist() if (tokens := masks.few[index]) is not None]
            parts.append(_gather(values.numpy(), places[group], legal, width))
    return parts


def _gather(
    logits: NDArray[np.float32], places: NDArray[np.int64], legal: list[NDArray[np.int64]], width: int
) -> Columns:
    ids = np.zeros((len(places), width), dtype=np.int64)
    values = np.full((len(places), width), -np.inf, dtype=np.float32)
    for row, (place, tokens) in enumerate(zip(places.tolist(), legal, strict=True)):
        ids[row, : len(tokens)] = tokens
        values[row, : len(tokens)] = logits[place, tokens]
    num_legal = np.array([len(tokens) for tokens in legal])
    return Columns(places, np.arange(len(places)), torch.from_numpy(values), ids, num_legal)


def _end_for_forbidden(values: Tensor, place: int, masks: Masks, index: int, eos_ids: Sequence[int]) -> None:
    """Give the probability of the tokens that the mask forbids to end-of-sequence, in place, before they go.

    Only a legal end gets it: `min_tokens` may have barred it. Row by row, so that no row's rounding hangs on others.
    """
    row = values[place].cpu().numpy()
    legal = [token for token in eos_ids if row[token] > -np.inf]
    if legal:
        bits = np.unpackbits(masks.words[index].view(np.uint8), bitorder="little")[: len(row)]
        forbidden = row[bits == 0]
        peak = forbidden.max(initial=-np.inf)
        if peak > -np.inf:
            rest = peak + np.log(np.exp(forbidden - peak).sum(dtype=np.float64))
            values[place, legal[0]] = float(np.logaddexp(row[legal[0]], rest))


def _index(places: NDArray[np.int64], like: Tensor) -> Tensor:
    return torch.from_numpy(places).to(like.device)
