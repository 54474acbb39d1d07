"""`WaitingQueue`: requests that have no memory, best first. No torch, no memory.

Costs follow what changes: an arrival, an admission or a new prefix touches only its own entry and those that share the
new prefix, found as neighbours in one sorted list of prompts. Called by the scheduler.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass

from .policy import Policy
from .radix_cache import Tokens, common_prefix_len
from .req import Req

# Clock units for admitting a request, whatever its length: without it, fully cached requests would age nobody.
ADMISSION_COST = 16
# How much older than itself, in clock units, its program can make a request: what bounds how long anybody is passed.
MAX_HEAD_START = 65_536

PrefixKey = tuple[str, bytes, int]


@dataclass(slots=True, eq=False)
class Waiting:
    """One waiting request."""

    req: Req
    seq: int  # order of arrival
    line_seq: int  # order of arrival of its program
    line_at: float  # work clock at the arrival of its program, at most `MAX_HEAD_START` before its own
    prefix_key: PrefixKey  # sorts requests of a common prefix side by side
    cached_len: int = 0
    num_overtaken: int = 0  # admissions that passed it because it did not fit
    version: int = 0  # number of its valid heap entry; 0: popped
    is_waiting: bool = True


class WaitingQueue:
    """Priority first, then retracted requests, then the policy's rank, then arrival.

    A request is as old as its program: programs that have begun go on before others begin, so that few of them share
    the cache at a time, and those end early.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.clock = 0.0  # work done: prompt tokens computed + ADMISSION_COST per admission
        self._entries: dict[Req, Waiting] = {}
        self._heap: list[tuple[tuple[float, ...], int, Waiting]] = []
        self._by_prefix: list[Waiting] = []
        self._num_seen = 0
        self._num_pushed = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Req]:
        """The waiting requests in order of arrival."""
        return iter(self._entries)

    def add(self, req: Req, cached_len: int) -> None:
        """Queue `req`, `cached_len` of whose tokens are cached; one that was retracted keeps its place in line."""
        if req.arrival_seq == 0:
            self._num_seen += 1
            req.arrival_seq, req.arrived_at = self._num_seen, self.clock
        seq, line_seq, line_at = req.arrival_seq, req.arrival_seq, req.arrived_at
        program = req.program_record
        if program is not None:
            if not program.first_seq:
                program.first_seq, program.first_arrived_at = seq, line_at
            line_seq, line_at = program.first_seq, max(program.first_arrived_at, line_at - MAX_HEAD_START)
        key = (req.cache_salt, req.token_array().tobytes(), seq) if self.policy.uses_cache else ("", b"", seq)
        entry = Waiting(req, seq, line_seq, line_at, key, cached_len if self.policy.uses_cache else 0)
        self._entries[req] = entry
        if self.policy.uses_cache:
            insort(self._by_prefix, entry, key=_prefix_key)
        self._push(entry)

    def pop(self) -> Waiting | None:
        """Take the best entry out of the order; it stays in the queue until `admit`, `put_back` or `remove`."""
        while self._heap:
            _, version, entry = heapq.heappop(self._heap)
            if entry.is_waiting and entry.version == version:
                entry.version = 0
                return entry
        return None

    def put_back(self, entry: Waiting) -> None:
        """Put a popped entry back in its place."""
        self._push(entry)

    def admit(self, entry: Waiting, num_computed: int) -> None:
        """A popped entry leaves the queue: it runs, and `num_computed` of its tokens are computed now."""
        self._leave(entry)
        self.clock += num_computed + ADMISSION_COST

    def remove(self, req: Req) -> bool:
        """Take `req` out for good; False when it does not wait."""
        entry = self._entries.get(req)
        if entry is None:
            return False
        self._leave(entry)
        return True

    def is_outranked(self, entry: Waiting, cached_len: int) -> bool:
        """Correct a popped entry's cached prefix; True when another one is better now and the entry was put back."""
        if not self.policy.uses_cache or cached_len == entry.cached_len:
            return False
        worse, entry.cached_len = cached_len < entry.cached_len, cached_len
        if worse and self._heap and self._heap[0][0] < self._key(entry):
            self._push(entry)
            return True
        return False

    def prefix_cached(self, tokens: Tokens, salt: str, known_len: int) -> None:
        """`tokens` are now in the cache, of which the first `known_len` were before: rank those that share more."""
        if not self.policy.uses_cache or not self._by_prefix:
            return
        middle = bisect_left(self._by_prefix, (salt, tokens.tobytes(), -1), key=_prefix_key)
        for neighbours in (range(middle, len(self._by_prefix)), range(middle - 1, -1, -1)):
            for index in neighbours:
                entry = self._by_prefix[index]
                shared = common_prefix_len(entry.req.token_array(), tokens) if entry.req.cache_salt == salt else 0
                if shared <= known_len:
                    break
                if shared > entry.cached_len:
                    entry.cached_len = shared
                    if entry.version:
                        self._push(entry)

    def check(self) -> None:
        """Assert that the order and the index hold the same requests."""
        valid = {entry for _, version, entry in self._heap if entry.is_waiting and entry.version == version}
        assert valid == set(self._entries.values()), "a waiting request is lost in the order"
        if self.policy.uses_cache:
            keys = [entry.prefix_key for entry in self._by_prefix]
            assert len(keys) == len(self._entries) and keys == sorted(keys), "the prefix index is wrong"

    def _key(self, entry: Waiting) -> tuple[float, ...]:
        req = entry.req
        rank = self.policy.rank(entry.cached_len, entry.line_at)
        return (-req.priority, req.num_retractions == 0, rank, entry.line_at, entry.line_seq, entry.seq)

    def _push(self, entry: Waiting) -> None:
        self._num_pushed += 1
        entry.version = self._num_pushed
        heapq.heappush(self._heap, (self._key(entry), entry.version, entry))

    def _leave(self, entry: Waiting) -> None:
        entry.is_waiting = False
        del self._entries[entry.req]
        if self.policy.uses_cache:
            del self._by_prefix[bisect_left(self._by_prefix, entry.prefix_key, key=_prefix_key)]


def _prefix_key(entry: Waiting) -> PrefixKey:
    return entry.prefix_key
