"""`Lexer`: where the tokens of a text end, byte by byte, exactly as lark's contextual lexer has it.

A token ends where no better match can follow, and whether one does may show only later (`1.` in `1..5`). So the lexer
follows both courses: one goes on with the token, one ends it and is watched: it dies as soon as the first one matches.
Knows nothing of the parser or of a model's tokens. Called by the grammar and by the mask walk.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from ....lang.errors import ConstraintError
from .lark_scanner import NO_MATCH, Scanner

MAX_STATES = 60_000

DEAD = 0
NOT_HERE = -1  # in `ends`: the token cannot end before this byte
NOTHING = 0  # the watch that watches nothing

_Watch = frozenset[int]
"""States of the scanner: tokens that could have gone on. None of them may come to a match."""


class Lexer:
    """States are numbers: inside a token, perhaps under a watch. What is reachable from a state handed out is known.

    - `rows[state]`: next state by byte class. `label[state]`: the terminal that the text since the token's start is, or
      `NO_MATCH`; `ignored`: one to be skipped.
    - `ends[state]`: by class of the byte that comes next, the watch under which the token may end here, or `NOT_HERE`.
    - `outcomes[state]`: bit set of how the token may end from here on; outcome o is terminal `outcome_label[o]` with
      `outcome_ends[o]`.
    - `table`, `end_table`: `rows` and `ends` as (states, classes) int32 arrays; `labels`: (states,) int32; `reach`:
      (states,) int32, each state's `outcomes` as a place in `outcome_sets`.
    """

    def __init__(self, scanner: Scanner, tick: Callable[[], None]) -> None:
        self._scanner = scanner
        self._tick = tick
        self.ignored = scanner.ignored
        self.num_classes = scanner.num_classes
        self.class_of_byte = scanner.class_of_byte
        self._states: dict[tuple[_Watch, int], int] = {}
        self._keys: list[tuple[_Watch, int]] = []
        self._watches: list[_Watch] = [frozenset()]
        self._watch_numbers: dict[_Watch, int] = {frozenset(): NOTHING}
        self._outcome_numbers: dict[tuple[int, tuple[int, ...]], int] = {}
        self._num_known = 0  # states whose `outcomes` are final
        self.rows: list[list[int]] = []
        self.label: list[int] = []
        self.ends: list[list[int]] = []
        self.outcomes: list[int] = []
        self.outcome_label: list[int] = []
        self.outcome_ends: list[tuple[int, ...]] = []
        self.outcome_sets: list[int] = []
        self._outcome_set_numbers: dict[int, int] = {}
        self.table = self.end_table = np.zeros((0, self.num_classes), dtype=np.int32)
        self.labels = self.reach = np.zeros(0, dtype=np.int32)
        self._number(frozenset(), DEAD)

    @property
    def num_states(self) -> int:
        """How many states there are so far, the dead one included."""
        return len(self.rows)

    @property
    def num_bytes(self) -> int:
        """Memory it holds now, roughly."""
        return 2 * self.table.nbytes + 3 * 8 * self.table.size

    def start(self, scanner_state: int, watch: int) -> int:
        """Return the state at the start of a token; `scanner_state`: of `Scanner.start`. `DEAD` if none can come."""
        state = self._number(self._watches[watch], scanner_state)
        self._explore()
        return state

    def prepare(self, scanner_states: Collection[int]) -> None:
        """Explore what follows `scanner_states` where nothing is watched."""
        for scanner_state in scanner_states:
            self._number(frozenset(), scanner_state)
        self._explore()

    def _number(self, watch: _Watch, place: int) -> int:
        key = (watch, place)
        number = self._states.get(key)
        if number is None:
            if len(self._keys) >= MAX_STATES:
                raise ConstraintError(f"the grammar's tokens take more than {MAX_STATES} states")
            number = self._states[key] = len(self._keys)
            self._keys.append(key)
        return number

    def _explore(self) -> None:
        """Make the rows of new states, and of all states that these lead to."""
        if self._num_known == len(self._keys):
            return
        while len(self.rows) < len(self._keys):
            if len(self.rows) % 64 == 0:
                self._tick()
            watch, place = self._keys[len(self.rows)]
            row = self._row(watch, place)
            label = self._scanner.label[place]
            ends = [NOT_HERE] * self.num_classes if label == NO_MATCH else self._ends(watch, place)
            self.rows.append(row)
            self.label.append(label)
            self.ends.append(ends)
            self.outcomes.append(0 if label == NO_MATCH else 1 << self._outcome(label, tuple(ends)))
        self._spread()
        self.table = _grown(self.table, self.rows)
        self.end_table = _grown(self.end_table, self.ends)
        self.labels = _grown(self.labels, self.label)
        self.reach = _grown(self.reach, [self._outcome_set(outcomes) for outcomes in self.outcomes])

    def _row(self, watch: _Watch, place: int) -> list[int]:
        """Step everything by every byte; a course that is watched for matches kills this one."""
        row = self._scanner.expand(place)
        if not watch:
            return [self._number(watch, target) if target else DEAD for target in row]
        rows = [self._scanner.expand(watched) for watched in watch]
        label = self._scanner.label
        targets = []
        for byte_class, target in enumerate(row):
            going_on = frozenset(watched_row[byte_class] for watched_row in rows) - {DEAD}
            lost = target == DEAD or any(label[watched] != NO_MATCH for watched in going_on)
            targets.append(DEAD if lost else self._number(going_on, target))
        return targets

    def _ends(self, watch: _Watch, place: int) -> list[int]:
        """Say for every next byte whether the token can end, and what is then to be watched."""
        label = self._scanner.label
        ends = []
        for target in self._scanner.expand(place):
            if target == DEAD:
                ends.append(self._watch(watch))
            elif label[target] == NO_MATCH:
                ends.append(self._watch(watch | {place}))
            else:
                ends.append(NOT_HERE)
        return ends

    def _watch(self, watch: _Watch) -> int:
        number = self._watch_numbers.setdefault(watch, len(self._watches))
        if number == len(self._watches):
            self._watches.append(watch)
        return number

    def _outcome(self, label: int, ends: tuple[int, ...]) -> int:
        number = self._outcome_numbers.setdefault((label, ends), len(self.outcome_label))
        if number == len(self.outcome_label):
            self.outcome_label.append(label)
            self.outcome_ends.append(ends)
        return number

    def _outcome_set(self, outcomes: int) -> int:
        number = self._outcome_set_numbers.setdefault(outcomes, len(self.outcome_sets))
        if number == len(self.outcome_sets):
            self.outcome_sets.append(outcomes)
        return number

    def _spread(self) -> None:
        """Hand the outcomes of the new states back to those that lead there, until nothing changes."""
        targets = [set(row) - {DEAD} for row in self.rows[self._num_known :]]
        changed = True
        while changed:
            changed = False
            self._tick()
            for state in range(len(self.rows) - 1, self._num_known - 1, -1):
                before = after = self.outcomes[state]
                for target in targets[state - self._num_known]:
                    after |= self.outcomes[target]
                if after != before:
                    self.outcomes[state] = after
                    changed = True
        self._num_known = len(self.rows)


def _grown(array: NDArray[np.int32], rows: Sequence[object]) -> NDArray[np.int32]:
    """Return `array` with the further ones of `rows`; the old array stays as it was, others may be reading it."""
    return np.concatenate([array, np.array(rows[len(array) :], dtype=np.int32)])
