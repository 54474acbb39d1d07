"""`ForcedText`: the tokens of text that must come next, as the tokeniser itself would write it.

A run of tokens can be appended without asking the model only if the tokeniser would have split the whole text there
too; tokens that could merge with what follows are left to the model. Used by matchers; knows no grammar.
"""

from __future__ import annotations

import bisect
import threading
from collections.abc import Callable
from dataclasses import dataclass

from ..vocabulary import Vocabulary

MAX_FORCED_BYTES = 1024  # of text looked at in one go; a longer stretch comes in several runs
MAX_RUN_LEN = 256  # tokens
MAX_MERGE_LEN = 32  # bytes: longer tokens (of white space, of rules in comments) are not expected to cross the end
_MAX_KEPT = 4096  # stretches remembered

Follows = Callable[[int], bool]
"""Whether a byte may come right after the forced text."""


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Tokens of one text. `borders`: for each place near the end from which a token of the vocabulary could reach
    beyond it, how many tokens would stay, and the bytes that such a token goes on with; fewest tokens first.
    """

    tokens: tuple[int, ...]
    borders: tuple[tuple[int, bytes], ...]


class ForcedText:
    """Canonical runs of one vocabulary. Shared by matchers in any thread; without a tokeniser nothing is ever forced.

    The text before the run does not matter: where a byte-pair encoding has a border between two tokens, the tokens
    after it are those of the text after it alone. The same is used at the end: with X unknown, tokens of F + X agree
    with those of F up to the first token of F + X that crosses the end of F, wherever that may begin.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._tokenize = vocabulary.tokenize
        hidden = vocabulary.special_ids | vocabulary.eos_ids
        self._hidden = hidden
        self._spellings: list[bytes] = []
        if self._tokenize is not None:
            self._spellings = sorted({t for i, t in enumerate(vocabulary.token_bytes) if t and i not in hidden})
        self._stretches: dict[bytes, _Stretch] = {}
        self._next_bytes: dict[bytes, bytes] = {}
        self._lock = threading.Lock()

    @property
    def is_known(self) -> bool:
        """False when there is no tokeniser: then every run is empty."""
        return self._tokenize is not None

    def run(self, text: bytes, follows: Follows) -> tuple[int, ...]:
        """Return the tokens that must come next when `text` must: those that no continuation would change.

        `follows` tells for each byte whether it may come after `text`; it is asked for as few bytes as possible.

        >>> forced.run(b'{"name": "', lambda byte: True)  # doctest: +SKIP
        (4913, 606, 788)
        """
        text, rest = text[:MAX_FORCED_BYTES], text[MAX_FORCED_BYTES:]
        whole = _whole_characters(text)
        after = (text + rest)[len(whole) :]
        if after:  # the byte that follows is forced too
            follows = after[:1].__contains__
        stretch = self._stretch(whole)
        for kept, beyond in stretch.borders:
            if any(map(follows, beyond)):
                return stretch.tokens[: min(kept, MAX_RUN_LEN)]
        return stretch.tokens[:MAX_RUN_LEN]

    def _stretch(self, text: bytes) -> _Stretch:
        found = self._stretches.get(text)
        if found is None:
            found = self._split(text)
            with self._lock:
                if len(self._stretches) >= _MAX_KEPT:
                    self._stretches.clear()
                self._stretches[text] = found
        return found

    def _split(self, text: bytes) -> _Stretch:
        tokens = self._tokens(text)
        borders: dict[int, set[int]] = {}
        for start in range(max(0, len(text) - MAX_MERGE_LEN), len(text)):
            beyond = self._bytes_after(text[start:])
            if beyond:
                kept = _common_len(tokens, self._tokens(_whole_characters(text[:start])))
                borders.setdefault(kept, set()).update(beyond)
        common = b'"a1 -{[\n'  # asked for first: what may follow is mostly among them
        ordered = [
            (kept, bytes(sorted(beyond, key=lambda b: (b not in common, b)))) for kept, beyond in borders.items()
        ]
        return _Stretch(tokens, tuple(sorted(ordered)))

    def _tokens(self, text: bytes) -> tuple[int, ...]:
        """Return the tokeniser's tokens, or nothing where they do not spell `text` or could not be generated."""
        if self._tokenize is None or not text or text[0] & 0xC0 == 0x80:
            return ()
        tokens = tuple(self._tokenize(text.decode("utf-8")))
        spelled = self._vocabulary.token_bytes
        if any(token >= len(spelled) or token in self._hidden or not spelled[token] for token in tokens):
            return ()
        return tokens if b"".join(spelled[token] for token in tokens) == text else ()

    def _bytes_after(self, prefix: bytes) -> bytes:
        """Return the bytes with which tokens of the vocabulary go on after `prefix`."""
        found = self._next_bytes.get(prefix)
        if found is None:
            found = self._find_bytes_after(prefix)
            with self._lock:
                if len(self._next_bytes) >= _MAX_KEPT:
                    self._next_bytes.clear()
                self._next_bytes[prefix] = found
        return found

    def _find_bytes_after(self, prefix: bytes) -> bytes:
        after = bytearray()
        index = bisect.bisect_right(self._spellings, prefix)
        while index < len(self._spellings) and self._spellings[index].startswith(prefix):
            byte = self._spellings[index][len(prefix)]
            after.append(byte)
            if byte == 255:
                break
            index = bisect.bisect_left(self._spellings, prefix + bytes([byte + 1]), index)
        return bytes(after)


def _whole_characters(text: bytes) -> bytes:
    """Cut the start of an unfinished character off the end of `text`."""
    end = len(text)
    while end and end > len(text) - 4 and text[end - 1] & 0xC0 == 0x80:
        end -= 1
    if not end or text[end - 1] < 0x80:
        return text[:end]
    lead = text[end - 1]
    length = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
    return text if len(text) - end + 1 == length else text[: end - 1]


def _common_len(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    for index, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return index
    return min(len(first), len(second))
