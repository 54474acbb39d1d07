"""`AutomatonGrammar` and its matcher: a byte automaton as a grammar over the tokens of one vocabulary.

The mask of a state is computed the first time a sequence is in it and then kept, as long as memory allows. Knows
nothing of where the automaton came from. Made by the outlines plugin.
"""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from ....kernels.token_trie import TokenTrie
from ....lang.errors import DeadEndError
from ..vocabulary import Vocabulary
from .api import MaskRow, fill_single
from .automaton import DEAD, ByteAutomaton
from .forced_text import MAX_FORCED_BYTES, ForcedText

MAX_MASK_BYTES = 32 << 20  # masks kept per grammar: 130,000 of a 2k vocabulary, 1,700 of a 150k one
MAX_RUNS = 4096  # forced runs kept per grammar

_ENDED = -1  # the state after end-of-sequence


class AutomatonGrammar:
    """A constraint whose state after any text is one state of `automaton`. Shared by its matchers, in any thread."""

    def __init__(self, automaton: ByteAutomaton, trie: TokenTrie, vocabulary: Vocabulary, forced: ForcedText) -> None:
        self._automaton = automaton
        self._trie = trie
        self._forced = forced
        self._runs: dict[int, tuple[int, ...]] = {}  # by state
        self._masks: dict[int, MaskRow] = {}  # by state, oldest first
        self._mask_bytes = 0
        self._lock = threading.Lock()
        self.vocabulary = vocabulary
        self.start = automaton.start
        self.accepting: list[bool] = automaton.accepting.tolist()
        num_live = np.count_nonzero(automaton.table, axis=1)
        self.extensible: list[bool] = (num_live > 0).tolist()
        self._only_byte = _only_bytes(automaton, num_live).tolist()
        self._next = automaton.table.ravel().data  # indexing a memoryview gives plain ints, and fast
        self._num_classes = automaton.table.shape[1]
        self._class_of_byte = automaton.class_of_byte.tobytes()

    @property
    def num_bytes(self) -> int:
        """Memory of the automaton and of the masks kept so far."""
        return self._automaton.num_bytes + self._mask_bytes

    def matcher(self) -> AutomatonMatcher:
        """Return a matcher at the start."""
        return AutomatonMatcher(self, self.start, self.run(self.start))

    def step(self, state: int, text: bytes) -> int:
        """Return the state after `text`, `DEAD` if none."""
        for byte in text:
            state = self._next[state * self._num_classes + self._class_of_byte[byte]]
            if state == DEAD:
                break
        return state

    def run(self, state: int) -> tuple[int, ...]:
        """Return the tokens that must follow `state`, `()` if there is a choice or the tokeniser is not at hand."""
        if self._only_byte[state] < 0:
            return ()
        found = self._runs.get(state)
        if found is None:
            text = bytearray()
            end = state
            while self._only_byte[end] >= 0 and len(text) <= MAX_FORCED_BYTES:
                text.append(self._only_byte[end])
                end = self._next[end * self._num_classes + self._class_of_byte[text[-1]]]
            base = end * self._num_classes
            found = self._forced.run(bytes(text), lambda byte: self._next[base + self._class_of_byte[byte]] != DEAD)
            if len(self._runs) >= MAX_RUNS:
                self._runs.clear()
            self._runs[state] = found
        return found

    def mask(self, state: int) -> MaskRow:
        """Return the packed mask of `state`, end-of-sequence included; not to be changed. `DeadEndError` when empty."""
        found = self._masks.get(state)
        if found is not None:
            return found
        mask = self._trie.mask(self._automaton.table, self._automaton.class_of_byte, state)
        if self.accepting[state]:
            bits = mask.view("uint8")
            for token_id in self.vocabulary.eos_ids:
                bits[token_id >> 3] |= 1 << (token_id & 7)
        elif not mask.any():
            raise DeadEndError("no token of the vocabulary continues the text under its constraint")
        with self._lock:
            if state not in self._masks:
                self._masks[state] = mask
                self._mask_bytes += mask.nbytes
            while self._mask_bytes > MAX_MASK_BYTES and len(self._masks) > 1:
                self._mask_bytes -= self._masks.pop(next(iter(self._masks))).nbytes
        return mask


class AutomatonMatcher:
    """One sequence's state: a number and the tokens that must come next, and those before it for rollback."""

    __slots__ = ("_before", "_forced", "_grammar", "_state")

    def __init__(
        self,
        grammar: AutomatonGrammar,
        state: int,
        forced: tuple[int, ...],
        before: tuple[tuple[int, tuple[int, ...]], ...] = (),
    ) -> None:
        self._grammar = grammar
        self._state = state
        self._forced = forced
        self._before = list(before)

    @property
    def can_stop(self) -> bool:
        """True when the text so far is complete."""
        return self._state == _ENDED or self._grammar.accepting[self._state]

    @property
    def is_terminated(self) -> bool:
        """True after end-of-sequence, or when the text is complete and no byte can follow."""
        return self._state == _ENDED or (self.can_stop and not self._grammar.extensible[self._state])

    def fill_mask(self, row: MaskRow) -> None:
        """Write the legal tokens into `row`; `DeadEndError` when there are none."""
        if self._state == _ENDED:
            raise DeadEndError("the output is over: end-of-sequence was accepted")
        if self._forced:
            fill_single(row, self._forced[0])
        else:
            row[:] = self._grammar.mask(self._state)

    def accept(self, token_id: int) -> bool:
        """Consume one token; False, and no change, when it is not legal."""
        vocabulary = self._grammar.vocabulary
        if self._forced:
            if token_id != self._forced[0]:
                return False
            target = self._grammar.step(self._state, vocabulary.token_bytes[token_id])
        elif token_id in vocabulary.eos_ids:
            target = _ENDED if self.can_stop and self._state != _ENDED else DEAD
        elif self._state == _ENDED or token_id in vocabulary.special_ids or not vocabulary.token_bytes[token_id]:
            target = DEAD
        else:
            target = self._grammar.step(self._state, vocabulary.token_bytes[token_id])
        if target == DEAD:
            return False
        self._before.append((self._state, self._forced))
        self._state = target
        self._forced = self._forced[1:] or (() if target == _ENDED else self._grammar.run(target))
        return True

    def forced(self) -> tuple[int, ...]:
        """Return the tokens that must come next."""
        return self._forced

    def rollback(self, num_tokens: int) -> None:
        """Undo the last `num_tokens` accepted tokens."""
        if num_tokens:
            self._state, self._forced = self._before[-num_tokens]
            del self._before[-num_tokens:]

    def fork(self) -> AutomatonMatcher:
        """Return an independent matcher in the same state."""
        return AutomatonMatcher(self._grammar, self._state, self._forced, tuple(self._before))


def _only_bytes(automaton: ByteAutomaton, num_live: NDArray[np.intp]) -> NDArray[np.int16]:
    """Return for each state the one byte that can follow it, or -1; also -1 where the text may end."""
    only = np.full(len(num_live), -1, dtype=np.int16)
    states = np.flatnonzero((num_live == 1) & ~automaton.accepting)
    classes = (automaton.table[states] != DEAD).argmax(axis=1)
    sizes = np.bincount(automaton.class_of_byte, minlength=automaton.table.shape[1])
    first_byte = np.zeros(automaton.table.shape[1], dtype=np.int16)
    first_byte[automaton.class_of_byte[::-1]] = np.arange(255, -1, -1)
    is_single = sizes[classes] == 1
    only[states[is_single]] = first_byte[classes[is_single]]
    return only
