"""`TerminalAutomaton`: the bytes at which `re.match` of a terminal's pattern would have ended, whatever comes after.

A state is the list of ways to go on, best first, and what comes after a match in it is dropped: so the last accepting
state on a text is where Python's match ends, lazy quantifiers and ordered alternatives included (as in Russ Cox's RE2).
Knows nothing of other terminals. Made for the lexer.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .....lang.errors import ConstraintError
from ..character_set import Ranges, complement, normalise
from .characters import DONE, Arcs, CharacterAutomata
from .pattern import Again, Ahead, Behind, Character, Match, Program, Split, parse_pattern

MAX_STATES = 10_000  # of one terminal; `/.{0,500}/` takes 4,500, a Unicode identifier 620

DEAD = 0

_Rest = tuple[bool, tuple[Ranges, ...]]
"""What is still to be seen of a look ahead: whether it is negated, and the characters."""

_Seen = tuple[bool, ...]
"""Of the character before: whether it is in each of the sets that are looked behind at."""

_Leaf = tuple[Ranges, int, _Seen, frozenset[_Rest]]
"""What a character may be; the node after it, and what is then seen and to be seen."""

_Way = tuple[int, frozenset[_Rest], frozenset[int]]
"""A node reached without reading: what is to be seen ahead, and the repeats entered since the last character."""

_Threads = tuple[tuple[int, int], ...]
"""Ways to go on, best first: (state of the character being read, number of its leaf)."""


@dataclass(frozen=True, slots=True)
class TerminalAutomaton:
    """States are numbers; `arcs[state]` lead on, and `DEAD` has none. Every other state can still reach a match.

    `accepting[state]`: the text so far is a match, and the best one unless a later state accepts too.
    """

    arcs: tuple[Arcs, ...]
    accepting: tuple[bool, ...]
    start: int = 1


def build_terminal(pattern: str, characters: CharacterAutomata, tick: Callable[[], None]) -> TerminalAutomaton:
    """Return the automaton of `pattern`; `ConstraintError` where it cannot be exact or takes too many states.

    `tick` is called once in a while and raises when the time is up.

    >>> automaton = build_terminal("ab?", CharacterAutomata(), lambda: None)
    >>> automaton.arcs, automaton.accepting
    (((), ((97, 97, 2),), ((98, 98, 3),), ()), (False, False, True, True))
    """
    return _Builder(parse_pattern(pattern), characters).build(tick)


class _Builder:
    """The subset construction over ordered lists instead of sets."""

    def __init__(self, program: Program, characters: CharacterAutomata) -> None:
        self._program = program
        self._characters = characters
        self._leaves: list[_Leaf] = []
        self._leaf_numbers: dict[_Leaf, int] = {}
        self._closures: dict[tuple[int, _Seen | None, frozenset[_Rest]], tuple[_Threads, bool]] = {}
        self._states: dict[tuple[_Threads, bool], int] = {}
        self._pending: list[_Threads] = []
        self._accepting = [False]

    def build(self, tick: Callable[[], None]) -> TerminalAutomaton:
        """Number the states from the start on."""
        arcs: list[Arcs] = [()]
        self._number(self._closure(self._program.start, None, frozenset()))
        while len(arcs) <= len(self._pending):
            tick()
            arcs.append(tuple(self._arcs(self._pending[len(arcs) - 1])))
        return _without_blind_alleys(arcs, self._accepting)

    def _number(self, state: tuple[_Threads, bool]) -> int:
        """Number a state: its threads, and whether it accepts."""
        number = self._states.get(state)
        if number is None:
            if len(self._states) >= MAX_STATES:
                raise ConstraintError(f"takes more than {MAX_STATES} states")
            self._pending.append(state[0])
            self._accepting.append(state[1])
            number = self._states[state] = len(self._pending)
        return number

    def _arcs(self, threads: _Threads) -> Iterator[tuple[int, int, int]]:
        """Cut the bytes where any thread's arcs begin or end, and follow the threads in order within each piece."""
        arcs_of = [self._characters.arcs[state] for state, _ in threads]
        cuts = sorted({cut for arcs in arcs_of for first, last, _ in arcs for cut in (first, last + 1)})
        pieces: list[list[tuple[int, int]]] = [[] for _ in cuts]
        for (_, leaf), arcs in zip(threads, arcs_of, strict=True):
            for first, last, target in arcs:
                piece = bisect.bisect_left(cuts, first)
                while cuts[piece] <= last:
                    pieces[piece].append((target, leaf))
                    piece += 1
        targets: dict[tuple[tuple[int, int], ...], int] = {}
        for index, piece_threads in enumerate(pieces):
            if piece_threads:
                key = tuple(piece_threads)
                if key not in targets:
                    targets[key] = self._number(self._advance(key))
                yield cuts[index], cuts[index + 1] - 1, targets[key]

    def _advance(self, threads: _Threads) -> tuple[_Threads, bool]:
        """Replace threads whose character is complete by what follows it; cut after a match."""
        ordered: dict[tuple[int, int], None] = {}
        for state, leaf in threads:
            if state != DONE:
                ordered[state, leaf] = None
                continue
            further, matched = self._closure(*self._leaves[leaf][1:])
            ordered.update(dict.fromkeys(further))
            if matched:
                return tuple(ordered), True
        return tuple(ordered), False

    def _closure(self, node: int, seen: _Seen | None, ahead: frozenset[_Rest]) -> tuple[_Threads, bool]:
        """Return the characters that may come next from `node` on, best first, and whether a match comes after them.

        `seen` is None where the terminal begins: the character before is another terminal's.
        """
        known = self._closures.get((node, seen, ahead))
        if known is None:
            threads: dict[tuple[int, int], None] = {}
            matched = self._follow((node, ahead, frozenset()), seen, threads)
            known = self._closures[node, seen, ahead] = (tuple(threads), matched)
        return known

    def _follow(self, start: _Way, seen: _Seen | None, threads: dict[tuple[int, int], None]) -> bool:
        """Add the threads from `start` on to `threads`; returns whether a match cut off the rest."""
        pending, visited = [start], set()
        while pending:
            way = pending.pop()
            if way in visited:
                continue
            visited.add(way)
            number, ahead, entered = way
            match self._program.nodes[number]:
                case Match():
                    if ahead:
                        raise ConstraintError("looks ahead at its end, which the lexer's automaton cannot hold")
                    return True
                case Character(ranges, following):
                    threads.update(dict.fromkeys(self._threads(ranges, following, ahead)))
                case Split(options, repeats):
                    inside = entered | {number} if repeats else entered
                    pending += [(option, ahead, inside) for option in reversed(options)]
                case Again(split, repeat, following):
                    # where nothing was read in the body, Python goes on with the rest, not with the body again
                    pending.append((following if split in entered else repeat, ahead, entered - {split}))
                case Ahead(characters, negated, following):
                    if characters:
                        pending.append((following, ahead | {(negated, characters)}, entered))
                    elif not negated:
                        pending.append((following, ahead, entered))
                case Behind(ranges, following):
                    if seen is None:
                        raise ConstraintError("looks behind its start, which the lexer's automaton cannot hold")
                    if seen[self._program.behind.index(ranges)]:
                        pending.append((following, ahead, entered))
        return False

    def _threads(self, ranges: Ranges, following: int, ahead: frozenset[_Rest]) -> Iterator[tuple[int, int]]:
        """Yield the threads that read a character of `ranges`, one for each combination of what looks see in it."""
        parts: list[tuple[Ranges, _Seen, frozenset[_Rest]]] = [(ranges, (), frozenset())]
        for negated, (first, *rest) in ahead:
            inside = [(_common(part, first), seen, left) for part, seen, left in parts]
            if rest:
                inside = [(part, seen, left | {(negated, tuple(rest))}) for part, seen, left in inside]
            elif negated:
                inside = []
            outside = [(_common(part, complement(first)), seen, left) for part, seen, left in parts] if negated else []
            parts = inside + outside
        for behind in self._program.behind:
            parts = [
                (_common(part, members), (*seen, is_in), left)
                for part, seen, left in parts
                for members, is_in in ((behind, True), (complement(behind), False))
            ]
        for part, seen, left in parts:
            if part:
                leaf = (part, following, seen, left)
                number = self._leaf_numbers.setdefault(leaf, len(self._leaves))
                if number == len(self._leaves):
                    self._leaves.append(leaf)
                yield self._characters.state(part), number


def _common(first: Ranges, second: Ranges) -> Ranges:
    return complement(normalise([*complement(first), *complement(second)]))


def _without_blind_alleys(arcs: list[Arcs], accepting: list[bool]) -> TerminalAutomaton:
    """Cut arcs to states from which no match is reached."""
    sources: list[list[int]] = [[] for _ in arcs]
    for state, row in enumerate(arcs):
        for _, _, target in row:
            sources[target].append(state)
    live = set()
    pending = [state for state, accepts in enumerate(accepting) if accepts]
    while pending:
        state = pending.pop()
        if state not in live:
            live.add(state)
            pending += sources[state]
    kept = tuple(tuple(arc for arc in row if arc[2] in live) for row in arcs)
    return TerminalAutomaton(kept, tuple(accepting))
