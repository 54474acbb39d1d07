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
from .vocabulary import Vocabulary

_SLICE = 64  # positions handled at once: bounds the copy that log_softmax makes of a long prompt's logits


def token_logprobs(
    logits: Tensor, token_ids: NDArray[np.int64], num_top: list[int], vocabulary: Vocabulary
) -> list[TokenLogprob]:
    """Return for each row of `logits` (rows, vocab) the logprob of its token, and its `num_top[i]` most likely tokens.

    Ties among the most likely go to the lower id.
    """
    entries: list[TokenLogprob] = []
    for start in range(0, len(token_ids), _SLICE):
        wanted = num_top[start : start + _SLICE]
        chosen = token_ids[start : start + _SLICE]
        table = torch.log_softmax(logits[start : start + _SLICE], dim=-1)
        own = table.gather(-1, torch.from_numpy(chosen).to(table.device).unsqueeze(-1)).squeeze(-1).tolist()
        most = min(max(wanted, default=0), table.shape[-1])
        values, ids = (part.tolist() for part in table.topk(most, dim=-1)) if most else ([], [])
        for i, token_id in enumerate(chosen.tolist()):
            top = _ordered(ids[i], values[i])[: wanted[i]] if most else ()
            entries.append(TokenLogprob(token_id, own[i], vocabulary.token_text(token_id), top))
    return entries


def prompt_logprobs(
    batch: ScheduleBatch, indices: NDArray[np.intp], values: Tensor, offsets: NDArray[np.int64], vocabulary: Vocabulary
) -> dict[int, list[TokenLogprob]]:
    """Return the prompt logprobs that this forward gives for the rows `indices` of the batch, in token order.

    A row's logits belong to the last positions of its chunk; position p predicts token p + 1. The first token of a
    sequence, which nothing predicts, has logprob None.
    """
    found: dict[int, list[TokenLogprob]] = {}
    spans: list[tuple[int, int]] = []  # (batch index, how many of its tokens)
    places: list[int] = []  # rows of `values`
    targets: list[int] = []
    num_top: list[int] = []
    for index in indices.tolist():
        req = batch.reqs[index]
        start = req.logprob_start_len
        assert start is not None
        found[index] = []
        if start == 0 and batch.prefix_lens[index] == 0:
            first = req.origin_input_ids[0]
            found[index].append(TokenLogprob(first, None, vocabulary.token_text(first)))
        begin, end = int(offsets[index]), int(offsets[index + 1])
        end_position = int(batch.prefix_lens[index] + batch.extend_lens[index])
        first_target = end_position - (end - begin) + 1
        wanted = range(max(first_target, start), min(end_position + 1, len(req.origin_input_ids)))
        spans.append((index, len(wanted)))
        places += [begin + target - first_target for target in wanted]
        targets += req.origin_input_ids[wanted.start : wanted.stop] if wanted else []
        num_top += [req.sampling.prompt_logprobs or 0] * len(wanted)
    if places:
        logits = values[torch.tensor(places, device=values.device)]
        entries = iter(token_logprobs(logits, np.asarray(targets, dtype=np.int64), num_top, vocabulary))
        for index, count in spans:
            found[index] += [next(entries) for _ in range(count)]
    return found


def _ordered(ids: list[int], values: list[float]) -> tuple[tuple[int, float], ...]:
    return tuple(sorted(zip(ids, values, strict=True), key=lambda pair: (-pair[1], pair[0])))
