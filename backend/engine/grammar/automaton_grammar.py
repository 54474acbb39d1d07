"""`AutomatonGrammar` and its matcher: a byte automaton as a grammar over the tokens of one vocabulary.

The mask of a state is computed the first time a sequence is in it and then kept, as long as memory allows. Knows
nothing of where the automaton came from. Made by the outlines plugin.
"""

from __future__ import annotations

import threading

from ....lang.errors import DeadEndError
from ..vocabulary import Vocabulary
from .api import MaskRow
from .automaton import DEAD, ByteAutomaton
from .token_trie import TokenTrie

MAX_MASK_BYTES = 32 << 20  # masks kept per grammar: 130,000 of a 2k vocabulary, 1,700 of a 150k one

_ENDED = -1  # the state after end-of-sequence


class AutomatonGrammar:
    """A constraint whose state after any text is one state of `automaton`. Shared by its matchers, in any thread."""

    def __init__(self, automaton: ByteAutomaton, trie: TokenTrie, vocabulary: Vocabulary) -> None:
        self._automaton = automaton
        self._trie = trie
        self._masks: dict[int, MaskRow] = {}  # by state, oldest first
        self._mask_bytes = 0
        self._lock = threading.Lock()
        self.vocabulary = vocabulary
        self.start = automaton.start
        self.accepting: list[bool] = automaton.accepting.tolist()
        self.extensible: list[bool] = (automaton.table != DEAD).any(axis=1).tolist()
        self._next = automaton.table.ravel().data  # indexing a memoryview gives plain ints, and fast
        self._num_classes = automaton.table.shape[1]
        self._class_of_byte = automaton.class_of_byte.tobytes()

    @property
    def num_bytes(self) -> int:
        """Memory of the automaton and of the masks kept so far."""
        return self._automaton.num_bytes + self._mask_bytes

    def matcher(self) -> AutomatonMatcher:
        """Return a matcher at the start."""
        return AutomatonMatcher(self, self.start)

    def step(self, state: int, text: bytes) -> int:
        """Return the state after `text`, `DEAD` if none."""
        for byte in text:
            state = self._next[state * self._num_classes + self._class_of_byte[byte]]
            if state == DEAD:
                break
        return state

    def mask(self, state: int) -> MaskRow:
        """Return the packed mask of `state`, end-of-sequence included; not to be changed. `DeadEndError` when empty."""
        found = self._masks.get(state)
        if found is not None:
            return found
        mask = self._trie.mask(self._automaton, state)
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
    """One sequence's state: a number, and the numbers before it for rollback."""

    __slots__ = ("_before", "_grammar", "_state")

    def __init__(self, grammar: AutomatonGrammar, state: int, before: tuple[int, ...] = ()) -> None:
        self._grammar = grammar
        self._state = state
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
        row[:] = self._grammar.mask(self._state)

    def accept(self, token_id: int) -> bool:
        """Consume one token; False, and no change, when it is not legal."""
        vocabulary = self._grammar.vocabulary
        if token_id in vocabulary.eos_ids:
            target = _ENDED if self.can_stop and self._state != _ENDED else DEAD
        elif self._state == _ENDED or token_id in vocabulary.special_ids or not vocabulary.token_bytes[token_id]:
            target = DEAD
        else:
            target = self._grammar.step(self._state, vocabulary.token_bytes[token_id])
        if target == DEAD:
            return False
        self._before.append(self._state)
        self._state = target
        return True

    def forced(self) -> tuple[int, ...]:
        """See `Matcher`; nothing is known to be forced."""
        return ()

    def rollback(self, num_tokens: int) -> None:
        """Undo the last `num_tokens` accepted tokens."""
        if num_tokens:
            self._state = self._before[-num_tokens]
            del self._before[-num_tokens:]

    def fork(self) -> AutomatonMatcher:
        """Return an independent matcher in the same state."""
        return AutomatonMatcher(self._grammar, self._state, tuple(self._before))
