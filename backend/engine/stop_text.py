"""`StopScanner`: finds stop strings and stop patterns in text that arrives in pieces.

Says how much of the text can no longer become part of a stop; knows nothing of tokens. Used by the detokenizer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import regex  # type: ignore[import-untyped]

from ...lang.errors import ParameterError, RequestError

PATTERN_REACH = 1024  # characters: a stop pattern's match must begin within the last so many, which bounds the work
_PATTERN_SECONDS = 0.25  # one search; more means a pattern that backtracks without end


@dataclass(frozen=True, slots=True)
class StopMatch:
    """A stop found at characters [start, end) of the whole text; `matched` is the stop string or the pattern."""

    start: int
    end: int
    matched: str


MayStop = Callable[[StopMatch], bool]
"""Whether a stop counts; one that does not is let pass."""


@dataclass(slots=True)
class _Pattern:
    """One stop pattern and the offset before which no match of it can begin any more."""

    source: str
    compiled: regex.Pattern[str]
    begin: int = 0


class StopScanner:
    """Scans one sequence's text, fed in order.

    The match that ends first wins, and among those the one that begins first, so that the answer does not depend on how
    the text was cut into pieces (for patterns: on the text so far, as the pattern matches it at the end of each piece).
    """

    def __init__(self, stops: Sequence[str], patterns: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._patterns = tuple(_Pattern(source, _compile(source)) for source in patterns)
        longest = max((len(stop) for stop in self._stops), default=0)
        self._reach = max(longest, PATTERN_REACH + 1 if self._patterns else 256)
        self._window = ""  # the end of the text
        self._base = 0  # offset of the window in the text
        self._safe = 0

    @property
    def safe_len(self) -> int:
        """Characters from the start that no stop can take back any more."""
        return self._safe

    @property
    def text_len(self) -> int:
        """Characters fed so far."""
        return self._base + len(self._window)

    def text(self, start: int, end: int) -> str:
        """Return characters [start, end) of the text; `start` not before `keep_from` or `safe_len` at the last feed."""
        return self._window[start - self._base : end - self._base]

    def feed(self, new: str, *, keep_from: int, may_stop: MayStop) -> StopMatch | None:
        """Add text. Return the stop that it completes and that `may_stop` lets count.

        Text from `keep_from` on stays readable through `text`.
        """
        self._trim(min(keep_from, self._safe))
        scanned = self.text_len
        self._window += new
        found = [*self._string_matches(scanned, may_stop), *self._pattern_matches(scanned, may_stop)]
        if found:
            best = min(found, key=lambda match: (match.end, match.start))
            self._safe = best.start
            return best
        self._safe = self._hold_from()
        return None

    def _trim(self, keep_from: int) -> None:
        """Forget text that is sent and out of reach; in large steps, so that the cost per token stays constant."""
        excess = min(keep_from - self._base, len(self._window) - self._reach)
        if excess > self._reach:
            self._window = self._window[excess:]
            self._base += excess

    def _string_matches(self, scanned: int, may_stop: MayStop) -> list[StopMatch]:
        """First match that counts of each stop string, among those that end after `scanned`."""
        found = []
        for stop in self._stops:
            at = self._window.find(stop, max(0, scanned - self._base - len(stop) + 1))
            while at >= 0:
                match = StopMatch(self._base + at, self._base + at + len(stop), stop)
                if may_stop(match):
                    found.append(match)
                    break
                at = self._window.find(stop, at + 1)
        return found

    def _pattern_matches(self, scanned: int, may_stop: MayStop) -> list[StopMatch]:
        found = []
        for pattern in self._patterns:
            end = self.text_len
            pattern.begin = max(pattern.begin, end - PATTERN_REACH)
            while pattern.begin <= end:
                match = self._search(pattern)
                if match is None:
                    pattern.begin = end
                    break
                begin, match_end = self._base + match.start(), self._base + match.end()
                stop = StopMatch(begin, max(scanned, match_end), pattern.source)
                if match.partial or may_stop(stop):
                    pattern.begin = begin
                    found += [] if match.partial else [stop]
                    break
                pattern.begin = max(match_end, begin + 1)
            else:
                pattern.begin = end
        return found

    def _search(self, pattern: _Pattern) -> regex.Match[str] | None:
        try:
            return pattern.compiled.search(
                self._window, pattern.begin - self._base, partial=True, timeout=_PATTERN_SECONDS
            )
        except TimeoutError as error:
            raise RequestError(
                f"stop_regex {pattern.source!r} takes too long on the text so far; simplify its repetitions"
            ) from error

    def _hold_from(self) -> int:
        """Offset of the first character that may still belong to a stop."""
        end = self.text_len
        held = min((pattern.begin for pattern in self._patterns), default=end)
        for stop in self._stops:
            at = self._window.find(stop[0], max(0, len(self._window) - len(stop) + 1))
            while at >= 0 and not stop.startswith(self._window[at:]):
                at = self._window.find(stop[0], at + 1)
            if at >= 0:
                held = min(held, self._base + at)
        return max(held, self._safe)


def check_stop_patterns(patterns: Sequence[str]) -> None:
    """Raise `ParameterError` for a pattern that cannot be a stop: not understood, or matching the empty text."""
    for source in patterns:
        if _compile(source).search("") is not None:
            raise ParameterError(
                f"stop_regex {source!r} matches the empty text, so it would stop before the first token"
            )


def _compile(source: str) -> regex.Pattern[str]:
    try:
        return regex.compile(source)
    except regex.error as error:
        raise ParameterError(f"stop_regex {source!r} is not a valid pattern: {error}") from error
