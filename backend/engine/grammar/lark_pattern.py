"""A terminal's regular expression as a program whose paths have priorities, with the meaning of `re.match`.

Python takes the first way to match, not the longest, so the order of alternatives and greediness are kept. What a
program cannot hold is refused by name. Knows nothing of grammars or bytes. Called by the terminals' determinisation.
"""

from __future__ import annotations

import re._constants as sre  # type: ignore[import-not-found]  # private, but the only exact parser of `re`'s syntax
import re._parser as sre_parser  # type: ignore[import-not-found]
from dataclasses import dataclass
from typing import Any

from ....lang.errors import ConstraintError
from .character_set import Ranges, complement
from .regex_syntax import ranges_of

MAX_NODES = 20_000  # of one terminal, every quantifier unrolled

_REFUSED = {
    sre.GROUPREF: "a back-reference",
    sre.GROUPREF_EXISTS: "a conditional group",
    sre.ATOMIC_GROUP: "an atomic group",
    sre.POSSESSIVE_REPEAT: "a possessive quantifier",
    sre.AT: "an anchor or a word boundary (^, $, \\b and kin)",
}
_CHARACTERS = {sre.LITERAL, sre.NOT_LITERAL, sre.ANY, sre.IN}


@dataclass(frozen=True, slots=True)
class Character:
    """Read one character of `ranges`."""

    ranges: Ranges
    following: int


@dataclass(slots=True)
class Split:
    """Go on with the first of `options` that leads to a match. `loop`: one of them is the body of a loop that may be
    empty, whose end is an `Again`.
    """

    options: tuple[int, ...] = ()
    loop: bool = False


@dataclass(frozen=True, slots=True)
class Again:
    """The end of the body of `loop`: once more, unless nothing was read in the body; then on with `following`."""

    loop: int
    following: int


@dataclass(frozen=True, slots=True)
class Look:
    """Go on if the next character (`ahead`) or the one before is of `ranges`."""

    ranges: Ranges
    ahead: bool
    following: int


@dataclass(frozen=True, slots=True)
class Match:
    """The terminal ends here."""


Node = Character | Split | Again | Look | Match


@dataclass(frozen=True, slots=True)
class Program:
    """Nodes refer to each other by their place in `nodes`; `start` is the first. `behind`: the sets looked behind at."""

    nodes: tuple[Node, ...]
    start: int
    behind: tuple[Ranges, ...]


def parse_pattern(pattern: str) -> Program:
    """Return the program of `pattern`, which `re` can compile; `ConstraintError` saying what in it cannot be held."""
    try:
        tree = sre_parser.parse(pattern)
        writer = _Writer()
        start = writer.sequence(tree, tree.state.flags, writer.add(Match()))
    except (RecursionError, OverflowError) as error:
        raise ConstraintError("is nested too deeply or counts too far") from error
    behind = {node.ranges: None for node in writer.nodes if isinstance(node, Look) and not node.ahead}
    return Program(tuple(writer.nodes), start, tuple(behind))


class _Writer:
    """Writes from the end to the start: every node is told what follows it."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def add(self, node: Node) -> int:
        """Append `node` and return its place."""
        if len(self.nodes) >= MAX_NODES:
            raise ConstraintError(f"takes more than {MAX_NODES} steps; its counts are too high")
        self.nodes.append(node)
        return len(self.nodes) - 1

    def sequence(self, nodes: Any, flags: int, following: int) -> int:
        """Write `nodes` one after the other and return where they start."""
        for node in reversed(list(nodes)):
            following = self._node(node, flags, following)
        return following

    def _node(self, node: Any, flags: int, following: int) -> int:
        operation, argument = node
        if operation in _REFUSED:
            raise ConstraintError(f"contains {_REFUSED[operation]}, which the lexer's automaton cannot hold")
        if operation in _CHARACTERS:
            return self.add(Character(ranges_of(operation, argument, flags), following))
        if operation in (sre.MAX_REPEAT, sre.MIN_REPEAT):
            return self._repeat(*argument, flags, following, greedy=operation is sre.MAX_REPEAT)
        if operation is sre.BRANCH:
            return self.add(Split(tuple(self.sequence(option, flags, following) for option in argument[1])))
        if operation is sre.SUBPATTERN:
            _, added, removed, nodes = argument
            return self.sequence(nodes, (flags | added) & ~removed, following)
        if operation in (sre.ASSERT, sre.ASSERT_NOT):
            return self._look(*argument, flags, following, negated=operation is sre.ASSERT_NOT)
        if operation is sre.FAILURE:
            return self.add(Split())
        raise AssertionError(f"unknown operation of the pattern parser: {operation}")

    def _repeat(self, low: int, high: int, nodes: Any, flags: int, following: int, *, greedy: bool) -> int:
        if high == sre.MAXREPEAT:
            start = self._loop(nodes, flags, following, greedy=greedy)
        else:
            start = following
            for _ in range(high - low):
                body = self.sequence(nodes, flags, start)
                start = self.add(Split((body, following) if greedy else (following, body)))
        for _ in range(low):
            start = self.sequence(nodes, flags, start)
        return start

    def _loop(self, nodes: Any, flags: int, following: int, *, greedy: bool) -> int:
        may_be_empty = nodes.getwidth()[0] == 0
        loop = Split(loop=may_be_empty)
        start = self.add(loop)
        body = self.sequence(nodes, flags, self.add(Again(start, following)) if may_be_empty else start)
        loop.options = (body, following) if greedy else (following, body)
        return start

    def _look(self, direction: int, nodes: Any, flags: int, following: int, *, negated: bool) -> int:
        if len(nodes) != 1 or nodes[0][0] not in _CHARACTERS:
            raise ConstraintError("looks ahead or behind at more than one character, which the lexer cannot hold")
        ranges = ranges_of(*nodes[0], flags)
        return self.add(Look(complement(ranges) if negated else ranges, direction > 0, following))
