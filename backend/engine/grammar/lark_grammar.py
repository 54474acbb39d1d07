"""`LarkGrammar` and its matcher: lark's lexer and parser as a grammar over the tokens of one vocabulary.

A sequence is at one or a few places: a parser stack and a state of the lexer. Masks are kept by as much of them as they
depend on. Knows nothing of where tables come from. Made by the lark plugin.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np

from ....lang.errors import DeadEndError
from ..vocabulary import Vocabulary
from .api import MaskRow, num_mask_words
from .forced_text import ForcedText
from .lark_lexer import DEAD, NOT_HERE, NOTHING, Lexer
from .lark_masks import StackMemo, TrieWalk, Walk
from .lark_parser import Parser, Stack
from .lark_scanner import NO_MATCH, Scanner
from .token_trie import TokenTrie

MAX_MASK_BYTES = 32 << 20  # masks kept per grammar: 130,000 of a 2k vocabulary, 1,700 of a 150k one
MAX_WALK_BYTES = 64 << 20
MAX_KEPT = 100_000  # values of one memo


class Place(NamedTuple):
    """Where a sequence may be: the parser's stack at the start of the lexer's current terminal, and the lexer's state."""

    stack: Stack
    state: int


Places = tuple[Place, ...]


class LarkGrammar:
    """A compiled grammar, shared by its matchers in any thread."""

    def __init__(
        self,
        parser: Parser,
        scanner: Scanner,
        lexer: Lexer,
        trie: TokenTrie,
        vocabulary: Vocabulary,
        forced: ForcedText,
    ) -> None:
        self._parser = parser
        self._lexer = lexer
        self._walks = TrieWalk(lexer, trie)
        self._scanner_starts = [scanner.start(parser.expected(state)) for state in range(parser.num_states)]
        lexer.prepare(set(self._scanner_starts))
        self._starts: dict[tuple[int, int], int] = {}
        self._class_of_byte = lexer.class_of_byte.tobytes()
        self._masks: StackMemo[MaskRow] = StackMemo()
        self._distinct_masks: dict[bytes, MaskRow] = {}
        self._mask_bytes = 0
        self._lock = threading.RLock()
        self.vocabulary = vocabulary
        self.start: Places = (Place(parser.bottom, self._start(parser.bottom, NOTHING)),)

    @property
    def num_bytes(self) -> int:
        return self._lexer.num_bytes + self._walks.num_bytes + self._mask_bytes

    def matcher(self) -> LarkMatcher:
        return LarkMatcher(self)

    def step(self, places: Places, text: bytes) -> Places:
        for byte in text:
            byte_class = self._class_of_byte[byte]
            places = tuple(self._step(places, byte_class))
        return tuple(place for place in places if self.is_live(place))

    def _step(self, places: Places, byte_class: int):
        lexer = self._lexer
        for stack, state in places:
            target = lexer.rows[state][byte_class]
            if target != DEAD:
                yield Place(stack, target)
            watch = lexer.ends[state][byte_class]
            if watch != NOT_HERE:
                label = lexer.label[state]
                following = stack if label == lexer.ignored else self._parser.feed(stack, label)[0]
                if following is not None:
                    target = lexer.rows[self._start(following, watch)][byte_class]
                    if target != DEAD:
                        yield Place(following, target)

    def _start(self, stack: Stack, watch: int) -> int:
        key = (self._scanner_starts[stack.state], watch)
        found = self._starts.get(key)
        if found is None:
            with self._lock:
                found = self._starts[key] = self._lexer.start(*key)
        return found

    def is_live(self, place: Place) -> bool:
        probe = _Probe(self._parser, place.stack)
        return self._may_end(probe, place.stack, self._lexer.outcomes[place.state])

    def _may_end(self, probe, stack, outcomes) -> bool:
        lexer = self._lexer
        while outcomes:
            outcome = (outcomes & -outcomes).bit_length() - 1
            outcomes &= outcomes - 1
            label = lexer.outcome_label[outcome]
            if label == lexer.ignored or probe.feed(stack, label) is not None:
                return True
        return False

    def can_stop(self, places: Places, *, begun: bool) -> bool:
        if not begun:
            return self._parser.feed(self._parser.bottom, self._parser.end)[0] is not None
        for stack, state in places:
            label = self._lexer.label[state]
            if label == NO_MATCH:
                continue
            following = stack if label == self._lexer.ignored else self._parser.feed(stack, label)[0]
            if following is not None and self._parser.feed(following, self._parser.end)[0] is not None:
                return True
        return False

    def can_go_on(self, places: Places) -> bool:
        return any(
            self.is_live(place)
            for byte_class in range(self._lexer.num_classes)
            for place in self._step(places, byte_class)
        )

    def mask(self, place: Place) -> MaskRow:
        found = self._masks.find(place.state, place.stack)
        if found is not None:
            return found
        with self._lock:
            row = np.zeros(num_mask_words(self.vocabulary.size), dtype=np.int32)
            probe = _Probe(self._parser, place.stack)
            self._add(row, probe, place.stack, self._walks.walk(self._walks.root, place.state))
            row = self._distinct_masks.setdefault(row.tobytes(), row)
            self._masks.keep(place.state, place.stack, probe.lowest, row)
            return row

    def _add(self, row: MaskRow, probe: _Probe, stack: Stack, walk: Walk) -> None:
        for outcomes, tokens in walk.inside:
            if self._may_end(probe, stack, outcomes):
                tokens.add_to(row)
        for label, watch, frontier in walk.ends:
            following = stack if label == self._lexer.ignored else probe.feed(stack, label)
            if following is not None:
                start = self._start(following, watch)
                if start != DEAD:
                    self._add(row, probe, following, self._walks.walk(frontier, start))


class _Probe:
    def __init__(self, parser: Parser, stack: Stack) -> None:
        self._parser = parser
        self.lowest = stack.depth

    def feed(self, stack: Stack, terminal: int) -> Stack | None:
        following, lowest = self._parser.feed(stack, terminal)
        self.lowest = min(self.lowest, lowest)
        return following


class LarkMatcher:
    __slots__ = ("_before", "_ended", "_grammar", "_places")

    def __init__(self, grammar: LarkGrammar) -> None:
        self._grammar = grammar
        self._places: Places = grammar.start
        self._before: list = []
        self._ended = False

    @property
    def can_stop(self) -> bool:
        return self._ended or self._grammar.can_stop(self._places, begun=bool(self._before))

    @property
    def is_terminated(self) -> bool:
        return self._ended or (self.can_stop and not self._grammar.can_go_on(self._places))

    def fill_mask(self, row: MaskRow) -> None:
        if self._ended:
            raise DeadEndError("the output is over: end-of-sequence was accepted")
        row[:] = 0
        for place in self._places:
            row |= self._grammar.mask(place)
        if self.can_stop:
            bits = row.view("uint8")
            for token_id in self._grammar.vocabulary.eos_ids:
                bits[token_id >> 3] |= 1 << (token_id & 7)
        elif not row.any():
            raise DeadEndError("no token of the vocabulary continues the text under its constraint")

    def accept(self, token_id: int) -> bool:
        vocabulary = self._grammar.vocabulary
        if self._ended:
            return False
        if token_id in vocabulary.eos_ids:
            if not self.can_stop:
                return False
            self._before.append(self._places)
            self._ended = True
            return True
        text = vocabulary.token_bytes[token_id]
        if token_id in vocabulary.special_ids or not text:
            return False
        places = self._grammar.step(self._places, text)
        if not places:
            return False
        self._before.append(self._places)
        self._places = places
        return True

    def forced(self):
        return ()

    def rollback(self, n: int) -> None:
        if n:
            self._places = self._before[-n]
            del self._before[-n:]
            self._ended = False

    def fork(self):
        m = LarkMatcher(self._grammar)
        m._places, m._before, m._ended = self._places, list(self._before), self._ended
        return m
