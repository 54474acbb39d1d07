"""`LarkGrammar` and its matcher: a grammar of lark's as a constraint on the tokens of one vocabulary.

A sequence is at one place of the syntax, or at a few while it is open where a terminal ends. Masks and forced tokens
are kept by as much of a place as they depend on. Made by the lark plugin.
"""

from __future__ import annotations

import threading

import numpy as np

from .....kernels.lexer_walk import LexerTrie
from .....lang.errors import DeadEndError
from ...vocabulary import Vocabulary
from ..api import MaskRow, fill_single, num_mask_words
from ..forced_text import MAX_FORCED_BYTES, ForcedText
from .lexer import DEAD
from .masks import StackMemo, TrieWalk, Walk
from .parser import Stack
from .syntax import Place, Reader, Syntax

MAX_MASK_BYTES = 32 << 20  # masks kept per grammar: 130,000 of a 2k vocabulary, 1,700 of a 150k one
MAX_WALK_BYTES = 64 << 20
MAX_KEPT = 50_000  # places whose mask, or whose forced tokens, are kept
MAX_PARTS = 50_000  # walks in one mask; 300 are many

Places = tuple[Place, ...]


class LarkGrammar:
    """A compiled grammar, shared by its matchers in any thread."""

    def __init__(self, syntax: Syntax, trie: LexerTrie, vocabulary: Vocabulary, forced: ForcedText) -> None:
        self._syntax = syntax
        self._class_of_byte = syntax.lexer.class_of_byte.tolist()
        self._class_sizes = np.bincount(syntax.lexer.class_of_byte).tolist()
        self._walks = TrieWalk(syntax.lexer, trie)
        self._forced = forced
        self._lock = threading.Lock()  # held while something is added to what follows
        self._masks: StackMemo[MaskRow] = StackMemo()
        self._runs: StackMemo[tuple[int, ...]] = StackMemo()
        self._distinct_masks: dict[bytes, MaskRow] = {}  # most places have another one's mask
        self._mask_bytes = 0
        self.vocabulary = vocabulary
        self.start: Places = (syntax.start,)

    @property
    def num_bytes(self) -> int:
        """Memory of the automata and of what has been kept so far, roughly."""
        kept = 400 * (self._masks.num_values + self._runs.num_values)
        return self._syntax.lexer.num_bytes + self._walks.num_bytes + self._mask_bytes + kept

    def matcher(self) -> LarkMatcher:
        """Return a matcher at the start."""
        return LarkMatcher(self, self.start, self.run(self.start, begun=False))

    def step(self, places: Places, text: bytes) -> Places:
        """Return where `text` leads from `places`; nowhere, if a text that begins so cannot be completed."""
        reader = self._reader(places)
        for byte in text:
            byte_class = self._class_of_byte[byte]
            places = tuple(further for place in places for further in reader.step(place, byte_class))
        return tuple(filter(reader.is_live, places))

    def can_stop(self, places: Places, *, begun: bool) -> bool:
        """Return whether the text is complete. `begun`: it is not empty."""
        reader = self._reader(places)
        if not begun:
            return reader.feed(places[0].stack, self._syntax.parser.end) is not None
        return any(map(reader.can_stop, places))

    def can_go_on(self, places: Places) -> bool:
        """Return whether there is a byte that may come next."""
        reader = self._reader(places)
        return any(self._may_follow(reader, places, byte_class) for byte_class in range(len(self._class_sizes)))

    def mask(self, place: Place) -> MaskRow:
        """Return the packed mask of `place`, without end-of-sequence; not to be changed."""
        found = self._masks.find(place.state, place.stack)
        if found is not None:
            return found
        with self._lock:
            found = self._masks.find(place.state, place.stack)
            if found is not None:  # made while we waited
                return found
            if self._mask_bytes > MAX_MASK_BYTES or self._masks.num_values > MAX_KEPT:
                self._masks.clear()
                self._distinct_masks.clear()
                self._mask_bytes = 0
            if self._walks.num_bytes > MAX_WALK_BYTES:
                self._walks.forget()
            mask = _MaskBuilder(self._syntax, self._walks, num_mask_words(self.vocabulary.size)).build(place)
            row = self._distinct_masks.setdefault(mask.row.tobytes(), mask.row)
            if row is mask.row:
                self._mask_bytes += 2 * row.nbytes
            self._masks.keep(place.state, place.stack, mask.reader.lowest, row)
        return row

    def run(self, places: Places, *, begun: bool) -> tuple[int, ...]:
        """Return the tokens that must come next; `()` where there is a choice. `begun`: see `can_stop`."""
        if not self._forced.is_known or len(places) > 1 or (not begun and self.can_stop(places, begun=False)):
            return ()
        place = places[0]
        found = self._runs.find(place.state, place.stack)
        if found is None:
            reader = Reader(self._syntax, place.stack)
            found = self._find_run(reader, places)
            with self._lock:
                if self._runs.num_values > MAX_KEPT:
                    self._runs.clear()
                self._runs.keep(place.state, place.stack, reader.lowest, found)
        return found

    def _find_run(self, reader: Reader, places: Places) -> tuple[int, ...]:
        text = bytearray()
        while len(text) <= MAX_FORCED_BYTES:
            byte = self._only_byte(reader, places)
            if byte is None:
                break
            text.append(byte)
            byte_class = self._class_of_byte[byte]
            places = tuple(further for place in places for further in reader.step(place, byte_class))
            places = tuple(filter(reader.is_live, places))
        if not text:
            return ()
        return self._forced.run(bytes(text), lambda byte: self._may_follow(reader, places, self._class_of_byte[byte]))

    def _only_byte(self, reader: Reader, places: Places) -> int | None:
        """Return the byte that must come next; None where there is a choice, to stop included."""
        if any(map(reader.can_stop, places)):
            return None
        only = None
        for byte_class, size in enumerate(self._class_sizes):
            if self._may_follow(reader, places, byte_class):
                if only is not None or size > 1:
                    return None
                only = byte_class
        return None if only is None else self._class_of_byte.index(only)

    def _may_follow(self, reader: Reader, places: Places, byte_class: int) -> bool:
        return any(reader.is_live(further) for place in places for further in reader.step(place, byte_class))

    def _reader(self, places: Places) -> Reader:
        return Reader(self._syntax, places[0].stack)


class _MaskBuilder:
    """Puts the walks of one mask together."""

    def __init__(self, syntax: Syntax, walks: TrieWalk, num_words: int) -> None:
        self._syntax = syntax
        self._walks = walks
        self._num_parts = 0
        self.row = np.zeros(num_words, dtype=np.int32)

    def build(self, place: Place) -> _MaskBuilder:
        """Fill `row` with the tokens that are legal at `place`; `reader` then knows what that depended on."""
        self.reader = Reader(self._syntax, place.stack)
        self._add(place.stack, self._walks.walk(self._walks.root, place.state))
        return self

    def _add(self, stack: Stack, walk: Walk) -> None:
        self._num_parts += 1
        if self._num_parts > MAX_PARTS:
            raise DeadEndError(
                "the grammar's terminals are too short for a mask: tokens hold too many sequences of them"
            )
        for outcomes, tokens in walk.inside:
            if self.reader.may_end(stack, outcomes):
                tokens.add_to(self.row)
        for terminal, watch, frontier in walk.ends:
            following = self.reader.feed(stack, terminal)
            if following is not None:
                start = self._syntax.starts[following.state, watch]
                if start != DEAD:
                    self._add(following, self._walks.walk(frontier, start))


class LarkMatcher:
    """One sequence: where it may be, the tokens that must come next, and those before for rollback."""

    __slots__ = ("_before", "_ended", "_forced", "_grammar", "_places")

    def __init__(
        self,
        grammar: LarkGrammar,
        places: Places,
        forced: tuple[int, ...],
        before: tuple[tuple[Places, tuple[int, ...]], ...] = (),
        *,
        ended: bool = False,
    ) -> None:
        self._grammar = grammar
        self._places = places
        self._forced = forced
        self._before = list(before)
        self._ended = ended

    @property
    def can_stop(self) -> bool:
        """True when the text so far is complete."""
        return self._ended or self._grammar.can_stop(self._places, begun=bool(self._before))

    @property
    def is_terminated(self) -> bool:
        """True after end-of-sequence, or when the text is complete and no byte can follow."""
        return self._ended or (self.can_stop and not self._grammar.can_go_on(self._places))

    def fill_mask(self, row: MaskRow) -> None:
        """Write the legal tokens into `row`; `DeadEndError` when there are none or a limit is reached."""
        if self._ended:
            raise DeadEndError("the output is over: end-of-sequence was accepted")
        if self._forced:
            fill_single(row, self._forced[0])
            return
        row[:] = self._grammar.mask(self._places[0])
        for place in self._places[1:]:
            row |= self._grammar.mask(place)
        if self.can_stop:
            bits = row.view(np.uint8)
            for token_id in self._grammar.vocabulary.eos_ids:
                bits[token_id >> 3] |= 1 << (token_id & 7)
        elif not row.any():
            raise DeadEndError("no token of the vocabulary continues the text under its constraint")

    def accept(self, token_id: int) -> bool:
        """Consume one token; False, and no change, when it is not legal."""
        vocabulary = self._grammar.vocabulary
        if self._ended or (self._forced and token_id != self._forced[0]):
            return False
        if token_id in vocabulary.eos_ids:
            if not self.can_stop:
                return False
            self._before.append((self._places, self._forced))
            self._ended = True
            return True
        if token_id in vocabulary.special_ids or not vocabulary.token_bytes[token_id]:
            return False
        places = self._grammar.step(self._places, vocabulary.token_bytes[token_id])
        if not places:
            return False
        self._before.append((self._places, self._forced))
        self._places = places
        self._forced = self._forced[1:] or self._grammar.run(places, begun=True)
        return True

    def forced(self) -> tuple[int, ...]:
        """Return the tokens that must come next."""
        return self._forced

    def rollback(self, num_tokens: int) -> None:
        """Undo the last `num_tokens` accepted tokens."""
        if num_tokens:
            self._places, self._forced = self._before[-num_tokens]
            del self._before[-num_tokens:]
            self._ended = False

    def fork(self) -> LarkMatcher:
        """Return an independent matcher in the same state."""
        return LarkMatcher(self._grammar, self._places, self._forced, tuple(self._before), ended=self._ended)
