"""`JsonScanner`: where the parts of a JSON text begin and end, as the text comes, without reading anything twice.

It takes any split of the text and holds only its place: brackets and the lexeme that is still open. It trusts the text
to be JSON as far as it goes; who needs to be sure parses the whole. Used for partial values.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Final, Literal

_SPACE: Final = " \t\n\r"
_MARKS: Final = '{}[],:"'
_WORD: Final = re.compile(r"[^ \t\n\r{}\[\],:\"]+")  # a number, true, false or null
_STRING_BREAK: Final = re.compile(r'["\\]')
_PAIRS: Final = {"}": "{", "]": "["}


@dataclass(frozen=True, slots=True)
class Event:
    """A part of the text: `text[start:end]`, counted from the beginning of the whole text.

    `open` and `close` are brackets, `key` is a property's name with its quotes, `scalar` any other value.
    """

    kind: Literal["open", "close", "key", "scalar"]
    text: str
    start: int

    @property
    def end(self) -> int:
        """Where the part ends."""
        return self.start + len(self.text)


class JsonScanner:
    """Scans one JSON text. Time is linear in the text, whatever its pieces."""

    def __init__(self) -> None:
        self._stack: list[str] = []
        self._lexeme: list[str] = []  # the pieces of the string or word that is open
        self._lexeme_start = 0
        self._is_string = False
        self._is_escaped = False  # the next character of the string belongs to a backslash
        self._is_key = False  # the next string is a property's name
        self._offset = 0  # of the chunk in the whole text

    @property
    def open_string(self) -> str | None:
        """The text so far, with its first quote, of a string value that is not closed yet."""
        return "".join(self._lexeme) if self._is_string and not self._is_key else None

    def feed(self, chunk: str) -> Iterator[Event]:
        """Yield what `chunk` completes; `ValueError` for brackets that do not fit."""
        position = 0
        while position < len(chunk):
            if self._is_string:
                position = yield from self._string(chunk, position)
            elif chunk[position] in _MARKS:
                yield from self._end_word()
                yield from self._mark(chunk[position], self._offset + position)
                position += 1
            elif chunk[position] in _SPACE:
                yield from self._end_word()
                position += 1
            else:
                end = _WORD.match(chunk, position).end()  # type: ignore[union-attr]  # at least this character is one
                self._add(chunk[position:end], self._offset + position)
                position = end
        self._offset += len(chunk)

    def finish(self) -> Iterator[Event]:
        """Yield what only the end of the text completes: a number that stands alone."""
        if not self._is_string:
            yield from self._end_word()

    def _add(self, piece: str, start: int) -> None:
        """Begin a lexeme, or continue the one that is open."""
        if not self._lexeme:
            self._lexeme_start = start
        self._lexeme.append(piece)

    def _taken(self, kind: Literal["key", "scalar"]) -> Event:
        event = Event(kind, "".join(self._lexeme), self._lexeme_start)
        self._lexeme = []
        return event

    def _end_word(self) -> Iterator[Event]:
        if self._lexeme:
            yield self._taken("scalar")

    def _string(self, chunk: str, position: int) -> Generator[Event, None, int]:
        """Go on inside a string; returns the position after it, or the end of the chunk."""
        start = position
        while position < len(chunk):
            if self._is_escaped:
                self._is_escaped = False
                position += 1
                continue
            found = _STRING_BREAK.search(chunk, position)
            if found is None:
                break
            position = found.end()
            if found.group() == "\\":
                self._is_escaped = True
                continue
            self._add(chunk[start:position], self._offset + start)
            self._is_string = False
            yield self._taken("key" if self._is_key else "scalar")
            return position
        self._add(chunk[start:], self._offset + start)
        return len(chunk)

    def _mark(self, mark: str, at: int) -> Iterator[Event]:
        """Take one bracket, comma, colon or opening quote."""
        match mark:
            case "{" | "[":
                self._stack.append(mark)
                self._is_key = mark == "{"
                yield Event("open", mark, at)
            case "}" | "]":
                if not self._stack or self._stack.pop() != _PAIRS[mark]:
                    raise ValueError(f"unexpected {mark!r} at position {at}")
                self._is_key = False
                yield Event("close", mark, at)
            case ",":
                self._is_key = bool(self._stack) and self._stack[-1] == "{"
            case ":":
                self._is_key = False
            case _:
                self._add(mark, at)
                self._is_string = True
