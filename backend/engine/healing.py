"""Token healing: the prompt's last token is taken back and its bytes are generated again, as the start of the answer.

"http:" ends with a token that no text with "//" after it would have; healed, the model may choose "://". Knows tokens
and matchers, nothing of requests. Made by the request builder, asked like any matcher.
"""

from __future__ import annotations

import bisect
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...lang.errors import DeadEndError
from .grammar.api import MaskRow, Matcher, num_mask_words
from .vocabulary import Vocabulary

_MAX_KEPT = 64  # prefixes whose tokens are remembered


@dataclass(frozen=True, slots=True, eq=False)
class _Starts:
    """The tokens that begin with one prefix: `ids` ascending by spelling, and the rest of each spelling."""

    ids: NDArray[np.int64]
    rests: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, eq=False)
class HealedStart:
    """What may take the place of a prompt's last token, whose bytes are `prefix`.

    `mask`: the tokens that begin with it and go on as the constraint allows. `pieces`: for each of them, tokens by
    which the constraint's matcher consumes what comes after the prefix. `same`: those with nothing after it.
    """

    prefix: bytes
    mask: MaskRow
    pieces: dict[int, tuple[int, ...]]
    same: frozenset[int]


class TokenHealer:
    """Finds healed starts in one vocabulary; used by any thread."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        hidden = vocabulary.special_ids | vocabulary.eos_ids
        spelled = ((text, i) for i, text in enumerate(vocabulary.token_bytes) if text and i not in hidden)
        self._ordered = sorted(spelled)
        self._spellings = [text for text, _ in self._ordered]
        self._id_of = dict(reversed(self._ordered))  # of tokens spelled alike the first
        self._num_words = num_mask_words(vocabulary.size)
        self._starts: dict[bytes, _Starts] = {}
        self._lock = threading.Lock()

    def start(self, prefix: bytes, matcher: Matcher | None) -> HealedStart:
        """Return the tokens that may come where a token spelled `prefix` was; `matcher` is at its start, or None.

        There is always one, the token that was there. A longer one counts if the constraint allows the token, or the
        tokens, that spell the rest of it.
        """
        starts = self._with_prefix(prefix)
        if matcher is None:
            pieces: dict[int, tuple[int, ...]] = dict.fromkeys(starts.ids.tolist(), ())
        else:
            legal = np.zeros(self._num_words, dtype=np.int32)
            matcher.fill_mask(legal)
            is_legal = np.unpackbits(legal.view(np.uint8), bitorder="little")
            pieces = {}
            for token_id, rest in zip(starts.ids.tolist(), starts.rests, strict=True):
                spelling = self._spell(rest)
                if spelling is not None and (not spelling or is_legal[spelling[0]]) and _accepts(matcher, spelling):
                    pieces[token_id] = spelling
        bits = np.zeros(self._num_words * 32, dtype=np.bool_)
        bits[list(pieces)] = True
        same = frozenset(i for i, rest in zip(starts.ids.tolist(), starts.rests, strict=True) if not rest)
        return HealedStart(prefix, np.packbits(bits, bitorder="little").view(np.int32), pieces, same)

    def _with_prefix(self, prefix: bytes) -> _Starts:
        with self._lock:
            found = self._starts.get(prefix)
            if found is None:
                first = bisect.bisect_left(self._spellings, prefix)
                last = bisect.bisect_left(self._spellings, prefix + b"\xff" * 64)
                chosen = self._ordered[first:last]
                ids = np.array([token_id for _, token_id in chosen], dtype=np.int64)
                found = _Starts(ids, tuple(text[len(prefix) :] for text, _ in chosen))
                while len(self._starts) >= _MAX_KEPT:
                    del self._starts[next(iter(self._starts))]
                self._starts[prefix] = found
            return found

    def _spell(self, text: bytes) -> tuple[int, ...] | None:
        """Tokens that spell `text`, each as long as there is one; None when there are none for some byte."""
        tokens = []
        while text:
            end = next((end for end in range(len(text), 0, -1) if text[:end] in self._id_of), 0)
            if not end:
                return None
            tokens.append(self._id_of[text[:end]])
            text = text[end:]
        return tuple(tokens)


class HealingMatcher:
    """A matcher whose first token is a healed start; after it, `inner` decides, or nothing does if that is None."""

    __slots__ = ("_num_accepted", "_num_pieces", "_start", "inner")

    def __init__(self, start: HealedStart, inner: Matcher | None) -> None:
        self._start = start
        self.inner = inner
        self._num_accepted = -1  # tokens after the first; -1 before that
        self._num_pieces = 0  # tokens that `inner` consumed for the first

    @property
    def prefix(self) -> bytes:
        """What the first token begins with."""
        return self._start.prefix

    def is_same(self, token_id: int) -> bool:
        """Whether `token_id` is spelled like the token that it replaces."""
        return token_id in self._start.same

    @property
    def is_free(self) -> bool:
        """True when it allows everything from here on."""
        return self._num_accepted >= 0 and self.inner is None

    @property
    def can_stop(self) -> bool:
        """See `Matcher`; the prefix must be there first."""
        return self._num_accepted >= 0 and (self.inner is None or self.inner.can_stop)

    @property
    def is_terminated(self) -> bool:
        """See `Matcher`."""
        return self._num_accepted >= 0 and self.inner is not None and self.inner.is_terminated

    def fill_mask(self, row: MaskRow) -> None:
        """See `Matcher`."""
        if self._num_accepted < 0:
            row[:] = self._start.mask
        elif self.inner is not None:
            self.inner.fill_mask(row)
        else:
            raise DeadEndError("the text is healed and has no constraint: there is no mask to fill")

    def accept(self, token_id: int) -> bool:
        """See `Matcher`."""
        if self._num_accepted < 0:
            pieces = self._start.pieces.get(token_id)
            if pieces is None:
                return False
            if self.inner is not None:
                assert all(self.inner.accept(piece) for piece in pieces), "a healed start is not what it was"
                self._num_pieces = len(pieces)
        elif self.inner is not None and not self.inner.accept(token_id):
            return False
        self._num_accepted += 1
        return True

    def forced(self) -> Sequence[int]:
        """See `Matcher`."""
        return self.inner.forced() if self._num_accepted >= 0 and self.inner is not None else ()

    def rollback(self, num_tokens: int) -> None:
        """See `Matcher`."""
        if not num_tokens:
            return
        is_start = num_tokens > self._num_accepted
        if self.inner is not None:
            self.inner.rollback(self._num_accepted + self._num_pieces if is_start else num_tokens)
        self._num_accepted -= num_tokens

    def fork(self) -> HealingMatcher:
        """See `Matcher`."""
        copy = HealingMatcher(self._start, None if self.inner is None else self.inner.fork())
        copy._num_accepted, copy._num_pieces = self._num_accepted, self._num_pieces
        return copy


def _accepts(matcher: Matcher, tokens: Sequence[int]) -> bool:
    """Whether `matcher` would consume all of `tokens`; it stays where it is."""
    if len(tokens) < 2:  # the mask has said it
        return True
    probe = matcher.fork()
    return all(probe.accept(token) for token in tokens)
