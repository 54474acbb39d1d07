"""`Sampler`: logits to tokens for a whole batch in one vectorised pass; only rows that need a feature pay for it.

Knows nothing of models or scheduling. Called by the model worker, on the engine's thread only.
"""

from __future__ import annotations

import os

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...lang.errors import DeadEndError, RamifyError, RequestError
from .batch import BatchResult, ScheduleBatch
from .columns import Columns, all_columns, legal_columns
from .device_sampling import sample_rows
from .draw import draw
from .forward_batch import Logits
from .grammar.api import num_mask_words
from .logprobs import prompt_logprobs, token_logprobs
from .masks import MaskFiller
from .req import Req
from .sampling_table import (
    BIAS,
    INPUT_LOGPROBS,
    LOGPROBS,
    MATCHER,
    MIN_TOKENS,
    PENALTIES,
    RANDOM,
    Entries,
    SamplingTable,
)
from .vocabulary import Vocabulary


class Sampler:
    """Samples rows 1 .. `max_running` of an engine with `vocabulary`.

    The order on each row: repetition penalty, frequency and presence penalties, `logit_bias`, `min_tokens`, grammar
    mask, temperature, top-k, top-p, min-p, draw. Greedy rows take the maximum after the mask. What a row gets depends
    on its logits, its request and its own tokens only, never on the rest of the batch.

    Where a constrained text may end, end-of-sequence gets the probability of all the tokens that the mask forbids: the
    model that would go on with something else ends the value here ("7" before a line end), instead of being made to
    lengthen it.

    `on_device`: the logits are not the processor's; masks travel there from memory that a device reads directly.

    Example: `sampler = Sampler(vocabulary, max_running=64)`; `sampler.open_row(req)`; before the forward of a batch,
    `sampler.prepare(batch)`; after it, `sampler.sample(batch, logits)`.
    """

    def __init__(self, vocabulary: Vocabulary, *, max_running: int, on_device: bool = False) -> None:
        self._vocabulary = vocabulary
        self._eos_ids = sorted(vocabulary.eos_ids)
        self._table = SamplingTable(max_running + 1)
        shape = (max_running, num_mask_words(vocabulary.size))
        buffer = torch.empty(shape, dtype=torch.int32, pin_memory=True).numpy() if on_device else None
        self._masks = MaskFiller(vocabulary.size, num_rows=max_running, buffer=buffer)
        self._on_device = on_device
        self._prepared: ScheduleBatch | None = None

    def open_row(self, req: Req) -> None:
        """Fill the row's state from the request and the tokens it has so far."""
        self._table.open_row(req)

    def close_row(self, row: int) -> None:
        """Forget the row."""
        self._table.close_row(row)

    def prepare(self, batch: ScheduleBatch) -> None:
        """Start on what does not need the logits: where a core is idle, masks are filled while the forward runs."""
        constrained = np.flatnonzero(batch.samples & (self._table.features[batch.rows] & MATCHER > 0))
        matchers = [batch.reqs[index].matcher for index in constrained.tolist()]
        beside = self._on_device or _num_cores() > torch.get_num_threads()
        self._masks.start([matcher for matcher in matchers if matcher is not None], beside=beside)
        self._prepared = batch

    def sample(self, batch: ScheduleBatch, logits: Logits) -> BatchResult:
        """Sample the rows that give a token and collect the logprobs that were asked for. Edits `logits.values`.

        A row whose logits are not numbers, or that has no legal token, gets an error; the others go on.
        """
        if self._prepared is not batch:
            self.prepare(batch)
        result = BatchResult(next_token_ids=np.full(len(batch.reqs), -1, dtype=np.int64))
        features = self._table.features[batch.rows]
        with torch.inference_mode():
            scored = np.flatnonzero(features & INPUT_LOGPROBS)
            if len(scored):
                result.input_logprobs = prompt_logprobs(batch, scored, logits.values, logits.offsets, self._vocabulary)
            sampled = np.flatnonzero(batch.samples)
            if len(sampled):
                self._sample_rows(batch, sampled, _last_rows(logits, sampled), features[sampled], result)
        self._prepared = None
        return result

    def _sample_rows(
        self,
        batch: ScheduleBatch,
        sampled: NDArray[np.intp],
        values: Tensor,
        features: NDArray[np.uint8],
        result: BatchResult,
    ) -> None:
        """Sample `values` (sampled, vocab), the logits of the batch's rows `sampled`, into `result`."""
        reqs = [batch.reqs[index] for index in sampled.tolist()]
        needed = int(np.bitwise_or.reduce(features))
        logged = np.flatnonzero(features & LOGPROBS)
        edited = needed & (PENALTIES | BIAS | MIN_TOKENS | MATCHER)
        raw = (
            values[torch.from_numpy(logged).to(values.device)] if len(logged) and (edited or needed & RANDOM) else None
        )
        failed: dict[int, RamifyError] = {}
        parts = self._edit(values, reqs, features, failed) if edited else all_columns(values)
        tokens = np.empty(len(reqs), dtype=np.int64)
        for part in parts:
            tokens[part.places] = self._choose(part, reqs, features, failed)
        if len(logged):
            logits, rows = (values, logged) if raw is None else (raw, np.arange(len(logged)))
            num_top = [reqs[place].sampling.logprobs or 0 for place in logged.tolist()]
            entries = token_logprobs(logits, rows, tokens[logged], num_top, self._vocabulary)
            result.logprobs = [None] * len(batch.reqs)
            for place, entry in zip(logged.tolist(), entries, strict=True):
                if place not in failed:
                    result.logprobs[sampled[place]] = entry
        result.next_token_ids[sampled] = tokens
        for place, error in failed.items():
            result.next_token_ids[sampled[place]] = -1
            result.errors[int(sampled[place])] = error

    def _choose(
        self, part: Columns, reqs: list[Req], features: NDArray[np.uint8], failed: dict[int, RamifyError]
    ) -> NDArray[np.int64]:
        """Return a token for each of the part's rows; adds those that have none to `failed`."""
        if part.values.device.type != "cpu":
            columns, peaks = self._choose_on_device(part, reqs, features)
        else:
            columns, peaks = self._choose_here(part, reqs, features)
        for index in np.flatnonzero(~np.isfinite(peaks)).tolist():
            place = int(part.places[index])
            failed.setdefault(place, _failure(float(peaks[index]), reqs[place]))
        return part.tokens(columns)

    def _choose_here(
        self, part: Columns, reqs: list[Req], features: NDArray[np.uint8]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return each row's column and its highest logit."""
        columns, peaks = part.best()
        is_random = (features[part.places] & RANDOM > 0) & np.isfinite(peaks)
        if part.num_legal is not None:  # where there is no choice there is nothing to draw
            is_random &= part.num_legal > 1
        random = np.flatnonzero(is_random)
        if len(random):
            chosen = [reqs[place] for place in part.places[random].tolist()]
            columns[random] = self._draw(part.take(random), chosen, peaks[random])
        return columns, peaks

    def _choose_on_device(
        self, part: Columns, reqs: list[Req], features: NDArray[np.uint8]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The same with the same uniforms, greedy rows and random ones in one launch."""
        table = self._table
        rows, uniforms = self._uniforms([reqs[place] for place in part.places.tolist()])
        temperatures = np.where(features[part.places] & RANDOM > 0, table.temperature[rows], 0.0)
        drawn = (temperatures, uniforms, table.top_k[rows], table.top_p[rows], table.min_p[rows])
        return sample_rows(part.values, part.rows, drawn)

    def _uniforms(self, reqs: list[Req]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the requests' rows in the table, and their uniform numbers for the next token."""
        rows = np.fromiter((req.row for req in reqs), dtype=np.int64)
        # the draw that heals a prompt comes before the first, so that the others are what they are without it
        positions = np.fromiter((len(req.output_ids) - (req.healing is not None) for req in reqs), dtype=np.int64)
        return rows, self._table.uniforms(rows, positions)

    def _draw(self, weights: Tensor, reqs: list[Req], peaks: NDArray[np.float32]) -> NDArray[np.int64]:
        """Draw a column for each row of the logits `weights`, whose maxima are `peaks`; overwrites `weights`."""
        table = self._table
        rows, uniforms = self._uniforms(reqs)
        temperature, peak = (
            torch.from_numpy(column).to(weights.device).unsqueeze(-1) for column in (table.temperature[rows], peaks)
        )
        # in place: another (32, 152k) tensor would cost more than the arithmetic
        weights.div_(temperature).sub_(peak / temperature).exp_()
        tokens = draw(
            weights,
            uniforms,
            top_k=table.top_k[rows],
            top_p=table.top_p[rows],
            min_p=table.min_p[rows],
        )
        return tokens.cpu().numpy()

    def _edit(
        self, values: Tensor, reqs: list[Req], features: NDArray[np.uint8], failed: dict[int, RamifyError]
    ) -> list[Columns]:
        """Apply penalties, biases and masks, in place where rows are not gathered; adds dead ends to `failed`."""
        table = self._table
        chosen = {
            bit: [(place, reqs[place]) for place in np.flatnonzero(features & bit).tolist()]
            for bit in (PENALTIES, BIAS, MIN_TOKENS)
        }
        if chosen[PENALTIES]:
            rows = np.fromiter((req.row for req in reqs), dtype=np.int64)
            self._penalise(values, table.penalty_entries(chosen[PENALTIES]), rows)
        if chosen[BIAS]:
            at, biases = _cells(table.bias_entries(chosen[BIAS]), values)
            values[at] += biases
        if chosen[MIN_TOKENS]:
            at, _ = _cells(table.barred_entries(chosen[MIN_TOKENS]), values)
            values[at] = -torch.inf
        constrained = np.flatnonzero(features & MATCHER)
        if not len(constrained):
            return all_columns(values)
        masks = self._masks.take()
        failed.update((int(constrained[index]), error) for index, error in masks.errors.items())
        return legal_columns(values, constrained, masks, self._eos_ids)

    def _penalise(self, values: Tensor, entries: Entries, rows: NDArray[np.int64]) -> None:
        """CTRL's repetition penalty (Keskar et al. 2019), then frequency and presence penalties on generated tokens."""
        at, counts = _cells(entries, values)
        cells = values[at]
        table, owners = self._table, rows[entries.rows]
        repetition, frequency, presence = (
            torch.from_numpy(column[owners]).to(values.device)
            for column in (table.repetition, table.frequency, table.presence)
        )
        cells = torch.where(cells > 0, cells / repetition, cells * repetition)
        values[at] = cells - (frequency * counts + presence * (counts > 0))


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _last_rows(logits: Logits, sampled: NDArray[np.intp]) -> Tensor:
    """Return (sampled, vocab) the logits of each row's last position; the tensor itself when that is all of it."""
    last = logits.offsets[sampled + 1] - 1
    if len(last) == len(logits.values):
        return logits.values
    return logits.values[torch.from_numpy(last).to(logits.values.device)]


def _cells(entries: Entries, values: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Return the index of the entries' cells in `values`, and their values on its device."""
    rows, ids, numbers = (
        torch.from_numpy(part).to(values.device) for part in (entries.rows, entries.ids, entries.values)
    )
    return (rows, ids), numbers


def _failure(peak: float, req: Req) -> RamifyError:
    if peak == -np.inf:
        reason = " (min_tokens bars the end of the text)" if len(req.output_ids) < req.sampling.min_tokens else ""
        return DeadEndError(f"no token is legal here{reason}: constraint and logit_bias forbid all of them")
    return RequestError(
        f"the model gave logits that are not finite numbers ({peak}) after {req.num_tokens} tokens; check the weights, "
        "or use dtype='float32'"
    )
