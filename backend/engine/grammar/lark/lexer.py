"""`Lexer`: where the tokens of a text end, byte by byte, exactly as lark's contextual lexer has it.

A token ends where no better match can follow, and whether one does may show only later (`1.` in `1..5`). So the lexer
follows both courses: one goes on with the token, one ends it and is watched: it dies as soon as the first one matches.
Knows nothing of the parser or of a model's tokens. Called by the grammar and by the mask walk.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from typing import Generic, TypeVar

import numpy as np

from .....lang.errors import ConstraintError
from .scanner import NO_MATCH, Scanner

MAX_STATES = 20_000  # a Python-like grammar takes 1,500

_Thing = TypeVar("_Thing", bound=Hashable)

DEAD = 0
NOT_HERE = -1  # the token cannot end before this byte
NOTHING = 0  # the watch that watches nothing

_Watch = frozenset[int]
"""States of the scanner: tokens that could have gone on. None of them may come to a match."""

Border = tuple[int, ...]
"""The end of a token: by class of the byte that comes next, the watch under which it may end, or `NOT_HERE`."""


class Lexer:
    """States are numbers: inside a token, perhaps under a watch. What is reachable from a state handed out is known.

    - `rows[state]`: next state by byte class. `label[state]`: the terminal that the text since the token's start is, or
      `NO_MATCH`; `ignored`: one to be skipped.
    - `ends[state]`: by class of the byte that comes next, place in `end_kinds` (the terminal that ends, and the watch),
      or `NOT_HERE`.
    - `outcomes[state]`: bit set of places in `outcome_kinds`: how the token may end from here on.
    - once frozen, `table` and `end_table`: `rows` and `ends` as (states, classes) int32 arrays; `reach`: (states,)
      int32, each state's `outcomes` as a place in `outcome_sets`.
    """

    def __init__(self, scanner: Scanner, tick: Callable[[], None]) -> None:
        self._scanner = scanner
        self._tick = tick
        self.ignored = scanner.ignored
        self.num_classes = scanner.num_classes
        self.class_of_byte = scanner.class_of_byte
        self._keys = _Numbering[tuple[_Watch, int]]()
        self._watches = _Numbering[_Watch]()
        self._outcomes = _Numbering[tuple[int, Border]]()
        self._outcome_sets = _Numbering[int]()
        self._end_kinds = _Numbering[tuple[int, int]]()
        self._frozen = False
        self._num_known = 0  # states whose `outcomes` are final
        self.rows: list[list[int]] = []
        self.label: list[int] = []
        self.ends: list[list[int]] = []
        self.outcomes: list[int] = []
        self.table = self.end_table = np.zeros((0, self.num_classes), dtype=np.int32)
        self.reach = np.zeros(0, dtype=np.int32)
        self._watches.number(frozenset())
        self._number(frozenset(), DEAD)

    @property
    def num_states(self) -> int:
        """How many states there are so far, the dead one included."""
        return len(self.rows)

    @property
    def end_kinds(self) -> Sequence[tuple[int, int]]:
        """(terminal, watch): the ways in which tokens end."""
        return self._end_kinds.things

    @property
    def outcome_sets(self) -> Sequence[int]:
        """The different `outcomes` of states."""
        return self._outcome_sets.things

    @property
    def outcome_kinds(self) -> Sequence[tuple[int, Border]]:
        """(terminal, its end): the outcomes."""
        return self._outcomes.things

    @property
    def num_bytes(self) -> int:
        """Memory it holds now, roughly."""
        return (2 * 4 + 2 * 8) * self.table.size

    def start(self, scanner_state: int, watch: int) -> int:
        """Return the state where a token begins under `watch`; `scanner_state`: of `Scanner.start`."""
        state = self._number(self._watches.things[watch], scanner_state)
        self.explore()
        return state

    def prepare(self, scanner_states: Collection[int]) -> None:
        """Explore what follows `scanner_states` where nothing is watched."""
        for scanner_state in scanner_states:
            self._number(frozenset(), scanner_state)
        self.explore()

    def explore(self) -> None:
        """Make the rows of new states, and of all states that these lead to."""
        if self._num_known == len(self._keys.things):
            return
        while len(self.rows) < len(self._keys.things):
            if len(self.rows) % 64 == 0:
                self._tick()
            watch, place = self._keys.things[len(self.rows)]
            label = self._scanner.label[place]
            self.rows.append(self._row(watch, place))
            self.label.append(label)
            if label == NO_MATCH:
                self.ends.append([NOT_HERE] * self.num_classes)
                self.outcomes.append(0)
                continue
            border = self._border(watch, place)
            self.ends.append([NOT_HERE if w == NOT_HERE else self._end_kinds.number((label, w)) for w in border])
            self.outcomes.append(1 << self._outcomes.number((label, border)))
        self._spread()

    def freeze(self) -> None:
        """Make the arrays. From here on all states are known, and any thread may ask."""
        self._frozen = True
        self.table = np.array(self.rows, dtype=np.int32)
        self.end_table = np.array(self.ends, dtype=np.int32)
        self.reach = np.array([self._outcome_sets.number(outcomes) for outcomes in self.outcomes], dtype=np.int32)

    def _number(self, watch: _Watch, place: int) -> int:
        number = self._keys.number((watch, place))
        assert number < len(self.rows) or not self._frozen, "a state that was not explored"
        if number >= MAX_STATES:
            raise ConstraintError(f"the grammar's terminals take more than {MAX_STATES} states where they meet")
        return number

    def _row(self, watch: _Watch, place: int) -> list[int]:
        """Step everything by every byte; a course that is watched for matches kills this one."""
        row = self._scanner.expand(place)
        if not watch:
            numbers = {target: self._number(watch, target) for target in set(row)}
            return [numbers[target] for target in row]
        rows = [self._scanner.expand(watched) for watched in watch]
        label = self._scanner.label
        targets = [DEAD] * self.num_classes
        for byte_class, target in enumerate(row):
            if target == DEAD:
                continue
            going_on = frozenset(watched_row[byte_class] for watched_row in rows) - {DEAD}
            if all(label[watched] == NO_MATCH for watched in going_on):
                targets[byte_class] = self._number(going_on, target)
        return targets

    def _border(self, watch: _Watch, place: int) -> Border:
        """Say for every next byte whether the token can end, and what is then to be watched."""
        label = self._scanner.label
        border = []
        for target in self._scanner.expand(place):
            if target == DEAD:
                border.append(self._watches.number(watch))
            elif label[target] == NO_MATCH:
                border.append(self._watches.number(watch | {self._scanner.bare(place)}))
            else:
                border.append(NOT_HERE)
        return tuple(border)

    def _spread(self) -> None:
        """Hand the outcomes of the new states back to those that lead there, until nothing changes."""
        first = self._num_known
        targets = [set(row) - {DEAD} for row in self.rows[first:]]
        changed = True
        while changed:
            changed = False
            self._tick()
            for state in range(len(self.rows) - 1, first - 1, -1):
                before = after = self.outcomes[state]
                for target in targets[state - first]:
                    after |= self.outcomes[target]
                if after != before:
                    self.outcomes[state] = after
                    changed = True
        self._num_known = len(self.rows)


class _Numbering(Generic[_Thing]):
    """Numbers things in the order in which they are first met."""

    def __init__(self) -> None:
        self._numbers: dict[_Thing, int] = {}
        self.things: list[_Thing] = []

    def number(self, thing: _Thing) -> int:
        """Return the number of `thing`, a new one if it has none yet."""
        number = self._numbers.setdefault(thing, len(self.things))
        if number == len(self.things):
            self.things.append(thing)
        return number
