"""What sampling does differently where logits are on a device: one launch for all rows, and one wait for the answer.

Tensors and tables; decides nothing that the sampler does not. Called by the sampler and by `logprobs`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...kernels.gather_logprobs import gather_logprobs
from ...kernels.sample_tokens import Draws, sample_tokens
from ...kernels.token_mask import apply_token_mask, unpacked


def sample_rows(
    values: Tensor, rows: NDArray[np.int64], drawn: Sequence[NDArray[np.floating | np.integer]]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the column that each of `rows` of `values` (any, width) gets, and its highest logit.

    `drawn`: (rows,) temperatures (0: greedy), uniforms, top_k, top_p and min_p, as `Draws` has them.
    """
    columns = np.stack([np.asarray(column, dtype=np.float64) for column in (*drawn, rows)])
    temperature, uniform, top_k, top_p, min_p, places = _to_device(columns, values.device).unbind(0)
    draws = Draws(temperature.float(), uniform, top_k.long(), top_p, min_p.float())
    tokens, peaks = sample_tokens(values, places.long(), draws)
    answer = torch.stack((tokens.double(), peaks.double())).cpu().numpy()  # the one wait for the device
    return answer[0].astype(np.int64), answer[1].astype(np.float32)


def logprob_columns(
    logits: Tensor, rows: NDArray[np.int64], token_ids: NDArray[np.int64], most: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return (k, 1 + most) ids and log-probabilities of rows `rows`: the row's own token, then its most likely ones."""
    there = _to_device(np.stack([rows, token_ids]), logits.device)
    ids = there[1].unsqueeze(1)
    if most:
        ids = torch.cat((ids, logits.index_select(0, there[0]).topk(most, dim=1).indices), dim=1)
    values = gather_logprobs(logits, there[0], ids)
    answer = torch.cat((ids.double(), values.double()), dim=1).cpu().numpy()
    return answer[:, : most + 1].astype(np.int64), answer[:, most + 1 :]


def mask_rows(
    values: Tensor,
    places: NDArray[np.int64],
    words: NDArray[np.int32],
    can_stop: Sequence[bool],
    eos_ids: Sequence[int],
) -> None:
    """Do what `columns.legal_columns` does to the rows `places` of `values` (any, vocabulary), in place.

    `words` (places, words) are read by the device until the step's tokens are.
    """
    stops = np.flatnonzero(can_stop)
    there = _to_device(np.concatenate([places, stops, np.asarray(eos_ids, dtype=np.int64)]), values.device)
    rows, ending, ends = there[: len(places)], there[len(places) : len(places) + len(stops)], there[-len(eos_ids) :]
    masks = torch.from_numpy(words).to(values.device, non_blocking=True)
    if len(stops) and len(eos_ids):
        _end_for_forbidden(values, rows.index_select(0, ending), masks.index_select(0, ending), ends)
    apply_token_mask(values, rows, masks)


def _end_for_forbidden(values: Tensor, places: Tensor, words: Tensor, ends: Tensor) -> None:
    """Give the probability of the tokens that a mask forbids to the first legal end-of-sequence of its row, in place.

    `places` (k,) rows of `values` whose text may end; `words` (k, words) their masks; `ends` the ids that end a text.
    """
    rows = values.index_select(0, places)
    forbidden = rows.masked_fill(unpacked(words, values.shape[1]), -torch.inf).logsumexp(dim=1)
    # the first one that is not barred; of a row without any, the first, which stays at minus infinity
    is_legal = rows.index_select(1, ends) > -torch.inf
    end = ends[is_legal.byte().argmax(dim=1)]
    own = rows.gather(1, end.unsqueeze(1)).squeeze(1)
    values[places, end] = torch.where(is_legal.any(dim=1), torch.logaddexp(own, forbidden), own)


def _to_device(array: NDArray[np.int64] | NDArray[np.float64], device: torch.device) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
