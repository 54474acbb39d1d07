"""`PartialJson`: the value that a JSON text spells so far, part by part, as the text comes.

Linear in the text: nothing is scanned twice, and a part is read once, when it closes. Knows shapes of types, not
pydantic. Made by the reader of a gen, for streams.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Final, Protocol, runtime_checkable

from .json_scanner import Event, JsonScanner
from .json_shape import Places, Shape

# an escape that is cut off, after any number of whole ones
_CUT_ESCAPE: Final = re.compile(r"(?<!\\)(?:\\\\)*(\\(?:u[0-9a-fA-F]{0,3})?)\Z")


class Partial(Protocol):
    """Takes a text in pieces and knows the value it spells so far."""

    def feed(self, text: str) -> bool:
        """Take the next piece; True when `value()` is worth looking at again."""
        ...

    def value(self) -> Any:
        """The value so far, in containers of its own that later pieces do not change."""
        ...


@runtime_checkable
class Reader(Protocol):
    """Reads the finished text of a gen, and what there is of it before."""

    def __call__(self, text: str) -> Any:
        """Return the value that the whole text spells; `ParseError` when it spells none."""
        ...

    def partial(self, *, open_strings: bool = False) -> Partial:
        """Return what reads the text while it comes."""
        ...


class PartialText:
    """A text that is no JSON: its beginning is a value only when any text is one (`is_open`)."""

    def __init__(self, *, is_open: bool) -> None:
        self._is_open = is_open
        self._pieces: list[str] = []

    def feed(self, text: str) -> bool:
        """Take the next piece."""
        self._pieces.append(text)
        return self._is_open

    def value(self) -> str:
        """The text so far."""
        return "".join(self._pieces)


@dataclass(slots=True)
class _Open:
    """An object or array that is not closed: what is in it, where it begins, the name of the property at hand."""

    container: Any
    start: int
    name: str = ""

    def put(self, value: Any) -> None:
        """Add a value."""
        if isinstance(self.container, list):
            self.container.append(value)
        else:
            self.container[self.name] = value

    def drop(self) -> None:
        """Take out the newest value."""
        if isinstance(self.container, list):
            self.container.pop()
        else:
            del self.container[self.name]


_NOTHING: Final = object()


class PartialJson:
    """Reads one JSON text of `shape`.

    Objects and arrays that are still open are dicts (by field name) and lists of what is closed in them, once there is
    something; what is closed has its type already. `open_strings`: a text whose end has not come yet is shown as far as
    it goes.

    >>> reader = PartialJson(Shape())
    >>> reader.feed('{"name": "Ada", "tags": ["maths", "po'), reader.value()
    (True, {'name': 'Ada', 'tags': ['maths']})
    """

    def __init__(self, shape: Shape, *, open_strings: bool = False) -> None:
        self._scanner = JsonScanner()
        self._places = Places(shape)
        self._open_strings = open_strings
        self._open: list[_Open] = []
        self._root: Any = None
        self._pieces: list[str] = []
        self._starts: list[int] = []
        self._size = 0
        self._is_broken = False  # not JSON: there is nothing more to show

    def feed(self, text: str) -> bool:
        """Take the next piece; True when a part of the value was closed, or an open text that is shown grew.

        False once the whole is closed: it is read, and maybe refused, by who has the whole text.
        """
        self._pieces.append(text)
        self._starts.append(self._size)
        self._size += len(text)
        has_changed = False
        try:
            for event in () if self._is_broken else self._scanner.feed(text):
                has_changed = self._take(event) or has_changed
        except (ValueError, IndexError):
            self._is_broken = True
        return bool(self._open) and (has_changed or self._open_text() is not None)

    def value(self) -> Any:
        """The value so far. Containers that are open are copied, so what is kept from here stays as it is."""
        text = self._open_text()
        value = _NOTHING if text is None else text
        for place in reversed(self._open):
            copy = replace(place, container=place.container.copy())
            if place is not self._open[-1]:  # its newest value is a container that is open
                copy.drop()
            if value is not _NOTHING:
                copy.put(value)
            value = copy.container or _NOTHING
        if value is not _NOTHING:
            return value
        return self._open[0].container.copy() if self._open else self._root

    def _take(self, event: Event) -> bool:
        shape = self._places.take(event)
        match event.kind:
            case "key":
                self._open[-1].name = self._places.name
            case "open":
                container: Any = {} if event.text == "{" else []
                self._put(container)
                self._open.append(_Open(container, event.start))
            case "scalar":
                self._put(shape.scalar(event.text))
            case "close":
                closed = self._open.pop()
                value = shape.closed(
                    closed.container, lambda: exact_decimals(self._slice(closed.start, event.end), shape)
                )
                self._replace(value)
                return value is not closed.container or not value  # a list shown item by item is no news
        return event.kind == "scalar"

    def _put(self, value: Any) -> None:
        if self._open:
            self._open[-1].put(value)
        else:
            self._root = value

    def _replace(self, value: Any) -> None:
        """Put the value of a container that was closed in the place where it was open."""
        if self._open and isinstance(self._open[-1].container, list):
            self._open[-1].container[-1] = value
        else:
            self._put(value)

    def _open_text(self) -> str | None:
        """The text of the string that is open, if it is to be shown."""
        raw = self._scanner.open_string if self._open_strings and not self._is_broken else None
        return None if raw is None or not self._places.next.shows_open_string else _decoded(raw)

    def _slice(self, start: int, end: int) -> str:
        first = bisect_right(self._starts, start) - 1
        offset = self._starts[first]
        return "".join(self._pieces[first:])[start - offset : end - offset]


def exact_decimals(text: str, shape: Shape) -> str:
    """Return a JSON text with quotes around the numbers that are to be read digit by digit."""
    scanner, places = JsonScanner(), Places(shape)
    parts, position = [], 0
    for event in chain(scanner.feed(text), scanner.finish()):
        if places.take(event).quotes_numbers and event.kind == "scalar" and event.text[0] in "-0123456789":
            parts += [text[position : event.start], '"', event.text, '"']
            position = event.end
    return "".join([*parts, text[position:]])


def _decoded(raw: str) -> str:
    """Return the text of a string whose end is missing, without a character that is not complete."""
    cut = _CUT_ESCAPE.search(raw)
    whole = raw[: cut.start(1)] if cut else raw
    text: str = json.loads(whole + '"')
    return text[:-1] if "\ud800" <= text[-1:] <= "\udbff" else text
