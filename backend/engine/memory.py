"""Index memory of the engine: which row a request has, and which KV slots are free. Numbers only, no tensors, no torch.

`ReqToTokenPool` maps (row, position) to a slot; `TokenToKVPoolAllocator` hands out slots. Called by `kv_manager.py`;
workers read the table. Row 0 and page 0 are dummies that padding may write to.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]


class ReqToTokenPool:
    """Rows of the table `req_to_token` (max_running + 1, max_context) int32: the slot of every token of a request."""

    def __init__(self, max_running: int, max_context: int) -> None:
        self.req_to_token: NDArray[np.int32] = np.zeros((max_running + 1, max_context), dtype=np.int32)
        self._free = list(range(max_running, 0, -1))

    @property
    def max_running(self) -> int:
        """Rows that requests can have."""
        return len(self.req_to_token) - 1

    @property
    def max_context(self) -> int:
        """Longest sequence, in tokens."""
        return int(self.req_to_token.shape[1])

    @property
    def num_free(self) -> int:
        """Rows that no request has."""
        return len(self._free)

    def alloc(self) -> int:
        """Take a free row (1 .. max_running); the caller has checked `num_free`."""
        return self._free.pop()

    def free(self, row: int) -> None:
        """Give a row back."""
        assert 0 < row <= self.max_running and row not in self._free, f"row {row} freed twice or never allocated"
        self._free.append(row)

    def check(self, used: set[int]) -> None:
        """Assert that the free rows and `used` together are every row, each once."""
        free = set(self._free)
        assert len(free) == len(self._free), "a row is free twice"
        assert not free & used, f"rows {free & used} are both free and used"
        assert free | used == set(range(1, self.max_running + 1)), "a row is lost"


class TokenToKVPoolAllocator:
    """Free KV slots, in pages of `page_size`; page 0 is a dummy, so slots run from page_size to num_slots - 1.

    Freed pages are collected and sorted only when the sorted ones run out, so most allocations are one ascending run.
    """

    def __init__(self, max_total_tokens: int, page_size: int = 1) -> None:
        self.page_size = page_size
        self.num_pages = max_total_tokens // page_size
        self._sorted: Int64 = np.arange(1, self.num_pages + 1, dtype=np.int64)
        self._released: list[Int64] = []
        self._num_released = 0
        self._is_free = np.ones(self.num_pages + 1, dtype=np.bool_)
        self._is_free[0] = False

    @property
    def total(self) -> int:
        """Tokens that fit in all."""
        return self.num_pages * self.page_size

    @property
    def num_slots(self) -> int:
        """Slots of the KV pool, the dummy page included."""
        return (self.num_pages + 1) * self.page_size

    @property
    def available(self) -> int:
        """Tokens of free pages."""
        return (len(self._sorted) + self._num_released) * self.page_size

    def tokens_needed(self, start: int, end: int) -> int:
        """Free tokens that positions [start, end) of one sequence take, whole pages counted."""
        return (-(-end // self.page_size) + -start // self.page_size) * self.page_size if end > start else 0

    def alloc_pages(self, num_pages: int) -> Int64:
        """Take `num_pages` page ids, ascending where that is cheap; the caller has checked `available`."""
        if num_pages > len(self._sorted):
            self._sorted = np.sort(np.concatenate([self._sorted, *self._released]))
            self._released, self._num_released = [], 0
        assert num_pages <= len(self._sorted), "more pages asked for than are free"
        pages, self._sorted = self._sorted[:num_pages], self._sorted[num_pages:]
        self._is_free[pages] = False
        return pages

    def extend(self, last_slot: int, start: int, end: int) -> Int64:
        """Slots (end - start,) for positions [start, end) of one sequence.

        `last_slot` is the slot of position start - 1; its page is filled first where `start` is inside a page.
        """
        if self.page_size == 1:
            return self.alloc_pages(end - start)
        in_page = min(-start % self.page_size, end - start)
        head = np.arange(last_slot + 1, last_slot + 1 + in_page, dtype=np.int64)
        pages = self.alloc_pages(self.tokens_needed(start, end) // self.page_size)
        tail = (pages[:, None] * self.page_size + np.arange(self.page_size)).reshape(-1)
        return np.concatenate([head, tail[: end - start - in_page]])

    def decode_tokens_needed(self, positions: Int64) -> int:
        """Free tokens that one more token per sequence takes, at `positions` (batch,)."""
        if self.page_size == 1:
            return len(positions)
        return int(np.count_nonzero(positions % self.page_size == 0)) * self.page_size

    def decode(self, last_slots: Int64, positions: Int64) -> Int64:
        """One slot per sequence (batch,) for its next position; `last_slots` are those of positions - 1."""
        if self.page_size == 1:
            return self.alloc_pages(len(positions))
        opens_page = positions % self.page_size == 0
        slots = last_slots + 1
        slots[opens_page] = self.alloc_pages(int(np.count_nonzero(opens_page))) * self.page_size
        return slots

    def free(self, slots: NDArray[np.integer]) -> None:
        """Give back the pages of `slots`: consecutive positions from a page boundary; the last page may be partial."""
        if not len(slots):
            return
        pages = slots[:: self.page_size].astype(np.int64) // self.page_size
        assert not self._is_free[pages].any() and pages.min() > 0, "a slot was freed twice, or the dummy was freed"
        self._is_free[pages] = True
        self._released.append(pages)
        self._num_released += len(pages)

    def free_slots(self) -> Int64:
        """All free slots, for `check` of the ownership."""
        pages = np.concatenate([self._sorted, *self._released])
        return np.asarray((pages[:, None] * self.page_size + np.arange(self.page_size)).reshape(-1))

    def check(self) -> None:
        """Recount the free pages from scratch."""
        pages = np.concatenate([self._sorted, *self._released])
        assert len(pages) == len(np.unique(pages)), "a page is free twice"
        assert len(pages) * self.page_size == self.available, "the number of free pages is wrong"
        assert np.array_equal(np.sort(pages), np.flatnonzero(self._is_free)), "free pages and their marks differ"
