"""`RunningBatch`: the requests that decode, as parallel arrays that the next forward is built from. No torch.

Arrays are replaced, never changed in place, because a launched forward may still read them. Called by the scheduler.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .memory import Int64, TokenToKVPoolAllocator
from .req import Req

_EMPTY: Int64 = np.empty(0, dtype=np.int64)


class RunningBatch:
    """Row i: `reqs[i]`, its table row, the tokens whose KV is written, the next token to compute, its limit.

    Most rows have one token to compute, the one sampled last. `num_ahead` counts the forced tokens after it, which are
    known already and computed along with it: `extend_lens` says how many of all these the next forward takes.
    """

    def __init__(self) -> None:
        self.reqs: list[Req] = []
        self.rows: Int64 = _EMPTY
        self.seq_lens: Int64 = _EMPTY  # (batch,) tokens with KV; also the position of the next token
        self.next_tokens: Int64 = _EMPTY
        self.num_ahead: Int64 = _EMPTY
        self.extend_lens: Int64 = _EMPTY
        self.limits: Int64 = _EMPTY  # (batch,) most tokens the request can have: prompt + max_new_tokens
        self.has_runs = False  # whether any `num_ahead` is not 0

    def __len__(self) -> int:
        return len(self.reqs)

    def filter_batch(self) -> None:
        """Drop requests that have ended or were retracted."""
        keep = [index for index, req in enumerate(self.reqs) if req.row > 0]
        if len(keep) == len(self.reqs):
            return
        chosen = np.array(keep, dtype=np.int64)
        self.reqs = [self.reqs[index] for index in keep]
        self.rows, self.seq_lens = self.rows[chosen], self.seq_lens[chosen]
        self.next_tokens, self.limits = self.next_tokens[chosen], self.limits[chosen]
        self._set_runs(self.num_ahead[chosen])

    def merge_batch(self, reqs: Sequence[Req]) -> None:
        """Add requests whose prompt is computed and whose first token is sampled; filter first."""
        if not reqs:
            return
        self.reqs = [*self.reqs, *reqs]
        self.rows = _append(self.rows, [req.row for req in reqs])
        self.seq_lens = _append(self.seq_lens, [req.prefix_len for req in reqs])
        self.next_tokens = _append(self.next_tokens, [req.token_at(req.prefix_len) for req in reqs])
        self.limits = _append(self.limits, [len(req.origin_input_ids) + req.max_new_tokens for req in reqs])
        self._set_runs(_append(self.num_ahead, [req.num_tokens - req.prefix_len - 1 for req in reqs]))

    def plan_runs(self, allocator: TokenToKVPoolAllocator, *, room: int, budget: int) -> int:
        """Set `extend_lens`: one token a row, and of the forced tokens what fits; returns the tokens these take.

        `room`: tokens of memory left when every row has one more. `budget`: most forced tokens of this forward.
        """
        self.extend_lens = np.ones(len(self.reqs), dtype=np.int64)
        if not self.has_runs:
            return 0
        page_size, taken = allocator.page_size, 0
        for index in np.flatnonzero(self.num_ahead).tolist():
            start = int(self.seq_lens[index]) + 1
            most = -(-start // page_size) * page_size + (room - taken) // page_size * page_size
            end = min(start + min(int(self.num_ahead[index]), budget), most)
            taken += allocator.tokens_needed(start, end)
            budget -= end - start
            self.extend_lens[index] += end - start
        return taken

    def advance(self, sampled: Int64) -> None:
        """Every row computed its `extend_lens`; `sampled` (batch,) are the new tokens, -1 for rows not there yet."""
        self.seq_lens = self.seq_lens + self.extend_lens
        self.next_tokens = sampled
        if not self.has_runs:
            return
        left = self.num_ahead + 1 - self.extend_lens
        behind = np.flatnonzero(left > 0).tolist()
        if behind:
            self.next_tokens = sampled.copy()
            for index in behind:
                self.next_tokens[index] = self.reqs[index].token_at(int(self.seq_lens[index]))
        self._set_runs(np.maximum(left - 1, 0))

    def add_runs(self, runs: Mapping[int, int]) -> None:
        """Rows (by index) got so many forced tokens after the token they just sampled."""
        if runs:
            num_ahead = self.num_ahead.copy()
            num_ahead[list(runs)] = list(runs.values())
            self._set_runs(num_ahead)

    def num_expected(self, clip: int) -> int:
        """Slots that the rows may still take, at most `clip` each; a last token never gets one."""
        return int(np.minimum(self.limits - self.seq_lens - 1, clip).sum())

    def check(self) -> None:
        """Assert that the arrays say what the requests say (but for requests that the next filter drops)."""
        for index, req in enumerate(self.reqs):
            if req.row > 0:
                assert self.rows[index] == req.row, "a row differs"
                assert self.seq_lens[index] == req.prefix_len, "a length differs"
                known = self.seq_lens[index] + 1 + self.num_ahead[index]
                assert known == req.num_tokens, "the last sampled token and what is forced after it must have no KV yet"
                assert self.next_tokens[index] == req.token_at(req.prefix_len), "a next token differs"

    def _set_runs(self, num_ahead: Int64) -> None:
        self.num_ahead = num_ahead
        self.has_runs = bool(num_ahead.any())


def _append(values: Int64, more: list[int]) -> Int64:
    return np.concatenate([values, np.array(more, dtype=np.int64)])
