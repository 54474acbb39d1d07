"""`Scanner`: the terminals of a grammar tried side by side, with lark's rules for which of them a text is.

A scanner of lark is one regular expression `T1|T2|...` of the terminals that its parser state expects: the first that
matches wins, however long another would be. Here it is one automaton for all such selections, since they soon agree on
what is left. Knows nothing of where a token ends. Called by the lexer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .....lang.errors import ConstraintError
from .characters import CharacterAutomata
from .client import TerminalSource
from .terminal import TerminalAutomaton, build_terminal

MAX_STATES = 20_000  # a Python-like grammar takes 1,000

DEAD = 0
NO_MATCH = -1

_Threads = tuple[tuple[int, int], ...]
"""How far the terminals that may still match have come: (course, state of its automaton), in order."""


@dataclass(frozen=True, slots=True)
class _Course:
    """A terminal tried as itself (`label` is `main`), or one that a match of `main` may turn out to be."""

    main: int
    label: int
    automaton: TerminalAutomaton


class Scanner:
    """States are numbers from 1 on; `rows[state]`: next state by byte class, once `expand` was called for it.

    `label[state]`: the terminal that the text so far is, `ignored` if it is one to be skipped, or `NO_MATCH`.
    `terminals` are in the order in which lark tries them. Used by one thread at a time.
    """

    def __init__(self, terminals: Sequence[TerminalSource], tick: Callable[[], None]) -> None:
        self._terminals = terminals
        self._courses = _courses(terminals, tick)
        self.ignored = len(terminals)
        self.class_of_byte = _byte_classes([course.automaton for course in self._courses])
        self.num_classes = int(self.class_of_byte.max()) + 1
        self._steps = [_steps(course.automaton, self.class_of_byte) for course in self._courses]
        self._states: dict[_Threads, int] = {(): DEAD}
        self._threads: list[_Threads] = [()]
        self.rows: list[list[int]] = [[DEAD] * self.num_classes]
        self.label: list[int] = [NO_MATCH]

    def start(self, expected: Collection[int]) -> int:
        """Return the state at the start of a token where the terminals `expected` are, those to be ignored added."""
        chosen = {*expected, *(index for index, terminal in enumerate(self._terminals) if terminal.ignored)}
        embedded = {other for index in chosen for other, is_embedded in self._terminals[index].refined if is_embedded}
        tried = chosen - embedded
        return self._number(
            tuple(
                (index, course.automaton.start)
                for index, course in enumerate(self._courses)
                if course.main in tried and course.label in chosen
            )
        )

    def bare(self, state: int) -> int:
        """Return the state that comes to a match after the same texts as `state`, whatever terminal it then is."""
        return self._number(
            tuple(
                (course, place)
                for course, place in self._threads[state]
                if self._courses[course].label == self._courses[course].main
            )
        )

    def expand(self, state: int) -> list[int]:
        """Return the row of `state`, made when it is first asked for."""
        row = self.rows[state]
        if row:
            return row
        threads_by_class: dict[int, list[tuple[int, int]]] = {}
        for course, place in self._threads[state]:
            for byte_class, target in self._steps[course][place]:
                threads_by_class.setdefault(byte_class, []).append((course, target))
        row = [DEAD] * self.num_classes
        for byte_class, threads in threads_by_class.items():
            row[byte_class] = self._number(self._cut(threads))
        self.rows[state] = row
        return row

    def _cut(self, threads: list[tuple[int, int]]) -> _Threads:
        """Drop what can no longer win: terminals after one that matches, and what a dead terminal might have been."""
        kept = []
        alive = matched = -1
        for course, place in threads:
            facts = self._courses[course]
            if matched >= 0 and facts.main != matched:
                break
            if facts.label == facts.main:
                alive = facts.main
                if facts.automaton.accepting[place]:
                    matched = alive
            if facts.main == alive:
                kept.append((course, place))
        return tuple(kept)

    def _number(self, threads: _Threads) -> int:
        number = self._states.get(threads)
        if number is None:
            if len(self._threads) >= MAX_STATES:
                raise ConstraintError(f"the grammar's terminals take more than {MAX_STATES} states together")
            number = self._states[threads] = len(self._threads)
            self._threads.append(threads)
            self.rows.append([])
            self.label.append(self._label(threads))
        return number

    def _label(self, threads: _Threads) -> int:
        """Return what the last terminal is, for the others have not matched yet."""
        if not threads:
            return NO_MATCH
        main = self._courses[threads[-1][0]].main
        group = [(self._courses[course], place) for course, place in threads if self._courses[course].main == main]
        matched = [course.label for course, place in group if course.automaton.accepting[place]]
        if not matched or matched[0] != main:
            return NO_MATCH
        if self._terminals[main].ignored:
            return self.ignored
        return matched[1] if len(matched) > 1 else main


def _courses(terminals: Sequence[TerminalSource], tick: Callable[[], None]) -> list[_Course]:
    """Return every terminal's course, each followed by those of what its match may turn out to be."""
    characters = CharacterAutomata()
    automata = []
    for terminal in terminals:
        try:
            automata.append(build_terminal(terminal.pattern, characters, tick))
        except ConstraintError as error:
            raise ConstraintError(f"terminal {terminal.name} of the grammar {error}") from error
    courses = []
    for index, terminal in enumerate(terminals):
        courses.append(_Course(index, index, automata[index]))
        courses += [_Course(index, other, automata[other]) for other, _ in terminal.refined]
    return courses


def _byte_classes(automata: Sequence[TerminalAutomaton]) -> NDArray[np.uint8]:
    """Return the class of each of the 256 bytes; bytes that no state tells apart share one."""
    rows = list({arcs for automaton in automata for arcs in automaton.arcs})
    table = np.zeros((len(rows), 256), dtype=np.int32)
    for number, arcs in enumerate(rows):
        for first, last, target in arcs:
            table[number, first : last + 1] = target
    _, classes = np.unique(table, axis=1, return_inverse=True)
    return classes.reshape(256).astype(np.uint8)


def _steps(automaton: TerminalAutomaton, class_of_byte: NDArray[np.uint8]) -> list[tuple[tuple[int, int], ...]]:
    """Return for each state of `automaton` the byte classes that lead on, and where to."""
    class_list = class_of_byte.tolist()
    return [
        tuple({class_list[byte]: target for first, last, target in arcs for byte in range(first, last + 1)}.items())
        for arcs in automaton.arcs
    ]
