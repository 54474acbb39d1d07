"""Integers between two bounds as a regex: decimal, no leading zeros; minus zero where negative numbers are allowed.

Knows nothing of schemas but the names of the bounds. Called by the translation of schemas to regexes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ....lang.errors import ConstraintError

MAX_DIGITS = 40


def integer_regex(bounds: Mapping[str, Any]) -> str:
    """Return the regex of the integers within `minimum`, `maximum`, `exclusiveMinimum` and `exclusiveMaximum`.

    >>> integer_regex({"minimum": 3, "exclusiveMaximum": 20})
    '(?:[3-9]|1[0-9])'
    """
    lows = [_whole(math.ceil, bounds, "minimum"), _whole(lambda x: math.floor(x) + 1, bounds, "exclusiveMinimum")]
    highs = [_whole(math.floor, bounds, "maximum"), _whole(lambda x: math.ceil(x) - 1, bounds, "exclusiveMaximum")]
    low = max((bound for bound in lows if bound is not None), default=None)
    high = min((bound for bound in highs if bound is not None), default=None)
    if low is None and high is None:
        return "-?(?:0|[1-9][0-9]*)"
    if low is not None and high is not None and low > high:
        raise ConstraintError(f"no integer is at least {low} and at most {high}")
    parts = []
    if low is None or low < 0:
        nearest = 0 if high is None or high >= 0 else -high
        parts += [f"-{part}" for part in _between(nearest, None if low is None else -low)]
    if high is None or high >= 0:
        parts += _between(max(low or 0, 0), high)
    return f"(?:{'|'.join(parts)})"


def _whole(rounded: Any, bounds: Mapping[str, Any], name: str) -> int | None:
    if name not in bounds:
        return None
    value = bounds[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 10**MAX_DIGITS:
        raise ConstraintError(f"{name} is {value!r}; a number of at most {MAX_DIGITS} digits is needed")
    return int(rounded(value))


def _between(low: int, high: int | None) -> list[str]:
    """Return alternatives for `low <= n <= high`, both at least 0."""
    length = len(str(low))
    last = length if high is None else len(str(high))
    parts = []
    for digits in range(length, last + 1):
        first = max(low, 10 ** (digits - 1) if digits > 1 else 0)
        parts += _same_length(str(first), str(10**digits - 1 if high is None else min(high, 10**digits - 1)))
    return parts if high is not None else [*parts, f"[1-9][0-9]{{{last},}}"]


def _same_length(low: str, high: str) -> list[str]:
    """Return alternatives for the texts of digits from `low` to `high`, of equal length."""
    if not low:
        return [""]
    rest = len(low) - 1
    if low[0] == high[0]:
        return [low[0] + part for part in _same_length(low[1:], high[1:])]
    whole_from, whole_to = int(low[0]), int(high[0])
    before: list[str] = []
    after: list[str] = []
    if low[1:] != "0" * rest:
        before = [low[0] + part for part in _same_length(low[1:], "9" * rest)]
        whole_from += 1
    if high[1:] != "9" * rest:
        after = [high[0] + part for part in _same_length("0" * rest, high[1:])]
        whole_to -= 1
    middle = [_digits(whole_from, whole_to) + ("[0-9]" * rest if rest < 3 else f"[0-9]{{{rest}}}")]
    return [*before, *(middle if whole_from <= whole_to else []), *after]


def _digits(first: int, last: int) -> str:
    return str(first) if first == last else f"[{first}-{last}]"
