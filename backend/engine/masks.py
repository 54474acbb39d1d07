"""`MaskFiller`: the masks of a batch's constrained rows, filled beside the forward where a core is idle.

Knows matchers and the words of masks; nothing of logits. Called by the sampler, on the engine's thread.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...lang.errors import PluginError, RamifyError
from .grammar.api import MaskRow, Matcher, num_mask_words

FEW = 4096  # legal tokens; up to so many are gathered from a long row instead of masking it
LONG_ROW = 16_384  # tokens; masking and drawing from a shorter row costs less than finding out what is legal in it

# A step whose masks took longer than this is worth waking a thread for the next one's.
WORTH_A_THREAD = 150e-6


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """What the constrained rows of one batch may sample next, row by row.

    - `words`: (rows, words) int32, the packed masks; part of the filler's buffer, good until the next `start`.
    - `few`: each row's legal tokens, ascending, where they are few in a long vocabulary; None where they are not.
    - `can_stop`: whether the row's text is whole. `errors`: why rows cannot go on; these are not masked.
    """

    words: NDArray[np.int32]
    few: list[NDArray[np.int64] | None]
    can_stop: list[bool]
    errors: dict[int, RamifyError]


class MaskFiller:
    """Fills up to `num_rows` masks for a vocabulary of `num_tokens`, into `buffer` if given (one that is pinned)."""

    def __init__(self, num_tokens: int, *, num_rows: int, buffer: MaskRow | None = None) -> None:
        self._words = np.empty((num_rows, num_mask_words(num_tokens)), dtype=np.int32) if buffer is None else buffer
        self._is_long = num_tokens > LONG_ROW
        self._executor: ThreadPoolExecutor | None = None
        self._matchers: Sequence[Matcher] = ()
        self._pending: Future[Masks] | None = None
        self._seconds = 1.0  # that the last masks took

    def start(self, matchers: Sequence[Matcher], *, beside: bool) -> None:
        """Begin to fill one mask for each of `matchers`, which nobody may touch until `take`.

        `beside`: a core is idle while the forward runs. Otherwise they are filled by `take`: a thread that competes
        with the forward makes a step up to 7 % slower (two cores, two threads, batch 32).
        """
        self.finish()
        self._matchers = matchers
        if matchers and beside and self._seconds > WORTH_A_THREAD:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(1, "ramify-masks")
            self._pending = self._executor.submit(self._fill_all)

    def take(self) -> Masks:
        """Return the masks of the last `start`, in its order."""
        return self._fill_all() if self._pending is None else self._pending.result()

    def finish(self) -> None:
        """Wait for what was started and forget it: its forward failed, or it was taken."""
        if self._pending is not None:
            self._pending.exception()
            self._pending = None
        self._matchers = ()

    def _fill_all(self) -> Masks:
        start = time.perf_counter()
        count = len(self._matchers)
        masks = Masks(self._words[:count], [None] * count, [False] * count, {})
        for index, matcher in enumerate(self._matchers):
            row = masks.words[index]
            error = _fill(matcher, row)
            if error is not None:
                masks.errors[index] = error
                continue
            masks.can_stop[index] = matcher.can_stop
            if self._is_long:
                masks.few[index] = _few_tokens(row)
        self._seconds = time.perf_counter() - start
        return masks


def _fill(matcher: Matcher, row: MaskRow) -> RamifyError | None:
    """Fill one mask; where that fails, allow everything and return why."""
    try:
        matcher.fill_mask(row)
        return None
    except RamifyError as error:
        row[:] = -1
        return error
    # A plugin is not ours: whatever it raises belongs to the one request that it failed.
    except Exception as error:  # noqa: BLE001
        row[:] = -1
        failure = PluginError(f"the grammar plugin failed to fill a mask: {type(error).__name__}: {error}")
        failure.__cause__ = error
        return failure


def _few_tokens(row: MaskRow) -> NDArray[np.int64] | None:
    """(legal,) the tokens of a mask, or None when they are more than `FEW`."""
    if int(np.bitwise_count(row.view(np.uint32)).sum()) > FEW:
        return None
    words = np.flatnonzero(row)
    bits = np.flatnonzero(np.unpackbits(row[words].view(np.uint8), bitorder="little"))
    tokens: NDArray[np.int64] = words[bits >> 5] * 32 + (bits & 31)
    return tokens
