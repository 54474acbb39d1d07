"""Who owns which KV slot: the only code that moves slots between the allocator, requests and the prefix tree. No torch.

Region map of a request's row: [0, cache_protected_len) tree | [cache_protected_len, allocated) request | unused.
Called by the scheduler and its collaborators, on the engine thread.
"""

from __future__ import annotations

import numpy as np

from .memory import Int64, ReqToTokenPool, TokenToKVPoolAllocator
from .radix_cache import Match, RadixCache, TreeNode
from .req import Req
from .tree_cache import NullCache, TreeCache


class KVManager:
    """Rows, slots and the prefix tree, kept consistent with the memory fields of every `Req`."""

    def __init__(self, pool: ReqToTokenPool, allocator: TokenToKVPoolAllocator, tree_cache: TreeCache) -> None:
        self.pool = pool
        self.allocator = allocator
        self.tree_cache = tree_cache

    @classmethod
    def create(
        cls, *, max_running: int, max_context: int, max_total_tokens: int, page_size: int = 1, radix_cache: bool = True
    ) -> KVManager:
        """Make the pools and the tree. `allocator.num_slots` is the size of the worker's KV pool."""
        return cls(
            ReqToTokenPool(max_running, max_context),
            TokenToKVPoolAllocator(max_total_tokens, page_size),
            RadixCache(page_size) if radix_cache else NullCache(),
        )

    @property
    def obtainable(self) -> int:
        """Tokens that can be allocated, evicting what nobody uses."""
        return self.allocator.available + self.tree_cache.evictable_size

    def cached_len(self, req: Req) -> int:
        """Tokens of `req` whose KV is in the cache."""
        return self.tree_cache.match_len(req.token_array()[: req.num_to_compute], req.cache_salt)

    def open(self, req: Req, match: Match) -> None:
        """Give `req` a row that starts with the slots of `match`, whose node the caller has locked for it."""
        req.row = self.pool.alloc()
        req.last_node, req.cache_protected_len, req.prefix_len = match.node, match.length, 0
        self.pool.req_to_token[req.row, : match.length] = match.slots

    def tokens_needed(self, req: Req, end: int) -> int:
        """Free tokens that `extend(req, end)` takes."""
        return self.allocator.tokens_needed(max(req.cache_protected_len, req.prefix_len), end)

    def adopt(self, req: Req) -> int:
        """Take over what other requests cached of `req`'s tokens since its last chunk; returns the tokens saved.

        A middle chunk ends at a page boundary, so the tree has all that the request computed: nothing is in double.
        """
        before, old_node = req.prefix_len, req.last_node
        assert old_node is not None
        match = self.tree_cache.match_prefix(req.token_array()[: req.num_to_compute], req.cache_salt)
        if match.length <= req.cache_protected_len:
            return 0
        self.tree_cache.lock(match.node)
        self.tree_cache.unlock(old_node)
        assert before <= req.cache_protected_len, "a middle chunk has KV of its own"
        self.pool.req_to_token[req.row, : match.length] = match.slots
        req.last_node, req.cache_protected_len = match.node, match.length
        req.prefix_len = max(before, min(match.length, req.max_prefix_len))
        return req.prefix_len - before

    def extend(self, req: Req, end: int) -> tuple[Int64, int]:
        """Allocate for positions [prefix_len, end), evicting as needed, and put them into the tree before the forward.

        That lets rows planned later share them, in this very forward: a layer writes all its KV before it reads any.
        Returns the slots (end - prefix_len,) to write to, 0 where the tree has the token already, and the position
        from which on the tree's nodes depend on this forward (for `discard`).
        """
        start, row = req.prefix_len, self.pool.req_to_token[req.row]
        first = max(req.cache_protected_len, start)
        slots = np.zeros(end - start, dtype=np.int64)
        if end > first:
            self._make_room(self.allocator.tokens_needed(first, end))
            new = self.allocator.extend(int(row[first - 1]) if first else 0, first, end)
            slots[first - start :] = new
            row[first:end] = new
        protected = req.cache_protected_len
        if end > protected:
            inserted = self.tree_cache.insert(req.token_array()[:end], req.cache_salt, row[:end])
            assert inserted.num_existing <= protected, "the tree changed between match and insert"
            assert req.last_node is not None
            self.tree_cache.lock(inserted.node)
            self.tree_cache.unlock(req.last_node)
            req.last_node, req.cache_protected_len = inserted.node, max(protected, inserted.num_owned)
        return slots, protected

    def decode(self, rows: Int64, positions: Int64, extend_lens: Int64) -> Int64:
        """Allocate slots (tokens,) for `extend_lens[i]` tokens of `rows[i]` from `positions[i]` on.

        They belong to the requests until these are released. The caller has checked that there is room.
        """
        firsts = self._decode_one(rows, positions)
        if len(firsts) == (total := int(extend_lens.sum())):
            return firsts
        table, allocator = self.pool.req_to_token, self.allocator
        starts = np.cumsum(extend_lens) - extend_lens
        slots = np.empty(total, dtype=np.int64)
        slots[starts] = firsts
        for index in np.flatnonzero(extend_lens > 1).tolist():
            row, begin = table[rows[index]], int(positions[index]) + 1
            end = begin + int(extend_lens[index]) - 1
            self._make_room(allocator.tokens_needed(begin, end))
            row[begin:end] = allocator.extend(int(row[begin - 1]), begin, end)
            slots[starts[index] + 1 : starts[index] + 1 + end - begin] = row[begin:end]
        return slots

    def _decode_one(self, rows: Int64, positions: Int64) -> Int64:
        table, allocator = self.pool.req_to_token, self.allocator
        self._make_room(allocator.decode_tokens_needed(positions))
        # Position 0 is never decoded: a prompt has at least one token.
        last_slots = table[rows, positions - 1].astype(np.int64) if allocator.page_size > 1 else positions
        slots = allocator.decode(last_slots, positions)
        table[rows, positions] = slots
        return slots

    def release(self, req: Req) -> TreeNode:
        """End `req`'s hold on memory: its KV goes to the tree, duplicates, the partial page and the row are freed.

        Returns the tree's node where its KV ends.
        """
        end = self._allocated(req)
        slots = self.pool.req_to_token[req.row, :end]
        inserted = self.tree_cache.insert(req.token_array()[:end], req.cache_salt, slots)
        self.allocator.free(slots[req.cache_protected_len : inserted.num_existing].copy())
        self.allocator.free(slots[max(inserted.num_owned, req.cache_protected_len) :].copy())
        self._close(req)
        return inserted.node

    def drop(self, req: Req, allocated: int) -> None:
        """End `req`'s hold on memory without keeping anything: its forward, which had `allocated` slots, failed."""
        slots = self.pool.req_to_token[req.row, req.cache_protected_len : max(allocated, req.cache_protected_len)]
        self.allocator.free(slots.copy())
        self._close(req)

    def discard(self, req: Req, start: int) -> None:
        """Remove the nodes after `start` that a failed forward was to write; all its requests are dropped by now."""
        for slots in self.tree_cache.discard(req.token_array(), req.cache_salt, start):
            self.allocator.free(slots)

    def flush(self) -> None:
        """Forget every prefix that no request uses."""
        for slots in self.tree_cache.reset():
            self.allocator.free(slots)

    def _allocated(self, req: Req) -> int:
        return max(req.prefix_len, req.cache_protected_len)

    def _make_room(self, num_tokens: int) -> None:
        missing = num_tokens - self.allocator.available
        if missing > 0:
            for slots in self.tree_cache.evict(missing):
                self.allocator.free(slots)

    def _close(self, req: Req) -> None:
        assert req.last_node is not None
        self.tree_cache.unlock(req.last_node)
        self.pool.free(req.row)
        req.row, req.last_node = -1, None
        req.prefix_len = req.extend_len = req.cache_protected_len = 0
