"""What constraints cost by themselves: compiling, asking for a constraint again, and filling the mask of one row.

Nothing runs but the grammar plugins: a text is drawn token by token, each uniformly from its mask.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ramify.backend.engine.grammar.api import CompiledGrammar, num_mask_words
from ramify.backend.engine.grammar.service import GrammarService
from ramify.backend.engine.vocabulary import Vocabulary
from ramify.lang.constraints import Constraint, constraint_of

from schemas import schemas

MAX_TOKENS = 60  # of one drawn text
REGEXES = (
    r"[0-9]{3}-[0-9]{4}",
    r"[A-Z][a-z]+( [A-Z][a-z]+){1,3}",
    r"(25[0-5]|2[0-4]\d|1?\d?\d)(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3}",
    r"[a-z0-9._%+-]{1,20}@[a-z0-9.-]{1,20}\.[a-z]{2,6}",
    r"20\d\d-(0[1-9]|1[0-2])-([0-2][0-9]|3[01])",
)
TYPES = (
    r"-?(0|[1-9]\d{0,18})",
    r"-?(0|[1-9]\d{0,15})(\.\d{1,15})?([eE][+-]?\d{1,2})?",
    "true|false",
    r"[^\x00-\x1f]{0,60}",
)
CHOICES = (
    ["low", "normal", "high"],
    [f"{kind} {number}" for kind in ("invoice", "order", "parcel") for number in range(200)],
)


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds: the median, and what 99 of 100 stay below."""

    p50: float
    p99: float
    count: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Cost:
        """Summarise measured seconds."""
        ordered = sorted(seconds)
        return cls(
            statistics.median(ordered) * 1e6,
            ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] * 1e6,
            len(ordered),
        )


@dataclass(frozen=True, slots=True)
class GrammarCosts:
    """Costs over one vocabulary. `masks`: kind -> (masks of texts never seen before, masks of the same texts again)."""

    vocabulary_size: int
    compile: Cost
    first_mask: Cost  # from asking for the constraint to holding its first mask
    again: Cost
    masks: dict[str, tuple[Cost, Cost]]


def measure(vocabulary: Vocabulary, *, texts: int) -> GrammarCosts:
    """Measure all of it; `texts` are drawn for each constraint."""
    service = GrammarService(vocabulary, timeout=30)
    constraints = [constraint_of("json_schema", schema) for schema in schemas().values()]
    for warm_up in (constraint_of("regex", "warm up"), constraint_of("json_schema", {"const": "warm up"})):
        service.compile(warm_up).result()  # tables of the vocabulary, made once per engine
    compiles, firsts, again = [], [], []
    row = np.zeros(num_mask_words(vocabulary.size), dtype=np.int32)
    for constraint in constraints:
        grammar, seconds = _timed(lambda wanted=constraint: service.compile(wanted).result())
        compiles.append(seconds)
        firsts.append(seconds + _timed(lambda compiled=grammar: compiled.matcher().fill_mask(row))[1])
        again += [_timed(lambda wanted=constraint: service.compile(wanted).result())[1] for _ in range(20)]
    kinds: dict[str, list[Constraint]] = {
        "regex": [constraint_of("regex", pattern) for pattern in REGEXES],
        "types": [constraint_of("regex", pattern) for pattern in TYPES],
        "choices": [constraint_of("choices", choices) for choices in CHOICES],
        "json schema": constraints[::4],
    }
    masks = {}
    for kind, wanted in kinds.items():
        unseen: list[float] = []
        seen: list[float] = []
        for constraint in wanted:
            grammar = service.compile(constraint).result()
            for seed in range(texts):
                unseen += fill_times(grammar, vocabulary, seed)
                seen += fill_times(grammar, vocabulary, seed)
        masks[kind] = Cost.of(unseen), Cost.of(seen)
    service.close()
    return GrammarCosts(vocabulary.size, Cost.of(compiles), Cost.of(firsts), Cost.of(again), masks)


def fill_times(grammar: CompiledGrammar, vocabulary: Vocabulary, seed: int) -> list[float]:
    """Draw one text; return the seconds of each of its masks."""
    rng = np.random.default_rng(seed)
    row = np.zeros(num_mask_words(vocabulary.size), dtype=np.int32)
    matcher, times = grammar.matcher(), []
    for _ in range(MAX_TOKENS):
        times.append(_timed(lambda: matcher.fill_mask(row))[1])
        legal = np.flatnonzero(np.unpackbits(row.view(np.uint8), bitorder="little"))
        matcher.accept(int(legal[rng.integers(len(legal))]))
        if matcher.is_terminated:
            break
    return times


def _timed(run: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    answer = run()
    return answer, time.perf_counter() - start
