"""The tokens that may follow a state of a byte automaton: a walk over the vocabulary as a trie of bytes.

In C where the kernels were built (a wide state over 150k tokens: 0.1 to 0.5 ms), level by level in numpy elsewhere (5
ms). Neither holds the interpreter's lock in the walk. Knows nothing of grammars; called by the grammar plugins.
"""

from __future__ import annotations

import itertools
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from . import native

Ints = NDArray[np.intp]

_NODE = np.dtype([("skip", "i4"), ("token", "i4"), ("bush", "i4"), ("depth", "u2"), ("byte", "u1"), ("unused", "u1")])
_BUSH_BYTES = 48


class TokenTrie(Protocol):
    """A vocabulary's trie, its nodes in depth-first order without the root; shared by any number of threads."""

    @property
    def num_bytes(self) -> int:
        """Memory it holds."""
        ...

    def mask(self, table: NDArray[np.int32], class_of_byte: NDArray[np.uint8], state: int) -> NDArray[np.int32]:
        """Return the packed mask of the tokens that lead from `state` to a live state.

        - `table`: (states, classes) int32, C order: the next state; row 0 is dead and holds zeros.
        - `class_of_byte`: (256,) uint8 column of each byte.
        - result: (ceil(vocabulary / 32),) int32, bit t % 32 of word t // 32 set where token t is allowed.
        """
        ...


def token_trie(depth: Ints, byte: NDArray[np.uint8], token: Ints, num_tokens: int) -> TokenTrie:
    """Index a trie for walking.

    - `depth`: (nodes,) number of bytes from the root, 1 and up, at most 65535. `byte`: (nodes,) label of the edge into
      each node. `token`: (nodes,) the token that ends there, or -1. Tokens of equal bytes end at siblings.
    - `num_tokens`: ids in the vocabulary, also those that no node has.
    """
    library = native.library()
    if library is None:
        return LevelTrie(depth, byte, token, num_tokens)
    return NativeTrie(library, depth, byte, token, num_tokens)


class NativeTrie:
    """The C kernels."""

    def __init__(
        self,
        library: native.Library,
        depth: NDArray[np.intp],
        byte: NDArray[np.uint8],
        token: NDArray[np.intp],
        num_tokens: int,
    ) -> None:
        self._library = library
        self._num_words = -(-num_tokens // 32)
        nodes = np.zeros(len(depth), dtype=_NODE)
        nodes["depth"], nodes["byte"], nodes["token"] = depth, byte, token
        has_token = token >= 0
        max_depth = int(depth.max(initial=0))
        tokens = np.zeros(np.count_nonzero(has_token), dtype=np.int32)
        bushes = np.zeros((len(nodes), _BUSH_BYTES), dtype=np.uint8)
        num_bushes = library.index_token_trie(
            nodes.ctypes.data, len(nodes), max_depth, bushes.ctypes.data, tokens.ctypes.data, len(tokens)
        )
        nodes["token"][~has_token] = self._num_words * 32  # a bit in a word of its own, which is cut off
        self._arrays = (nodes, bushes[:num_bushes].copy(), tokens)
        self._head = (self._arrays[0].ctypes.data, len(nodes), max_depth, *(a.ctypes.data for a in self._arrays[1:]))

    @property
    def num_bytes(self) -> int:
        """Memory it holds."""
        return sum(array.nbytes for array in self._arrays)

    def mask(self, table: NDArray[np.int32], class_of_byte: NDArray[np.uint8], state: int) -> NDArray[np.int32]:
        """See `TokenTrie`."""
        mask = np.zeros(self._num_words + 1, dtype=np.int32)
        self._library.walk_token_trie(
            *self._head, table.ctypes.data, class_of_byte.ctypes.data, table.shape[1], state, mask.ctypes.data
        )
        return mask[:-1]


class LevelTrie:
    """The walk in numpy, all nodes of one depth at a time."""

    def __init__(self, depth: Ints, byte: NDArray[np.uint8], token: Ints, num_tokens: int) -> None:
        self._num_words = -(-num_tokens // 32)
        self._token = token
        self._byte = byte
        order = np.argsort(depth, kind="stable")
        bounds = np.searchsorted(depth[order], np.arange(1, depth.max(initial=0) + 2))
        self._levels: list[
            tuple[NDArray[np.intp], NDArray[np.intp]]
        ] = []  # (nodes, their parents' places one level up)
        above: Any = None
        for first, last in itertools.pairwise(bounds):
            nodes = order[first:last]
            parents = np.zeros(len(nodes), np.intp) if above is None else np.searchsorted(above, nodes) - 1
            self._levels.append((nodes, parents))
            above = nodes

    @property
    def num_bytes(self) -> int:
        """Memory it holds."""
        return self._token.nbytes + self._byte.nbytes + sum(a.nbytes + b.nbytes for a, b in self._levels)

    def mask(self, table: NDArray[np.int32], class_of_byte: NDArray[np.uint8], state: int) -> NDArray[np.int32]:
        """See `TokenTrie`."""
        allowed = np.zeros(self._num_words * 32, dtype=np.bool_)
        above = np.array([state], dtype=np.int32)
        for nodes, parents in self._levels:
            alive = np.flatnonzero(above[parents])
            states = np.zeros(len(nodes), dtype=np.int32)
            states[alive] = table[above[parents[alive]], class_of_byte[self._byte[nodes[alive]]]]
            tokens = self._token[nodes[states != 0]]
            if not len(tokens):
                break
            allowed[tokens[tokens >= 0]] = True
            above = states
        return np.packbits(allowed, bitorder="little").view(np.int32)
