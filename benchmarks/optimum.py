"""The best hit rate that any schedule can have, by counting over segments. Knows nothing of the engine.

With enough memory each distinct prefix is computed once. Visiting the prompts' tree depth first needs no more memory
than the longest request (Zheng et al., 2024, theorem 3.1), so the same count bounds a small cache.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from token_programs import Call, Path, Segment, TokenWorkload

# Numbers of the segments up to one -> how many of its tokens have KV at some time.
Known = dict[tuple[int, ...], int]


@dataclass(frozen=True, slots=True)
class Optimum:
    """Token counts over all calls: of the prompts, and of those the most that can come from the cache."""

    prompt_tokens: int
    cached_tokens: int

    @property
    def hit_rate(self) -> float:
        """Cached share of the prompt tokens."""
        return self.cached_tokens / self.prompt_tokens


def optimum(workload: TokenWorkload) -> Optimum:
    """Count each distinct prefix once, what was generated not at all, and at least one token of every prompt.

    - The last generated token of an answer has no KV: who goes on from it computes it.
    - Every prompt computes its last token, which predicts the first new one.
    - A scored choice of n tokens computes n: the one before it and all but its last; those are nobody else's.
    """
    calls = [call for program in workload.programs for call in program]
    known: Known = {}
    for call in calls:
        if not call.is_scored:
            _cover(known, _shortened((*call.prompt, call.output)))
    computed = 0
    # In order of length: a prompt that another one goes on from is computed first.
    for call in sorted(calls, key=_computed_len):
        if call.is_scored:
            *prompt, choice = call.prompt
            computed += _cover_path(known, _shortened(tuple(prompt))) + choice.length
        else:
            computed += max(1, _cover_path(known, call.prompt))
    prompt_tokens = sum(call.prompt_len for call in calls)
    computable = prompt_tokens - sum(call.is_scored for call in calls)
    return Optimum(prompt_tokens, computable - computed)


def distinct_tokens(calls: Iterable[Call]) -> int:
    """Tokens of KV that all calls together leave behind, each distinct prefix once."""
    known: Known = {}
    return sum(_cover_path(known, (*call.prompt, call.output)) for call in calls)


def _computed_len(call: Call) -> int:
    return call.prompt_len - call.is_scored


def _shortened(path: Path) -> Path:
    """The path without its last token."""
    last = path[-1]
    return (*path[:-1], Segment(last.number, last.length - 1))


def _cover_path(known: Known, path: Path) -> int:
    """Mark all of `path` as known; returns how many of its tokens were not."""
    return sum(_cover(known, path[: index + 1]) for index in range(len(path)))


def _cover(known: Known, path: Path) -> int:
    """Mark the last segment of `path` as known; returns how many of its tokens were not."""
    key = tuple(segment.number for segment in path)
    had = known.get(key, 0)
    known[key] = max(had, path[-1].length)
    return known[key] - had
