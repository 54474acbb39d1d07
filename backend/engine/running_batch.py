"""`RunningBatch`: the requests that decode, as parallel arrays that the next forward is built from. No torch.

Arrays are replaced, never changed in place, because a launched forward may still read them. Called by the scheduler.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .memory import Int64
from .req import Req

_EMPTY: Int64 = np.empty(0, dtype=np.int64)


class RunningBatch:
    """Row i: `reqs[i]`, its table row, the tokens whose KV is written, its last token (not yet computed), its limit."""

    def __init__(self) -> None:
        self.reqs: list[Req] = []
        self.rows: Int64 = _EMPTY
        self.seq_lens: Int64 = _EMPTY  # (batch,) tokens with KV; also the position of the last token
        self.last_tokens: Int64 = _EMPTY
        self.limits: Int64 = _EMPTY  # (batch,) most tokens the request can have: prompt + max_new_tokens

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
        self.last_tokens, self.limits = self.last_tokens[chosen], self.limits[chosen]

    def merge_batch(self, reqs: Sequence[Req]) -> None:
        """Add requests whose prompt is computed and whose first token is sampled; filter first."""
        if not reqs:
            return
        self.reqs = [*self.reqs, *reqs]
        self.rows = _append(self.rows, [req.row for req in reqs])
        self.seq_lens = _append(self.seq_lens, [req.prefix_len for req in reqs])
        self.last_tokens = _append(self.last_tokens, [req.output_ids[-1] for req in reqs])
        self.limits = _append(self.limits, [len(req.origin_input_ids) + req.max_new_tokens for req in reqs])

    def advance(self, next_tokens: Int64) -> None:
        """Every row got its next token (batch,); the KV of the one before is written."""
        self.seq_lens = self.seq_lens + 1
        self.last_tokens = next_tokens

    def num_expected(self, clip: int) -> int:
        """Slots that the rows may still take, at most `clip` each; a last token never gets one."""
        return int(np.minimum(self.limits - self.seq_lens - 1, clip).sum())

    def check(self) -> None:
        """Assert that the arrays say what the requests say (but for requests that the next filter drops)."""
        for index, req in enumerate(self.reqs):
            if req.row > 0:
                assert self.rows[index] == req.row, "a row differs"
                assert self.seq_lens[index] == req.prefix_len, "a length differs"
                assert self.seq_lens[index] == req.num_tokens - 1, "the last token must have no KV yet"
                assert self.last_tokens[index] == req.output_ids[-1], "a last token differs"


def _append(values: Int64, more: list[int]) -> Int64:
    return np.concatenate([values, np.array(more, dtype=np.int64)])
