"""`ScheduleBatch` and `BatchResult`: what the scheduler hands to a worker for one forward, and what comes back.

Plain numpy, no torch: the scheduler and its tests run without a model. A batch is ragged: row i computes
`extend_lens[i]` new tokens after `prefix_lens[i]` tokens whose KV is in the pool (or is written by an earlier row of
this same forward). Decode is the case where every extend length is 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...lang.errors import RamifyError
from ..api import TokenLogprob
from .req import Req

Int64 = NDArray[np.int64]


@dataclass(slots=True, eq=False)
class ScheduleBatch:
    """One forward. Flat token arrays are in row order; the arrays are never changed once the batch is launched."""

    reqs: list[Req]
    rows: Int64  # (batch,) row of each request in ReqToTokenPool
    prefix_lens: Int64  # (batch,)
    extend_lens: Int64  # (batch,)
    input_ids: Int64  # (tokens,) tokens to compute
    # (tokens,) slots their KV goes to; 0 (the dummy slot) where the tree already holds the token's KV and only its
    # logits are wanted: the row's table then points at the tree's slot, and the forward reads that one
    out_cache_loc: Int64
    # (batch,) True where the row's last logits give a token: false for middle chunks and for pure scoring
    samples: NDArray[np.bool_]
    num_prefill: int = 0  # rows [0, num_prefill) prefill, in admission order; the rest decode

    @property
    def is_decode(self) -> bool:
        """True when every row computes exactly one token."""
        return len(self.input_ids) == len(self.reqs)

    @property
    def seq_lens(self) -> Int64:
        """(batch,) tokens of each row after this forward."""
        return self.prefix_lens + self.extend_lens

    def logprob_span(self, index: int) -> range:
        """Prompt positions whose logprobs this forward yields for row `index`: `BatchResult.input_logprobs` in order.

        Position t is predicted by the logits of t - 1, so the span ends one token after the row's last computed token
        (its id is in `req.origin_input_ids`). Position 0 has no predictor: its entry has `logprob=None`.
        """
        req = self.reqs[index]
        if req.logprob_start_len is None:
            return range(0)
        prefix_len = int(self.prefix_lens[index])
        first = max(req.logprob_start_len, prefix_len + 1) if prefix_len else req.logprob_start_len
        return range(first, min(prefix_len + int(self.extend_lens[index]) + 1, len(req.origin_input_ids)))


@dataclass(slots=True, eq=False)
class BatchResult:
    """What one forward produced, row by row, in the order of the batch's `reqs`."""

    next_token_ids: Int64  # (batch,) sampled token, -1 where `samples` is false or the row failed
    logprobs: list[TokenLogprob | None] | None = None  # of the sampled tokens, where the request asks for them
    # row index -> logprobs of the prompt positions in `batch.logprob_span(index)`, for rows with logprob_start_len
    input_logprobs: dict[int, list[TokenLogprob]] = field(default_factory=dict)
    errors: dict[int, RamifyError] = field(default_factory=dict)  # row index -> why this row cannot go on


class Worker(Protocol):
    """Runs forwards: the real `ModelWorker`, or a token oracle in tests."""

    def open_row(self, req: Req) -> None:
        """A request was given `req.row`: set up its sampling state (also after retraction, from `output_ids`)."""
        ...

    def close_row(self, row: int) -> None:
        """The row was freed; also called when `open_row` raised for it."""
        ...

    def forward(self, batch: ScheduleBatch) -> BatchResult:
        """Compute the batch, write its KV, sample. Raises only when the whole forward failed."""
        ...
