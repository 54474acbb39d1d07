"""Log-probabilities of sampled and of prompt tokens, from raw logits.

Tensors in, `TokenLogprob` out; knows nothing of sampling. Called by the sampler before it edits the logits.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..api import TokenLogprob
from .batch import ScheduleBatch
from .device_sampling import logprob_columns
from .draw import block_sums
from .heaviest import heaviest
from .vocabulary import Vocabulary

_SLICE = 8  # rows handled at once: what is computed on the way stays in the processor's cache


def token_logprobs(
    logits: Tensor, rows: NDArray[np.int64], token_ids: NDArray[np.int64], num_top: list[int], vocabulary: Vocabulary
) -> list[TokenLogprob]:
    """Return for each of `rows` of `logits` (.., vocab) its token's logprob, and its `num_top[i]` most likely tokens.

    Ties among the most likely go to the lower id.
    """
    if logits.device.type != "cpu":
        return device_logprobs(logits, rows, token_ids, num_top, vocabulary)
    entries: list[TokenLogprob] = []
    for start in range(0, len(rows), _SLICE):
        part = slice(start, start + _SLICE)
        wanted, chosen = num_top[part], token_ids[part]
        table = logits[torch.from_numpy(rows[part]).to(logits.device)]
        own = table.gather(-1, torch.from_numpy(chosen).to(table.device).unsqueeze(-1)).double()
        most = min(max(wanted), table.shape[-1])
        values, ids = heaviest(table, most) if most else (table[:, :0], own[:, :0])
        peak = table.amax(dim=-1, keepdim=True)
        total = block_sums(table.sub_(peak).exp_()).sum(dim=-1, keepdim=True).log() + peak
        own_values, top_values, top_ids = (own - total)[:, 0].tolist(), (values - total).tolist(), ids.tolist()
        for i, token_id in enumerate(chosen.tolist()):
            top = _ordered(top_ids[i], top_values[i])[: wanted[i]]
            entries.append(TokenLogprob(token_id, own_values[i], vocabulary.token_text(token_id), top))
    return entries


def device_logprobs(
    logits: Tensor, rows: NDArray[np.int64], token_ids: NDArray[np.int64], num_top: list[int], vocabulary: Vocabulary
) -> list[TokenLogprob]:
    """Do what `token_logprobs` does, for logits on a device: all rows at once, one answer back."""
    ids, values = logprob_columns(logits, rows, token_ids, min(max(num_top), logits.shape[1]))
    return [
        TokenLogprob(own[0], logprobs[0], vocabulary.token_text(own[0]), _ordered(own[1:], logprobs[1:])[:wanted])
        for own, logprobs, wanted in zip(ids.tolist(), values.tolist(), num_top, strict=True)
    ]


def prompt_logprobs(
    batch: ScheduleBatch, indices: NDArray[np.intp], values: Tensor, offsets: NDArray[np.int64], vocabulary: Vocabulary
) -> dict[int, list[TokenLogprob]]:
    """Return the prompt logprobs that this forward gives for the rows `indices` of the batch, as `logprob_span` says.

    A row's logits belong to the last positions of its chunk, and position p predicts token p + 1. The first token of a
    sequence, which nothing predicts, has logprob None.
    """
    found: dict[int, list[TokenLogprob]] = {}
    owners: list[int] = []  # batch index of each wanted token
    places: list[int] = []  # row of `values` that predicts it
    targets: list[int] = []
    num_top: list[int] = []
    seq_lens = batch.seq_lens
    for index in indices.tolist():
        req, span = batch.reqs[index], batch.logprob_span(index)
        found[index] = []
        if span and span.start == 0:
            first = req.origin_input_ids[0]
            found[index].append(TokenLogprob(first, None, vocabulary.token_text(first)))
            span = span[1:]
        shift = int(offsets[index + 1] - seq_lens[index]) - 1
        owners += [index] * len(span)
        places += [position + shift for position in span]
        targets += req.origin_input_ids[span.start : span.stop]
        num_top += [req.sampling.prompt_logprobs or 0] * len(span)
    if places:
        rows, ids = (np.asarray(column, dtype=np.int64) for column in (places, targets))
        entries = token_logprobs(values, rows, ids, num_top, vocabulary)
        for index, entry in zip(owners, entries, strict=True):
            found[index].append(entry)
    return found


def _ordered(ids: list[int], values: list[float]) -> tuple[tuple[int, float], ...]:
    return tuple(sorted(zip(ids, values, strict=True), key=lambda pair: (-pair[1], pair[0])))
