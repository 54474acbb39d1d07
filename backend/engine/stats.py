"""What the engine counts: `Counters` while it runs, `EngineStats` as a fact to hand out. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields


@dataclass(slots=True)
class Counters:
    """Totals since the start, written by the scheduler."""

    requests: int = 0  # sequences received
    prompt_tokens: int = 0  # of admitted sequences
    cached_tokens: int = 0  # prompt tokens found in the cache
    computed_tokens: int = 0  # prefill tokens that went through the model, re-computing after retraction included
    completion_tokens: int = 0
    forced_tokens: int = 0  # of these, appended without sampling because a constraint left no choice
    retractions: int = 0
    aborted: int = 0
    failed: int = 0  # ended with any other error
    steps: int = 0  # forwards
    admitted: int = 0  # sequences that left the queue for the first time
    queue_seconds: float = 0.0  # that these waited there, together


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramStats:
    """What one program used so far; a request's tokens count when it ends.

    `critical_path_tokens`: generated tokens along the longest chain of requests, each sent after the one before had
    ended: what no wider batch makes shorter. `seconds`: from its first request to the end of its last, or to now.
    """

    requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    critical_path_tokens: int
    seconds: float
    open_requests: int

    @property
    def cache_hit_rate(self) -> float:
        """Share of the prompt tokens that came from the cache, 0 before the first prompt."""
        return self.cached_tokens / self.prompt_tokens if self.prompt_tokens else 0.0


@dataclass(frozen=True, slots=True)
class EngineStats:
    """One moment of the engine; read as attributes or as a mapping (`stats["running"]`, `dict(stats)`).

    Token counts are sums over sequences; sizes of memory are in tokens.
    """

    requests: int
    prompt_tokens: int
    cached_tokens: int
    computed_tokens: int
    completion_tokens: int
    forced_tokens: int
    retractions: int
    aborted: int
    failed: int
    steps: int
    admitted: int
    queue_seconds: float
    running: int  # sequences that hold memory
    waiting: int
    available: int  # free
    evictable: int  # cached and unused
    protected: int  # cached and used by running sequences
    total: int

    @property
    def cache_hit_rate(self) -> float:
        """Share of the prompt tokens that came from the cache, 0 before the first prompt."""
        return self.cached_tokens / self.prompt_tokens if self.prompt_tokens else 0.0

    def keys(self) -> tuple[str, ...]:
        """The names of the counts."""
        return tuple(item.name for item in fields(self))

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __getitem__(self, key: str) -> float:
        if key not in self.keys():
            raise KeyError(f"the engine counts no {key!r}; there are {', '.join(self.keys())}")
        count: float = getattr(self, key)
        return count
