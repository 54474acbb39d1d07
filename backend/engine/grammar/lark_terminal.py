"""`TerminalAutomaton`: the bytes at which `re.match` of a terminal's pattern would have ended, whatever comes after.

A state is the list of ways to go on, best first, and what comes after a match in it is dropped: so the last accepting
state on a text is where Python's match ends, lazy quantifiers and ordered alternatives included (as in Russ Cox's RE2).
Knows nothing of other terminals. Made for the lexer.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ....lang.errors import ConstraintError
from .character_set import Ranges, complement, normalise
from .lark_characters import DONE, Arcs, CharacterAutomata
from .lark_pattern import Again, Character, Look, Match, Program, Split, parse_pattern

MAX_STATES = 10_000  # of one terminal; `/.{0,500}/` takes 4,500, a Unicode identifier 620

DEAD = 0

_Leaf = tuple[Ranges, int, tuple[bool, ...]]
"""What a character may be, the node after it, and for each set that is looked behind at whether the character is in."""

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
        self._closures: dict[tuple[int, tuple[bool, ...] | None], tuple[_Threads, bool]] = {}
        self._states: dict[tuple[_Threads, bool], int] = {}
        self._pending: list[_Threads] = []
        self._accepting = [False]

    def build(self, tick: Callable[[], None]) -> TerminalAutomaton:
        """Number the states from the start on."""
        arcs: list[Arcs] = [()]
        self._number(*self._closure(self._program.start, None))
        while len(arcs) <= len(self._pending):
            tick()
            arcs.append(tuple(self._arcs(self._pending[len(arcs) - 1])))
        return _without_blind_alleys(arcs, self._accepting)

    def _number(self, threads: _Threads, accepting: bool) -> int:
        key = (threads, accepting)
        number = self._states.get(key)
        if number is None:
            if len(self._states) >= MAX_STATES:
                raise ConstraintError(f"takes more than {MAX_STATES} states")
            self._pending.append(threads)
            self._accepting.append(accepting)
            number = self._states[key] = len(self._pending)
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
                    targets[key] = self._number(*self._advance(key))
                yield cuts[index], cuts[index + 1] - 1, targets[key]

    def _advance(self, threads: _Threads) -> tuple[_Threads, bool]:
        """Replace threads whose character is complete by what follows it; cut after a match."""
        ordered: dict[tuple[int, int], None] = {}
        for state, leaf in threads:
            if state != DONE:
                ordered[state, leaf] = None
                continue
            _, following, seen = self._leaves[leaf]
            further, matched = self._closure(following, seen)
            ordered.update(dict.fromkeys(further))
            if matched:
                return tuple(ordered), True
        return tuple(ordered), False

    def _closure(self, node: int, seen: tuple[bool, ...] | None) -> tuple[_Threads, bool]:
        """Return the characters that may come next from `node` on, best first, and whether a match comes after them.

        `seen`: see `_Leaf`; None where the terminal begins, whose character before is another terminal's.
        """
        known = self._closures.get((node, seen))
        if known is None:
            threads: dict[tuple[int, int], None] = {}
            matched = self._follow(node, seen, threads)
            known = self._closures[node, seen] = (tuple(threads), matched)
        return known

    def _follow(self, start: int, seen: tuple[bool, ...] | None, threads: dict[tuple[int, int], None]) -> bool:
        """Add the threads from `start` on to `threads`; returns whether a match cut off the rest."""
        Place = tuple[int, Ranges | None, frozenset[int]]  # node, what the next character must be, loops entered
        pending: list[Place] = [(start, None, frozenset())]
        visited: set[Place] = set()
        while pending:
            place = pending.pop()
            if place in visited:
                continue
            visited.add(place)
            number, required, entered = place
            match self._program.nodes[number]:
                case Match():
                    if required is not None:
                        raise ConstraintError("looks ahead at its end, which the lexer cannot hold")
                    return True
                case Character(ranges, following):
                    allowed = ranges if required is None else _common(ranges, required)
                    threads.update(dict.fromkeys(self._threads(allowed, following)))
                case Split(options, is_loop):
                    inside = entered | {number} if is_loop else entered
                    pending += [(option, required, inside) for option in reversed(options)]
                case Again(loop, following):
                    # nothing was read since the loop was entered: Python tries the rest, not the body again
                    pending.append((following if loop in entered else loop, required, entered - {loop}))
                case Look(ranges, True, following):
                    required = ranges if required is None else _common(ranges, required)
                    pending.append((following, required, entered))
                case Look(ranges, False, following):
                    if seen is None:
                        raise ConstraintError("looks behind its start, which the lexer cannot hold")
                    if seen[self._program.behind.index(ranges)]:
                        pending.append((following, required, entered))
        return False

    def _threads(self, ranges: Ranges, following: int) -> Iterator[tuple[int, int]]:
        """Yield the threads that read a character of `ranges`, one for each combination of sets looked behind at."""
        parts: list[tuple[Ranges, tuple[bool, ...]]] = [(ranges, ())]
        for behind in self._program.behind:
            parts = [
                (_common(part, members), (*seen, inside))
                for part, seen in parts
                for members, inside in ((behind, True), (complement(behind), False))
            ]
        for part, seen in parts:
            if part:
                leaf = (part, following, seen)
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
