"""`TrieWalk`: the lexer walked over a vocabulary's tokens; `StackMemo`: results kept by as much of a stack as they saw.

A walk depends on the lexer's state alone, so it serves every stack; a mask then is a handful of walks put together along
the terminals that the parser accepts. Knows nothing of sequences. Called by the grammar, under its lock.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from .api import MaskRow, num_mask_words
from .lark_lexer import DEAD, NOT_HERE, Lexer
from .lark_parser import Stack
from .token_trie import TokenTrie

_Value = TypeVar("_Value")


@dataclass(slots=True)
class TokenSet:
    """A set of tokens as the words of a mask that are not zero."""

    words: NDArray[np.intp]
    bits: NDArray[np.int32]

    def add_to(self, row: MaskRow) -> None:
        """Make every token of the set legal in `row`."""
        row[self.words] |= self.bits


@dataclass(slots=True)
class Frontier:
    """Places inside tokens: trie nodes whose byte is the first of a new terminal. `walks`: by the lexer's state there."""

    nodes: NDArray[np.int64]
    walks: dict[int, Walk] = field(default_factory=dict)


@dataclass(slots=True)
class Walk:
    """What becomes of the tokens through a frontier from one state of the lexer.

    `inside`: the tokens that end within the terminal begun, by how it may still end (`Lexer.outcomes`). `ends`: where it
    ends within a token: terminal, watch, and where it goes on.
    """

    inside: list[tuple[int, TokenSet]]
    ends: list[tuple[int, int, Frontier]]


class TrieWalk:
    """Walks of one lexer over one vocabulary."""

    def __init__(self, lexer: Lexer, trie: TokenTrie) -> None:
        self._lexer = lexer
        self._trie = trie
        self._class_of_node = lexer.class_of_byte[trie.byte]
        self._twins = np.unique(trie.twins[:, 0])
        self.root = Frontier(np.arange(trie.first_child[0], trie.first_child[1]))
        self.num_bytes = self._class_of_node.nbytes

    def walk(self, frontier: Frontier, state: int) -> Walk:
        """Return the walk of `frontier` from `state`, made when it is first asked for."""
        known = frontier.walks.get(state)
        if known is None:
            known = frontier.walks[state] = self._walk(frontier.nodes, state)
        return known

    def forget(self) -> None:
        """Drop every walk."""
        self.root.walks.clear()
        self.num_bytes = self._class_of_node.nbytes

    def _walk(self, nodes: NDArray[np.int64], state: int) -> Walk:
        lexer, trie = self._lexer, self._trie
        states = np.full(len(nodes), state, dtype=np.int32)
        visited, ended = [], []
        while len(nodes):
            classes = self._class_of_node[nodes]
            watches = lexer.end_table[states, classes]
            places = np.flatnonzero(watches != NOT_HERE)
            ended.append((nodes[places], lexer.labels[states[places]], watches[places]))
            targets = lexer.table[states, classes]
            alive = np.flatnonzero(targets != DEAD)
            nodes, states = nodes[alive], targets[alive]
            visited.append((nodes, states))
            starts = trie.first_child[nodes]
            counts = trie.first_child[nodes + 1] - starts
            # the children of all live nodes, in order: each node's run of child numbers laid end to end
            nodes = np.arange(counts.sum()) + np.repeat(starts - np.cumsum(counts) + counts, counts)
            states = np.repeat(states, counts)
        if not visited:
            return Walk([], [])
        inside = list(self._inside(*map(np.concatenate, zip(*visited, strict=True))))
        ends = list(_grouped(*map(np.concatenate, zip(*ended, strict=True))))
        self.num_bytes += sum(tokens.bits.nbytes * 3 for _, tokens in inside)
        self.num_bytes += sum(frontier.nodes.nbytes for _, _, frontier in ends)
        return Walk(inside, ends)

    def _inside(self, nodes: NDArray[np.int64], states: NDArray[np.int32]) -> Iterator[tuple[int, TokenSet]]:
        reach = self._lexer.reach[states]
        for number in np.flatnonzero(np.bincount(reach)).tolist():
            tokens = self._tokens(nodes[reach == number])
            if len(tokens):
                yield self._lexer.outcome_sets[number], _token_set(tokens, self._trie.num_tokens)

    def _tokens(self, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        tokens = self._trie.token[nodes]
        tokens = tokens[tokens >= 0]
        if len(self._twins):
            found = np.intersect1d(self._twins, nodes)
            if len(found):
                tokens = np.concatenate([tokens, self._trie.twins[np.isin(self._trie.twins[:, 0], found), 1]])
        return tokens


def _token_set(tokens: NDArray[np.int64], num_tokens: int) -> TokenSet:
    row = np.zeros(num_mask_words(num_tokens) * 32, dtype=np.bool_)
    row[tokens] = True
    packed = np.packbits(row, bitorder="little").view(np.int32)
    words = np.flatnonzero(packed)
    return TokenSet(words, packed[words])


def _grouped(
    nodes: NDArray[np.int64], labels: NDArray[np.int32], watches: NDArray[np.int32]
) -> Iterator[tuple[int, int, Frontier]]:
    """Yield (label, watch, frontier) for every pair that occurs."""
    pairs = labels.astype(np.int64) << 32 | watches
    for pair in np.unique(pairs).tolist():
        yield pair >> 32, pair & 0xFFFFFFFF, Frontier(nodes[pairs == pair])


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
