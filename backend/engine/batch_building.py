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
    """One more token for every running row; `slots` (batch,) receive the KV of their last tokens."""
    return ScheduleBatch(
        reqs=running.reqs,
        rows=running.rows,
        prefix_lens=running.seq_lens,
        extend_lens=np.ones(len(running), dtype=np.int64),
        input_ids=running.last_tokens,
        out_cache_loc=slots,
        samples=np.ones(len(running), dtype=np.bool_),
    )


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
