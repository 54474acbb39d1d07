"""`ByteAutomaton`: a deterministic automaton over bytes as one array, and how to make one from a list of texts.

Every state can still reach an accepting one. Knows nothing of tokens or of regex syntax. Made by the plugins, walked by
the token trie and by matchers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ....lang.errors import ConstraintError

DEAD = 0  # the state that no text leaves
MAX_ENTRIES = 16 << 20  # of a table: 64 MB


@dataclass(frozen=True, slots=True, eq=False)
class ByteAutomaton:
    """States are rows of `table`; row `DEAD` holds only itself.

    - `table`: (states, classes) int32, the next state.
    - `class_of_byte`: (256,) uint8 column of each byte; bytes that no state tells apart share one.
    - `accepting`: (states,) bool. `start`: the first state.
    """

    table: NDArray[np.int32]
    class_of_byte: NDArray[np.uint8]
    accepting: NDArray[np.bool_]
    start: int

    @property
    def num_bytes(self) -> int:
        """Memory of the arrays."""
        return self.table.nbytes + self.class_of_byte.nbytes + self.accepting.nbytes

    def matches(self, text: bytes) -> bool:
        """Return whether the whole `text` is accepted."""
        state = self.start
        for byte in text:
            state = int(self.table[state, self.class_of_byte[byte]])
        return bool(self.accepting[state])


def from_rows(rows: NDArray[np.int32], accepting: NDArray[np.bool_], start: int) -> ByteAutomaton:
    """Build from `rows` (states, 256) int32 by merging the bytes whose columns are equal and cutting blind alleys.

    A blind alley is a path without a cycle from which no accepting state is reached.
    """
    class_of_byte, columns = _distinct_columns(rows)
    table = np.ascontiguousarray(rows[:, columns])
    while True:
        blind = ~(accepting | (table != DEAD).any(axis=1))
        blind[DEAD] = False
        leads_there = blind[table]
        if not leads_there.any():
            return ByteAutomaton(table, class_of_byte, accepting, start)
        table[leads_there] = DEAD


def from_texts(texts: Sequence[bytes]) -> ByteAutomaton:
    """Build the trie of `texts` (distinct): exactly they are accepted, also where one begins another.

    `ConstraintError` when the texts are too many or too long.
    """
    used = sorted(set().union(*texts))
    class_of_byte = np.full(256, len(used), dtype=np.uint8)  # the class of bytes that no text has
    class_of_byte[used] = np.arange(len(used), dtype=np.uint8)
    children: list[dict[int, int]] = [{}, {}]  # DEAD and the start
    ends = [_insert(children, text) for text in texts]
    if len(children) * (len(used) + 1) > MAX_ENTRIES:
        raise ConstraintError(f"the {len(texts)} choices are too long together ({sum(map(len, texts))} bytes)")
    table = np.zeros((len(children), len(used) + 1), dtype=np.int32)
    for state, row in enumerate(children):
        for byte, target in row.items():
            table[state, class_of_byte[byte]] = target
    accepting = np.zeros(len(children), dtype=np.bool_)
    accepting[ends] = True
    return ByteAutomaton(table, class_of_byte, accepting, start=1)


def _insert(children: list[dict[int, int]], text: Iterable[int]) -> int:
    """Add one text to the trie and return the state it ends in."""
    state = 1
    for byte in text:
        target = children[state].get(byte)
        if target is None:
            target = len(children)
            children[state][byte] = target
            children.append({})
        state = target
    return state


def _distinct_columns(rows: NDArray[np.int32]) -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
    """Return the class of each of the 256 columns and one column of each class."""
    weights = np.random.default_rng(0).integers(1, 2**62, size=len(rows), dtype=np.int64)
    hashes = weights @ rows.astype(np.int64)
    _, columns, classes = np.unique(hashes, return_index=True, return_inverse=True)
    if not np.array_equal(rows[:, columns][:, classes], rows):  # two different columns with one hash
        _, columns, classes = np.unique(rows, axis=1, return_index=True, return_inverse=True)
    return classes.reshape(256).astype(np.uint8), columns
