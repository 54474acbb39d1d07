"""`Syntax`: a grammar's lexer and parser side by side, and `Reader`, which takes them through a text byte by byte.

Knows nothing of a model's tokens. Built by the lark plugin; read by the masks and the matchers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from .....lang.errors import ConstraintError
from .borders import FIRST, Borders, Follower
from .client import GrammarTables
from .lexer import DEAD, NOT_HERE, NOTHING, Lexer
from .liveness import Liveness, never_stuck
from .parser import Parser, Stack
from .scanner import NO_MATCH, Scanner


class Place(NamedTuple):
    """Where a text may have come to: the parser's stack before the terminal that the lexer is in, and its state."""

    stack: Stack
    state: int


@dataclass(frozen=True, slots=True, eq=False)
class Syntax:
    """What a text is read with. Immutable, but for what the parts remember.

    `starts[state, watch]`: the lexer's state where a token begins after parser state `state`. `ends[outcome]`: see
    `Follower`. `liveness`: None where nothing can get stuck.
    """

    lexer: Lexer
    parser: Parser
    starts: dict[tuple[int, int], int]
    ends: tuple[Follower, ...]
    liveness: Liveness | None

    @property
    def start(self) -> Place:
        """The place before the first byte."""
        bottom = self.parser.bottom
        return Place(bottom, self.starts[bottom.state, NOTHING])


def build_syntax(tables: GrammarTables, tick: Callable[[], None]) -> Syntax:
    """Build the lexer and all that is known in advance; `ConstraintError` for what cannot be held exactly.

    `tick` is called once in a while and raises when the time is up.
    """
    scanner = Scanner(tables.terminals, tick)
    lexer = Lexer(scanner, tick)
    parser = Parser(tables)
    targets = {parser.start: None} | {state: None for row in parser.shifts for state in row.values()}
    scanner_starts = {state: scanner.start(parser.expected(state)) for state in targets}
    starts_after: list[set[int]] = [set() for _ in range(lexer.ignored)]
    for row in parser.shifts:
        for label, state in row.items():
            starts_after[label].add(scanner_starts[state])
    borders = Borders(lexer, [*map(frozenset, starts_after), frozenset(scanner_starts.values())], tick)
    lexer.freeze()
    liveness = None
    if not never_stuck(tables, parser, borders, scanner_starts):
        liveness = Liveness(tables, parser, borders, scanner_starts, tick)
        if not liveness.is_live(liveness.bottom, FIRST):
            raise ConstraintError("no text satisfies the grammar")
        parser.use_keys(liveness.bottom, liveness.key_of)
    ends = tuple((label, kind) for (label, _), kind in zip(lexer.outcome_kinds, borders.kinds, strict=True))
    return Syntax(lexer, parser, _Starts(lexer, scanner_starts), ends, liveness)


class _Starts(dict[tuple[int, int], int]):
    """See `Syntax.starts`; filled when first asked for."""

    def __init__(self, lexer: Lexer, scanner_starts: dict[int, int]) -> None:
        self._lexer = lexer
        self._scanner_starts = scanner_starts

    def __missing__(self, key: tuple[int, int]) -> int:
        state, watch = key
        self[key] = self._lexer.start(self._scanner_starts[state], watch)
        return self[key]


class Reader:
    """Reads on from a place. `lowest`: the depth down to which it has looked at the stack there.

    Whatever it answers is the same for every stack that agrees with this one from the top down to there.
    """

    def __init__(self, syntax: Syntax, stack: Stack) -> None:
        self._syntax = syntax
        self._fed: dict[tuple[Stack, int], Stack | None] = {}
        self.lowest = stack.depth

    def feed(self, stack: Stack, terminal: int) -> Stack | None:
        """Return the stack after `terminal`; of skipped text, as it was."""
        if terminal == self._syntax.lexer.ignored:
            return stack
        key = (stack, terminal)
        if key in self._fed:
            return self._fed[key]
        following, lowest = self._syntax.parser.feed(stack, terminal)
        if lowest < self.lowest:
            self.lowest = lowest
        self._fed[key] = following
        return following

    def step(self, place: Place, byte_class: int) -> Iterator[Place]:
        """Yield the places after one more byte: inside the token, and in a new one if it can end before."""
        lexer = self._syntax.lexer
        stack, state = place
        target = lexer.rows[state][byte_class]
        if target != DEAD:
            yield Place(stack, target)
        end = lexer.ends[state][byte_class]
        if end != NOT_HERE:
            terminal, watch = lexer.end_kinds[end]
            following = self.feed(stack, terminal)
            if following is not None:
                target = lexer.rows[self._syntax.starts[following.state, watch]][byte_class]
                if target != DEAD:
                    yield Place(following, target)

    def is_live(self, place: Place) -> bool:
        """Return whether a text at `place`, after its first byte, can be completed."""
        return self.may_end(place.stack, self._syntax.lexer.outcomes[place.state])

    def may_end(self, stack: Stack, outcomes: int) -> bool:
        """Return whether a token on `stack` can come to one of `outcomes` after which the text can be completed."""
        liveness = self._syntax.liveness
        while outcomes:
            end = self._syntax.ends[(outcomes & -outcomes).bit_length() - 1]
            outcomes &= outcomes - 1
            following = self.feed(stack, end[0])
            if following is not None and (liveness is None or liveness.is_live(following.key, end)):
                return True
        return False

    def can_stop(self, place: Place) -> bool:
        """Return whether a text at `place`, after its first byte, is complete."""
        terminal = self._syntax.lexer.label[place.state]
        following = None if terminal == NO_MATCH else self.feed(place.stack, terminal)
        return following is not None and self.feed(following, self._syntax.parser.end) is not None
