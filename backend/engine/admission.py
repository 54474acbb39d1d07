"""`PrefillAdder`: which prompts, or which chunk of one, the next forward computes. No torch.

Works within a budget of tokens and an estimate of the memory that running requests will still take. Made for one step
by the scheduler.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from .kv_manager import KVManager
from .memory import Int64
from .req import Req

# A request's future output counts for at most this many tokens: nobody else should wait for memory that far ahead.
MAX_EXPECTED_TOKENS = 4096


class NewTokenRatio:
    """Which part of the tokens that running requests may still add is expected to come: learned from retractions.

    Starts cautious, falls linearly while decoding goes well, and rises to what was used when memory ran out.
    """

    START = 0.7
    LOWEST = 0.1
    DECAY = (START - LOWEST) / 600  # per decode step: values of the field's reference scheduler

    def __init__(self) -> None:
        self.value = self.START

    def decay(self) -> None:
        """A decode step found enough memory."""
        self.value = max(self.LOWEST, self.value - self.DECAY)

    def retracted(self, running: Sequence[Req]) -> None:
        """Memory ran out: expect of the rest what they have generated so far, and twenty tokens more each."""
        generated = sum(len(req.output_ids) for req in running)
        most = sum(req.max_new_tokens for req in running)
        self.value = max(self.value, min(1.0, (generated + 20 * len(running)) / (most + 1)))

    def reset(self) -> None:
        """The engine is idle."""
        self.value = self.START


class Verdict(Enum):
    """What became of a request that was offered to the adder."""

    ADDED = auto()
    NO_MEMORY = auto()  # a smaller one might still fit
    NO_BUDGET = auto()  # not even one page of it fits this step


@dataclass(frozen=True, slots=True)
class Extension:
    """One prefill row of the forward being planned."""

    req: Req
    slots: Int64  # (req.extend_len,)
    depends_from: int  # the tree's nodes of this request after that position are written by this forward
    is_new: bool  # its row was opened now: not a further chunk


class PrefillAdder:
    """Collects the prefill rows of one forward.

    What running programs will come back to gives way to the first in line only, so that a full cache is not lost to
    requests that could as well wait.

    `budget`: tokens to compute. `reserved`: tokens the decoding rows need in this very step (they are kept free).
    `expected`: tokens that running requests will probably add later (an estimate). `is_alone`: nothing else runs, so
    the first request must be admitted whatever the estimate says.
    """

    def __init__(
        self, kv: KVManager, ratio: float, *, budget: int, reserved: int, expected: float, is_alone: bool
    ) -> None:
        self.kv = kv
        self.ratio = ratio
        self.budget = budget
        self.reserved = reserved
        self.expected = expected
        self.is_alone = is_alone
        self.num_offered = 0
        self.extensions: list[Extension] = []
        self.chunked_req: Req | None = None  # the one whose prompt does not end in this forward

    @property
    def has_room(self) -> bool:
        """True while another request may be offered."""
        return self.budget > 0 and self.chunked_req is None and self.kv.pool.num_free > 0

    def add_chunked(self, req: Req) -> int:
        """Continue the chunked request: as much as budget and memory allow, maybe nothing.

        Returns the tokens of its prompt that it found in the cache since its last chunk.
        """
        adopted = self.kv.adopt(req)
        saved = 0 if req.num_retractions else adopted
        req.cached_tokens += saved
        page_size = self.kv.allocator.page_size
        held = max(req.cache_protected_len, req.prefix_len)
        room = max(0, self.kv.obtainable - self.reserved)
        most = -(-held // page_size) * page_size + room // page_size * page_size
        end = min(self._chunk_end(req, req.prefix_len), most)
        if end > req.prefix_len:
            self._extend(req, end, is_new=False)
        else:
            self.chunked_req = req
        return saved

    def add(self, req: Req) -> Verdict:
        """Offer a request without memory; the caller has checked `has_room`."""
        match = self.kv.tree_cache.match_prefix(req.token_array()[: req.num_to_compute], req.cache_salt)
        prefix_len = min(match.length, req.max_prefix_len)
        end = self._chunk_end(req, prefix_len)
        if end <= prefix_len:
            return Verdict.NO_BUDGET
        self.num_offered += 1
        # Locking first: it turns evictable memory into protected memory, which the check must not count on.
        self.kv.tree_cache.lock(match.node)
        if not self._fits(req, match.length, end):
            self.kv.tree_cache.unlock(match.node)
            return Verdict.NO_MEMORY
        self.kv.open(req, match)
        req.prefix_len = prefix_len
        if req.num_retractions == 0:
            req.cached_tokens = min(prefix_len, len(req.origin_input_ids))  # forced output may be cached, too
        self.expected += self.ratio * _tokens_to_come(req)
        self._extend(req, end, is_new=True)
        return Verdict.ADDED

    def _fits(self, req: Req, cached_len: int, end: int) -> bool:
        needed = self.kv.allocator.tokens_needed
        room = self.kv.obtainable - self.reserved
        if needed(cached_len, end) > room:
            return False
        if self.is_alone and not self.extensions:
            return True
        if self.num_offered > 1:
            room -= self.kv.tree_cache.kept_size
        later = needed(cached_len, req.num_to_compute) + self.ratio * _tokens_to_come(req)
        return later + self.expected <= room

    def _chunk_end(self, req: Req, prefix_len: int) -> int:
        """Where this step's part of the prompt ends: a middle chunk at a page boundary, so that the tree can own it."""
        end = prefix_len + self.budget
        return req.num_to_compute if req.num_to_compute <= end else end - end % self.kv.allocator.page_size

    def _extend(self, req: Req, end: int, *, is_new: bool) -> None:
        req.extend_len = end - req.prefix_len
        slots, depends_from = self.kv.extend(req, end)
        self.extensions.append(Extension(req, slots, depends_from, is_new))
        self.budget -= req.extend_len
        if end < req.num_to_compute:
            self.chunked_req = req


def _tokens_to_come(req: Req) -> int:
    return min(req.max_new_tokens - len(req.output_ids), MAX_EXPECTED_TOKENS)
