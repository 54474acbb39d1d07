"""Sets of characters as code-point ranges, with exactly the meaning that Python's `re` gives to classes.

Surrogates are left out, for they have no UTF-8 form, and so are the last two noncharacters, which serve as sentinels.
Knows nothing of patterns around a class. Called by the pattern translator.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

import numpy as np

Ranges = tuple[tuple[int, int], ...]
"""Sorted, disjoint, non-adjacent (first, last) code points, both inclusive."""

_LAST = 0x10FFFD
_SURROGATES = (0xD800, 0xDFFF)
_LAST_CASED = 0x1FFFF  # every character with a case mapping lies below


def normalise(pairs: Iterable[tuple[int, int]]) -> Ranges:
    """Sort and merge (first, last) pairs; cut out what no text holds.

    >>> normalise([(5, 9), (1, 3), (4, 4)])
    ((1, 9),)
    """
    merged: list[tuple[int, int]] = []
    for first, last in sorted(pairs):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    result = []
    for first, last in merged:
        low, high = _SURROGATES
        pieces = ((first, min(last, low - 1)), (max(first, high + 1), min(last, _LAST)))
        result += [(a, b) for a, b in pieces if a <= b]
    return tuple(result)


def complement(ranges: Ranges) -> Ranges:
    """Return every character that is not in `ranges`."""
    gaps = []
    start = 0
    for first, last in ranges:
        if start < first:
            gaps.append((start, first - 1))
        start = last + 1
    if start <= _LAST:
        gaps.append((start, _LAST))
    return normalise(gaps)


@functools.lru_cache(maxsize=64)
def of_class(escape: str, flags: int) -> Ranges:
    r"""Return what `escape` (such as `\d`, `\w`) matches, by asking `re` itself about every character.

    Engines differ in the Unicode version they know and in what they call a word character; the pattern's author means
    `re`. Takes 20 ms the first time.
    """
    found = re.finditer(f"(?:{escape})+", _every_character(), flags)
    return normalise((ord(match[0][0]), ord(match[0][-1])) for match in found)


@functools.lru_cache(maxsize=1024)
def ignoring_case(ranges: Ranges, flags: int) -> Ranges:
    """Return `ranges` and every character that `re` takes for one of them under `re.IGNORECASE`."""
    members = "".join(f"{re.escape(chr(first))}-{re.escape(chr(last))}" for first, last in ranges)
    if not members:
        return ranges
    variants = re.findall(f"[{members}]", _cased_characters(), flags | re.IGNORECASE)
    return normalise([*ranges, *((ord(character), ord(character)) for character in variants)])


def _every_character() -> str:
    low, high = _SURROGATES
    codes = np.concatenate([np.arange(low, dtype="<u4"), np.arange(high + 1, _LAST + 1, dtype="<u4")])
    return codes.tobytes().decode("utf-32-le")


@functools.cache
def _cased_characters() -> str:
    characters = map(chr, range(_LAST_CASED + 1))
    return "".join(c for c in characters if c.lower() != c or c.upper() != c)
