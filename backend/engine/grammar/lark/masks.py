"""`TrieWalk`: the lexer walked over a vocabulary's tokens; `StackMemo`: results kept by as much of a stack as they saw.

A walk depends on the lexer's state alone, so it serves every stack; a mask is a handful of walks put together along the
terminals that the parser accepts. Knows nothing of sequences. Called by the grammar, under its lock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from .....kernels.lexer_walk import LexerTables, LexerTrie
from ..api import MaskRow
from .lexer import Lexer
from .parser import Stack

_Value = TypeVar("_Value")


@dataclass(slots=True)
class TokenSet:
    """A set of tokens as the words of a mask that are not zero."""

    words: NDArray[np.intp]
    bits: NDArray[np.int32]

    @property
    def num_bytes(self) -> int:
        """Memory of the arrays."""
        return self.words.nbytes + self.bits.nbytes

    def add_to(self, row: MaskRow) -> None:
        """Make every token of the set legal in `row`."""
        row[self.words] |= self.bits


@dataclass(slots=True)
class Frontier:
    """Places inside tokens: nodes of the trie whose byte is the first of a new terminal.

    `walks`: by the lexer's state before that byte.
    """

    nodes: NDArray[np.int32]
    walks: dict[int, Walk] = field(default_factory=dict)


@dataclass(slots=True)
class Walk:
    """What becomes of the tokens through a frontier from one state of the lexer.

    `inside`: the tokens that end within the terminal begun, by how it may still end (`Lexer.outcomes`). `ends`: where
    it ends within a token: terminal, watch, and where the text goes on.
    """

    inside: list[tuple[int, TokenSet]]
    ends: list[tuple[int, int, Frontier]]


class TrieWalk:
    """Walks of one lexer, which is frozen, over one vocabulary."""

    def __init__(self, lexer: Lexer, trie: LexerTrie) -> None:
        self._lexer = lexer
        self._trie = trie
        self._tables = LexerTables(
            lexer.table, lexer.end_table, lexer.class_of_byte, lexer.reach, len(lexer.outcome_sets)
        )
        self.forget()

    def forget(self) -> None:
        """Drop every walk."""
        self.num_bytes = 0
        self._frontiers: dict[bytes, Frontier] = {}
        self.root = self._frontier(self._trie.root)

    def walk(self, frontier: Frontier, state: int) -> Walk:
        """Return the walk of `frontier` from `state`, made when it is first asked for."""
        known = frontier.walks.get(state)
        if known is None:
            walked = self._trie.walk(self._tables, frontier.nodes, state)
            inside = [(self._lexer.outcome_sets[number], _token_set(row)) for number, row in walked.inside]
            ends = [(*self._lexer.end_kinds[kind], self._frontier(nodes)) for kind, nodes in walked.ends]
            known = frontier.walks[state] = Walk(inside, ends)
            self.num_bytes += 200 + sum(tokens.num_bytes for _, tokens in inside)
        return known

    def _frontier(self, nodes: NDArray[np.int32]) -> Frontier:
        """Return the frontier of `nodes`, the one that is there if there is one: most come up after many terminals."""
        key = nodes.tobytes()
        known = self._frontiers.get(key)
        if known is None:
            known = self._frontiers[key] = Frontier(nodes.copy())
            self.num_bytes += 2 * nodes.nbytes + 200
        return known


def _token_set(row: MaskRow) -> TokenSet:
    words = np.flatnonzero(row)
    return TokenSet(words, row[words])


class StackMemo(Generic[_Value]):
    """Values that depend on a number and on the upper part of a stack, of which they say how far down they looked.

    Two stacks that agree that far have the same value, whatever lies below: a tree of the keys from the top down.
    """

    def __init__(self) -> None:
        self._roots: dict[int, Any] = {}  # dictionaries by key, down to a `_Leaf`
        self.num_values = 0

    def find(self, number: int, stack: Stack | None) -> _Value | None:
        """Return the value for `number` on top of `stack`, None if it is not known."""
        node = self._roots.get(number)
        while type(node) is dict:
            assert stack is not None
            node = node.get(stack.key)
            stack = stack.below
        return None if node is None else node.value

    def keep(self, number: int, stack: Stack, lowest: int, value: _Value) -> None:
        """Keep `value`, for which `stack` was looked at from the top down to depth `lowest`."""
        keys = [number]
        place: Stack | None = stack
        while place is not None and place.depth >= lowest:
            keys.append(place.key)
            place = place.below
        tree = self._roots
        for key in keys[:-1]:
            tree = tree.setdefault(key, {})
        tree[keys[-1]] = _Leaf(value)
        self.num_values += 1

    def clear(self) -> None:
        """Forget everything."""
        self._roots = {}
        self.num_values = 0


@dataclass(frozen=True, slots=True)
class _Leaf(Generic[_Value]):
    value: _Value
