"""`SamplingTable`: how every row of the engine samples, as arrays indexed by `req.row`.

Plain numpy; knows nothing of logits. Written when a row opens, read for each step's batch by the sampler.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...lang.sampling import Sampling
from .req import Req

_UINT64 = np.uint64
_GOLDEN = _UINT64(0x9E3779B97F4A7C15)
_MASK_64 = (1 << 64) - 1

# What a row needs beyond the argmax; a row with none of these costs nothing but its share of the argmax.
RANDOM, PENALTIES, BIAS, MIN_TOKENS, MATCHER, LOGPROBS, INPUT_LOGPROBS = (1 << bit for bit in range(7))


@dataclass(frozen=True, slots=True, eq=False)
class Entries:
    """Sparse cells of a (batch, vocabulary) matrix: `rows[i]`, `ids[i]`, and for each a value or count."""

    rows: NDArray[np.int64]
    ids: NDArray[np.int64]
    values: NDArray[np.float32]


class TokenCounts:
    """The distinct tokens of one sequence: how often each was generated; the prompt's too, if wanted, counted zero."""

    def __init__(self, prompt_ids: list[int]) -> None:
        unique = np.unique(np.asarray(prompt_ids, dtype=np.int64))
        self._num = len(unique)
        self._ids = np.zeros(max(64, 2 * self._num), dtype=np.int64)
        self._ids[: self._num] = unique
        self._counts = np.zeros(len(self._ids), dtype=np.float32)
        self._place = {int(token_id): place for place, token_id in enumerate(unique)}
        self._num_consumed = 0

    @property
    def ids(self) -> NDArray[np.int64]:
        """(distinct,) the token ids."""
        return self._ids[: self._num]

    @property
    def counts(self) -> NDArray[np.float32]:
        """(distinct,) how often each was generated."""
        return self._counts[: self._num]

    def catch_up(self, output_ids: list[int]) -> None:
        """Count the output tokens that were not counted yet."""
        for token_id in output_ids[self._num_consumed :]:
            place = self._place.get(token_id)
            if place is None:
                place = self._place[token_id] = self._num
                if place == len(self._ids):
                    self._ids = np.concatenate([self._ids, np.zeros_like(self._ids)])
                    self._counts = np.concatenate([self._counts, np.zeros_like(self._counts)])
                self._ids[place] = token_id
                self._num += 1
            self._counts[place] += 1
        self._num_consumed = len(output_ids)


class SamplingTable:
    """`num_rows` rows of sampling parameters; row 0 is padding. `features` says what a row needs (bits above)."""

    def __init__(self, num_rows: int) -> None:
        self.features = np.zeros(num_rows, dtype=np.uint8)
        self.temperature = np.ones(num_rows, dtype=np.float32)
        self.top_k = np.zeros(num_rows, dtype=np.int64)
        self.top_p = np.ones(num_rows, dtype=np.float64)
        self.min_p = np.zeros(num_rows, dtype=np.float32)
        self.seed = np.zeros(num_rows, dtype=_UINT64)
        self.repetition = np.ones(num_rows, dtype=np.float32)
        self.frequency = np.zeros(num_rows, dtype=np.float32)
        self.presence = np.zeros(num_rows, dtype=np.float32)
        self._counts: dict[int, TokenCounts] = {}
        self._bias: dict[int, tuple[NDArray[np.int64], NDArray[np.float32]]] = {}
        self._stop_ids: dict[int, NDArray[np.int64]] = {}

    def open_row(self, req: Req) -> None:
        """Fill `req.row`; after a retraction the counts are rebuilt from the tokens so far."""
        row, sampling = req.row, req.sampling
        self.close_row(row)
        self.features[row] = _features(req)
        self.temperature[row] = sampling.temperature
        self.top_k[row] = max(0, sampling.top_k)
        self.top_p[row] = sampling.top_p
        self.min_p[row] = sampling.min_p
        self.seed[row] = (sampling.seed or 0) & _MASK_64
        self.repetition[row] = sampling.repetition_penalty
        self.frequency[row] = sampling.frequency_penalty
        self.presence[row] = sampling.presence_penalty
        if self.features[row] & PENALTIES:
            self._counts[row] = TokenCounts(req.origin_input_ids if sampling.repetition_penalty != 1.0 else [])
            self._counts[row].catch_up(req.output_ids)
        if self.features[row] & BIAS:
            merged: dict[int, float] = {}
            for token_id, bias in sampling.logit_bias:
                merged[token_id] = merged.get(token_id, 0.0) + bias
            self._bias[row] = (
                np.fromiter(merged.keys(), dtype=np.int64),
                np.fromiter(merged.values(), dtype=np.float32),
            )
        if self.features[row] & MIN_TOKENS:
            self._stop_ids[row] = np.asarray(sorted(req.stop_token_ids), dtype=np.int64)

    def close_row(self, row: int) -> None:
        """Forget the row."""
        self.features[row] = 0
        self._counts.pop(row, None)
        self._bias.pop(row, None)
        self._stop_ids.pop(row, None)

    def uniforms(self, rows: NDArray[np.int64], positions: NDArray[np.int64]) -> NDArray[np.float64]:
        """(batch,) one number in [0, 1) for each row, decided by its seed and the number of its output tokens only."""
        with np.errstate(over="ignore"):
            bits = _mix(_mix(self.seed[rows] + _GOLDEN) + (positions.astype(_UINT64) + _UINT64(1)) * _GOLDEN)
        return (bits >> _UINT64(11)).astype(np.float64) * 2.0**-53

    def penalty_entries(self, batch: list[tuple[int, Req]]) -> Entries:
        """Tokens that penalties touch, with their generated counts, for (batch index, request) pairs."""
        parts = []
        for index, req in batch:
            counts = self._counts[req.row]
            counts.catch_up(req.output_ids)
            parts.append((index, counts.ids, counts.counts))
        return _entries(parts)

    def bias_entries(self, batch: list[tuple[int, Req]]) -> Entries:
        """Tokens that `logit_bias` touches, with their biases."""
        return _entries([(index, *self._bias[req.row]) for index, req in batch])

    def barred_entries(self, batch: list[tuple[int, Req]]) -> Entries:
        """Tokens that would end a sequence which is still shorter than its `min_tokens`."""
        parts = []
        for index, req in batch:
            if len(req.output_ids) < req.sampling.min_tokens:
                ids = self._stop_ids[req.row]
                parts.append((index, ids, np.zeros(len(ids), dtype=np.float32)))
        return _entries(parts)


def derive_seed(seed: int, index: int) -> int:
    """Return the seed of sample `index` of a request: its own for the first, a hash of both for the others."""
    if index == 0:
        return seed
    with np.errstate(over="ignore"):
        return int(_mix(_mix(np.array([seed & _MASK_64], dtype=_UINT64)) + _UINT64(index) * _GOLDEN)[0])


def _features(req: Req) -> int:
    sampling: Sampling = req.sampling
    penalties = sampling.repetition_penalty != 1 or sampling.frequency_penalty != 0 or sampling.presence_penalty != 0
    needed = (
        (RANDOM, not sampling.is_greedy),
        (PENALTIES, penalties),
        (BIAS, bool(sampling.logit_bias)),
        (MIN_TOKENS, sampling.min_tokens > 0 and bool(req.stop_token_ids)),
        (MATCHER, req.matcher is not None),
        (LOGPROBS, sampling.logprobs is not None),
        (INPUT_LOGPROBS, req.logprob_start_len is not None),
    )
    return sum(bit for bit, wanted in needed if wanted)


def _entries(parts: list[tuple[int, NDArray[np.int64], NDArray[np.float32]]]) -> Entries:
    if not parts:
        return Entries(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    rows = np.repeat([index for index, _, _ in parts], [len(ids) for _, ids, _ in parts])
    return Entries(rows, np.concatenate([ids for _, ids, _ in parts]), np.concatenate([part[2] for part in parts]))


def _mix(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Finish a 64-bit hash (the mixer of splitmix64, Steele, Lea and Flood 2014)."""
    bits = (bits ^ (bits >> _UINT64(30))) * _UINT64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> _UINT64(27))) * _UINT64(0x94D049BB133111EB)
    return bits ^ (bits >> _UINT64(31))
