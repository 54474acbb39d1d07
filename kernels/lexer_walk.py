"""What becomes of a vocabulary's tokens from one state of a lexer, and where in them its terminals end.

In C where the kernels were built, level by level in numpy elsewhere. Neither holds the interpreter's lock in the walk.
Knows nothing of grammars; called by the lark plugin.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from . import native

Ints = NDArray[np.intp]
Table = NDArray[np.int32]

_NODE = np.dtype([("skip", "i4"), ("token", "i4"), ("depth", "u2"), ("byte", "u1"), ("unused", "u1")])
_FIRST_ROOM = 1 << 16  # ends; more are rare


@dataclass(frozen=True, slots=True)
class LexerTables:
    """A lexer over bytes; state 0 is dead, and all its entries say so.

    - `table`: (states, classes) int32, the next state. `ends`: (states, classes) int32, in what way a terminal can end
      before the byte, or -1. `class_of_byte`: (256,) uint8.
    - `reach`: (states,) int32, what of a state is told about the tokens that end in it; `num_reach`: one more than the
      highest.
    """

    table: Table
    ends: Table
    class_of_byte: NDArray[np.uint8]
    reach: Table
    num_reach: int


@dataclass(frozen=True, slots=True)
class Walked:
    """What a walk found.

    - `inside`: (value of `reach`, packed mask of the tokens that end in such a state).
    - `ends`: (way in which a terminal ends, (n,) int32 nodes before whose byte it does, ascending).
    """

    inside: list[tuple[int, Table]]
    ends: list[tuple[int, Table]]


class LexerTrie(Protocol):
    """A vocabulary's trie; shared by any number of threads."""

    @property
    def root(self) -> Table:
        """(n,) int32 nodes of the tokens' first bytes."""
        ...

    def walk(self, lexer: LexerTables, nodes: Table, state: int) -> Walked:
        """Take the tokens below `nodes`, (n,) int32, through `lexer`, which is in `state` before their bytes."""
        ...


def lexer_trie(depth: Ints, byte: NDArray[np.uint8], token: Ints, num_tokens: int) -> LexerTrie:
    """Index a trie for walking; the arguments are those of `token_trie`."""
    library = native.library()
    if library is None:
        return LevelTrie(depth, byte, token, num_tokens)
    return NativeTrie(library, depth, byte, token, num_tokens)


class NativeTrie:
    """The C kernel."""

    def __init__(
        self, library: native.Library, depth: Ints, byte: NDArray[np.uint8], token: Ints, num_tokens: int
    ) -> None:
        self._library = library
        self._num_words = -(-num_tokens // 32)
        self._max_depth = int(depth.max(initial=0))
        self._nodes = np.zeros(len(depth), dtype=_NODE)
        self._nodes["depth"], self._nodes["byte"], self._nodes["token"] = depth, byte, token
        self._nodes["skip"] = np.arange(len(depth)) + _family(depth)[1]
        self.root: Table = np.flatnonzero(depth == 1).astype(np.int32)

    def walk(self, lexer: LexerTables, nodes: Table, state: int) -> Walked:
        """See `LexerTrie`."""
        num_rows, room = min(lexer.num_reach, 64), _FIRST_ROOM
        while True:
            slots = np.full(lexer.num_reach, -1, dtype=np.int32)
            rows = np.zeros((num_rows, self._num_words), dtype=np.int32)
            found = np.empty((2, room), dtype=np.int32)
            num_ends = self._call(lexer, nodes, state, slots, rows, found)
            if num_ends < 0:
                num_rows *= 4
            elif num_ends > room:
                room = num_ends
            else:
                break
        taken = [(number, rows[slots[number]]) for number in np.flatnonzero(slots >= 0).tolist()]
        return Walked(taken, _grouped(found[0, :num_ends], found[1, :num_ends]))

    def _call(self, lexer: LexerTables, nodes: Table, state: int, slots: Table, rows: Table, found: Table) -> int:
        return self._library.walk_lexer(  # type: ignore[no-any-return]
            *(self._nodes.ctypes.data, self._max_depth, nodes.ctypes.data, len(nodes)),
            *(lexer.table.ctypes.data, lexer.ends.ctypes.data, lexer.class_of_byte.ctypes.data, lexer.table.shape[1]),
            *(lexer.reach.ctypes.data, state, slots.ctypes.data, rows.ctypes.data, self._num_words, len(rows)),
            *(found[0].ctypes.data, found[1].ctypes.data, found.shape[1]),
        )


class LevelTrie:
    """The walk in numpy, all nodes of one depth at a time."""

    def __init__(self, depth: Ints, byte: NDArray[np.uint8], token: Ints, num_tokens: int) -> None:
        self._num_words = -(-num_tokens // 32)
        self._byte = byte
        self._token = token
        self._children = np.argsort(depth, kind="stable")  # a node's children lie side by side
        parents = _family(depth)[0]
        self._num_children = np.bincount(parents[parents >= 0], minlength=len(depth))
        by_depth = self._num_children[self._children]
        self._first_child = np.empty(len(depth), dtype=np.intp)
        self._first_child[self._children] = np.count_nonzero(depth == 1) + np.cumsum(by_depth) - by_depth
        self.root: Table = np.flatnonzero(depth == 1).astype(np.int32)

    def walk(self, lexer: LexerTables, nodes: Table, state: int) -> Walked:
        """See `LexerTrie`."""
        here: Ints = nodes.astype(np.intp)
        states = np.full(len(nodes), state, dtype=np.int32)
        visited, ended = [], []
        while len(here):
            classes = lexer.class_of_byte[self._byte[here]]
            ends = lexer.ends[states, classes]
            places = np.flatnonzero(ends >= 0)
            ended.append((here[places].astype(np.int32), ends[places]))
            targets = lexer.table[states, classes]
            alive = np.flatnonzero(targets)
            here, states = here[alive], targets[alive]
            visited.append((self._token[here], lexer.reach[states]))
            counts = self._num_children[here]
            # the children of all live nodes, in order: each node's run of places laid end to end
            last = np.cumsum(counts)
            runs = np.arange(counts.sum()) + np.repeat(self._first_child[here] - last + counts, counts)
            here, states = self._children[runs], np.repeat(states, counts)
        if not visited:
            return Walked([], [])
        tokens, reach = (np.concatenate(column) for column in zip(*visited, strict=True))
        tokens, reach = tokens[tokens >= 0], reach[tokens >= 0]
        inside = [(number, self._packed(tokens[reach == number])) for number in np.unique(reach).tolist()]
        return Walked(inside, _grouped(*(np.concatenate(column) for column in zip(*ended, strict=True))))

    def _packed(self, tokens: Ints) -> Table:
        row = np.zeros(self._num_words * 32, dtype=np.bool_)
        row[tokens] = True
        return np.packbits(row, bitorder="little").view(np.int32)


def _grouped(nodes: Table, kinds: Table) -> list[tuple[int, Table]]:
    """Return the nodes of each kind, ascending."""
    if len(kinds) and kinds.max() < 1 << 15:
        kinds = kinds.astype(np.int16)  # sorted by counting: several times as fast
    order = np.argsort(kinds, kind="stable")
    kinds, nodes = kinds[order], nodes[order]
    bounds = [*np.flatnonzero(np.diff(kinds, prepend=-1)).tolist(), len(nodes)]
    return [(int(kinds[first]), np.sort(nodes[first:last])) for first, last in itertools.pairwise(bounds)]


def _family(depth: Ints) -> tuple[Ints, Ints]:
    """Return for each node, in depth-first order, its parent (-1: none) and the size of its subtree."""
    order = np.argsort(depth, kind="stable")
    bounds = np.searchsorted(depth[order], np.arange(1, depth.max(initial=0) + 2))
    levels = [order[first:last] for first, last in itertools.pairwise(bounds)]
    parents = np.full(len(depth), -1, dtype=np.intp)
    sizes = np.ones(len(depth), dtype=np.intp)
    for above, nodes in reversed(list(itertools.pairwise(levels))):
        parents[nodes] = above[np.searchsorted(above, nodes) - 1]
        np.add.at(sizes, parents[nodes], sizes[nodes])
    return parents, sizes
