"""Timing: contestants take turns within one process, so that what disturbs the machine disturbs all of them alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

WARM_UP_BELOW_S = 20.0  # a first round that took longer has warmed itself up


@dataclass(frozen=True, slots=True)
class Contestant:
    """`run` is timed; `prepare` is called before each run and is not."""

    name: str
    run: Callable[[], Any]
    prepare: Callable[[], object] = lambda: None


@dataclass(frozen=True, slots=True)
class Standing:
    """Seconds of every round of one contestant, and its last answer."""

    name: str
    seconds: tuple[float, ...]
    answer: Any

    @property
    def median(self) -> float:
        """Median seconds of a round."""
        return statistics.median(self.seconds)


def hold(contestants: Sequence[Contestant], *, rounds: int, budget_s: float) -> list[Standing]:
    """Run all contestants in turn, up to `rounds` times; no new round begins after `budget_s` seconds.

    A first round that is short is a warm-up and does not count.
    """
    begin = time.perf_counter()
    seconds: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    answers: dict[str, Any] = {}
    if rounds > 1 and _round(contestants, seconds, answers) < WARM_UP_BELOW_S:
        seconds = {name: [] for name in seconds}
    while len(seconds[contestants[0].name]) < rounds:
        _round(contestants, seconds, answers)
        if time.perf_counter() - begin > budget_s:
            break
    return [Standing(name, tuple(times), answers[name]) for name, times in seconds.items()]


def _round(contestants: Sequence[Contestant], seconds: dict[str, list[float]], answers: dict[str, Any]) -> float:
    begin = time.perf_counter()
    for contestant in contestants:
        contestant.prepare()
        gc.collect()
        start = time.perf_counter()
        answers[contestant.name] = contestant.run()
        seconds[contestant.name].append(time.perf_counter() - start)
    return time.perf_counter() - begin


def agreement(ours: Sequence[Any], theirs: Sequence[Any]) -> float:
    """Share of tokens (or picks) that are the same; a sequence stops agreeing where it first differs."""
    same = total = 0
    for mine, other in zip(ours, theirs, strict=True):
        a, b = (mine, other) if isinstance(mine, list) else ([mine], [other])
        if len(a) != len(b):
            raise ValueError(f"different token counts: {len(a)} and {len(b)}")
        equal = [left == right for left, right in zip(a, b, strict=True)]
        same += equal.index(False) if False in equal else len(equal)
        total += len(equal)
    return same / total
