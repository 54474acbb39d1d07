"""A terminal's regular expression as a program whose paths have priorities, with the meaning of `re.match`.

Python takes the first way to match, not the longest, so the order of alternatives and greediness are kept. What a
program cannot hold is refused by name. Knows nothing of grammars or bytes. Called by the terminals' determinisation.
"""

from __future__ import annotations

import re._constants as sre  # type: ignore[import-not-found]  # private, but the only exact parser of `re`'s syntax
import re._parser as sre_parser  # type: ignore[import-not-found]
from dataclasses import dataclass
from typing import Any

from .....lang.errors import ConstraintError
from ..character_set import Ranges, complement
from ..regex_syntax import ranges_of

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
    """Go on with the first of `options` that leads to a match.

    `repeats`: one of them is the body of a repeat that may be empty; it ends in an `Again`.
    """

    options: tuple[int, ...] = ()
    repeats: bool = False


@dataclass(frozen=True, slots=True)
class Again:
    """The end of the body that `split` began: on to `repeat`, but to `following` if nothing was read in the body."""

    split: int
    repeat: int
    following: int


@dataclass(frozen=True, slots=True)
class Ahead:
    """Go on if the next characters are of `characters`, one after the other; if they are not, when `negated`."""

    characters: tuple[Ranges, ...]
    negated: bool
    following: int


@dataclass(frozen=True, slots=True)
class Behind:
    """Go on if the character before is of `ranges`."""

    ranges: Ranges
    following: int


@dataclass(frozen=True, slots=True)
class Match:
    """The terminal ends here."""


Node = Character | Split | Again | Ahead | Behind | Match


@dataclass(frozen=True, slots=True)
class Program:
    """Nodes refer to each other by their place in `nodes`; `start` is the first. `behind`: sets looked behind at."""

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
    behind = {node.ranges: None for node in writer.nodes if isinstance(node, Behind)}
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
            return self._repeat(argument, flags, following, greedy=operation is sre.MAX_REPEAT)
        if operation is sre.BRANCH:
            return self.add(Split(tuple(self.sequence(option, flags, following) for option in argument[1])))
        if operation is sre.SUBPATTERN:
            _, added, removed, nodes = argument
            return self.sequence(nodes, (flags | added) & ~removed, following)
        if operation in (sre.ASSERT, sre.ASSERT_NOT):
            return self._look(argument, flags, following, negated=operation is sre.ASSERT_NOT)
        if operation is sre.FAILURE:
            return self.add(Split())
        raise AssertionError(f"unknown operation of the pattern parser: {operation}")

    def _repeat(self, argument: Any, flags: int, following: int, *, greedy: bool) -> int:
        low, high, nodes = argument
        if high == sre.MAXREPEAT:
            start = self._optional(nodes, flags, following, None, greedy=greedy)
        else:
            start = following
            for _ in range(high - low):
                start = self._optional(nodes, flags, following, start, greedy=greedy)
        for _ in range(low):
            start = self.sequence(nodes, flags, start)
        return start

    def _optional(self, nodes: Any, flags: int, following: int, repeat: int | None, *, greedy: bool) -> int:
        """Write a body that may be left out; after it comes `repeat`, or if that is None, the same again."""
        split = Split(repeats=nodes.getwidth()[0] == 0)
        start = self.add(split)
        after = start if repeat is None else repeat
        body = self.sequence(nodes, flags, self.add(Again(start, after, following)) if split.repeats else after)
        split.options = (body, following) if greedy else (following, body)
        return start

    def _look(self, argument: Any, flags: int, following: int, *, negated: bool) -> int:
        direction, nodes = argument
        options = [nodes]
        if negated and len(nodes) == 1 and nodes[0][0] is sre.BRANCH:  # none of several is none of each
            options = nodes[0][1][1]
        for option in options:
            if any(operation not in _CHARACTERS for operation, _ in option) or (direction < 0 and len(option) != 1):
                raise ConstraintError(
                    "looks ahead at more than a row of characters, or behind at more than one, which the lexer's "
                    "automaton cannot hold"
                )
            characters = tuple(ranges_of(operation, detail, flags) for operation, detail in option)
            if direction > 0:
                following = self.add(Ahead(characters, negated, following))
            else:
                following = self.add(Behind(complement(characters[0]) if negated else characters[0], following))
        return following
