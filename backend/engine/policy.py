"""Admission orders: which waiting request goes first. Plugins of the group `ramify.policies` are such classes.

A policy ranks one entry at a time; `waiting_queue.py` keeps the order, puts priorities above it and siblings together.
"""

from __future__ import annotations

from typing import Protocol


class Policy(Protocol):
    """Ranks waiting requests; the lowest rank goes first, ties in order of arrival.

    A rank may depend only on what it is given, so that it changes only when the cached prefix of the request changes.
    """

    uses_cache: bool  # False: `cached_len` is always given as 0, and is not kept up to date

    def rank(self, cached_len: int, arrived_at: float) -> float:
        """Rank a request with `cached_len` tokens in the cache.

        `arrived_at` is the engine's work clock at its arrival, or its program's: tokens of prompts computed so far,
        plus a constant for each admitted request. It does not depend on the machine's speed.
        """
        ...


class FirstComeFirstServed:
    """In order of arrival."""

    uses_cache = False

    def rank(self, cached_len: int, arrived_at: float) -> float:
        """All equal: arrival decides."""
        return 0.0


class LongestPrefixMatch:
    """Longest cached prefix first: the best hit rate offline, but new arrivals can starve a request without a match."""

    uses_cache = True

    def rank(self, cached_len: int, arrived_at: float) -> float:
        """Most cached tokens first."""
        return float(-cached_len)


class AgedLongestPrefixMatch:
    """Longest cached prefix first, where waiting counts as cached tokens: nobody starves.

    A request gains one token of rank for every `1 / aging` units of work done since it came. So one that is in front by
    m cached tokens passes only those that have waited for less than m / aging more units of work. A burst that arrives
    at once is served exactly as by `LongestPrefixMatch`.
    """

    uses_cache = True

    def __init__(self, aging: float = 0.5) -> None:
        self.aging = aging

    def rank(self, cached_len: int, arrived_at: float) -> float:
        """Cached tokens and age together; the common term `aging * now` is left out, so ranks are fixed in time."""
        return self.aging * arrived_at - cached_len
