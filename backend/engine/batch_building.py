"""Turns planned rows into the `ScheduleBatch` of one forward. Pure functions over numpy, no torch.

Called by the scheduler.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .admission import Extension
from .batch import ScheduleBatch
from .memory import Int64
from .running_batch import RunningBatch


def prefill_batch(extensions: Sequence[Extension]) -> ScheduleBatch:
    """Rows that compute a prompt, or a chunk of one: in admission order, so that a row comes after those it shares."""
    reqs = [extension.req for extension in extensions]
    ends = [req.prefix_len + req.extend_len for req in reqs]
    ids = [req.token_array()[req.prefix_len : end] for req, end in zip(reqs, ends, strict=True)]
    samples = [end == req.num_tokens and req.max_new_tokens > 0 for req, end in zip(reqs, ends, strict=True)]
    return ScheduleBatch(
        reqs=reqs,
        rows=np.array([req.row for req in reqs], dtype=np.int64),
        prefix_lens=np.array([req.prefix_len for req in reqs], dtype=np.int64),
        extend_lens=np.array([req.extend_len for req in reqs], dtype=np.int64),
        input_ids=np.concatenate(ids).astype(np.int64),
        out_cache_loc=np.concatenate([extension.slots for extension in extensions]),
        samples=np.array(samples, dtype=np.bool_),
        num_prefill=len(reqs),
    )


def decode_batch(running: RunningBatch, slots: Int64) -> ScheduleBatch:
    """The next token of every running row, and of the forced ones after it what `running.extend_lens` says.

    `slots` (tokens,) receive their KV. A row that has more forced tokens than that gives no token yet.
    """
    return ScheduleBatch(
        reqs=running.reqs,
        rows=running.rows,
        prefix_lens=running.seq_lens,
        extend_lens=running.extend_lens,
        input_ids=_with_runs(running) if running.has_runs else running.next_tokens,
        out_cache_loc=slots,
        samples=running.extend_lens > running.num_ahead,
    )


def _with_runs(running: RunningBatch) -> Int64:
    """(tokens,) each row's next token, followed by its forced tokens as far as they are computed now."""
    starts = np.cumsum(running.extend_lens) - running.extend_lens
    ids = np.empty(int(running.extend_lens.sum()), dtype=np.int64)
    ids[starts] = running.next_tokens
    for index in np.flatnonzero(running.extend_lens > 1).tolist():
        req, start, count = running.reqs[index], int(starts[index]), int(running.extend_lens[index])
        first = int(running.seq_lens[index])  # a healed prompt's last token, or one of the output
        ids[start : start + count] = req.token_array()[first : first + count]
    return ids


def mixed_batch(prefill: ScheduleBatch, decode: ScheduleBatch) -> ScheduleBatch:
    """One forward for prefill rows and decode rows, in this order."""
    return ScheduleBatch(
        reqs=prefill.reqs + decode.reqs,
        rows=np.concatenate([prefill.rows, decode.rows]),
        prefix_lens=np.concatenate([prefill.prefix_lens, decode.prefix_lens]),
        extend_lens=np.concatenate([prefill.extend_lens, decode.extend_lens]),
        input_ids=np.concatenate([prefill.input_ids, decode.input_ids]),
        out_cache_loc=np.concatenate([prefill.out_cache_loc, decode.out_cache_loc]),
        samples=np.concatenate([prefill.samples, decode.samples]),
        num_prefill=prefill.num_prefill,
    )
