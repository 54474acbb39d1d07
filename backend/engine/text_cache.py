"""`TextCache`: the token ids of texts seen lately, bounded by characters.

A least-recently-used map, safe from several threads; knows nothing of tokenizers. Used by the tokenizer.
"""

from __future__ import annotations

import threading
from collections import OrderedDict


class TextCache:
    """Maps (place in its sequence, text) to token ids; holds at most `max_characters` of text."""

    def __init__(self, max_characters: int) -> None:
        self._max_characters = max_characters
        self._entries: OrderedDict[tuple[str, str], tuple[int, ...]] = OrderedDict()
        self._num_characters = 0
        self._lock = threading.Lock()

    def get(self, key: tuple[str, str]) -> tuple[int, ...] | None:
        """Return the ids of a text, or None when it is not held."""
        with self._lock:
            ids = self._entries.get(key)
            if ids is not None:
                self._entries.move_to_end(key)
            return ids

    def put(self, key: tuple[str, str], ids: tuple[int, ...]) -> None:
        """Hold the ids of a text; the texts used least recently make room. One larger than the whole is not held."""
        size = len(key[1])
        if size > self._max_characters:
            return
        with self._lock:
            if key in self._entries:
                return
            self._entries[key] = ids
            self._num_characters += size
            while self._num_characters > self._max_characters:
                (_, text), _ids = self._entries.popitem(last=False)
                self._num_characters -= len(text)
