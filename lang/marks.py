"""Marks: text that stands for a value while tracing, so that f-strings and `str()` of unknown values can be recorded.

A mark is made where the value is formatted and found again where the text is appended. It carries a word that no
data holds by chance, and white space and both cases of letters, so that nearly everything done to the text breaks it
and is refused. Made by `tracer.py`; expressions know that a `MarkedText` cannot be looked at.
"""

from __future__ import annotations

import re
import secrets
import string
from collections.abc import Callable
from typing import NoReturn

from .errors import TraceError
from .ir import Apply, Value
from .location import at, caller_location

OPEN, CLOSE = "\ufdd0", "\ufdd1"  # code points that Unicode reserves for use inside a program
PAD = "\u2003"  # goes when somebody strips or splits the text
# Nearly everything that a program may look for, so that replacing, splitting and escaping break a mark. Not what makes
# text a template: a mark may stand in one.
EVERY = "".join(character for character in map(chr, range(33, 127)) if character not in "{}%$\\")
ADVICE = "append the text as it is, or run the program instead of tracing it"


class MarkedText(str):
    """Text that is a value's and nothing else, as in `f"{x}"` and `str(x)`; it can be formatted and added to."""

    __slots__ = ("origin",)
    origin: Origin

    def __format__(self, spec: str) -> str:
        if not spec:
            return self
        self.origin.is_used = True
        return self.origin.marks.mark(Apply("format", (self.origin.value, spec)))

    def __hash__(self) -> int:
        self.origin.refuse("a set or dictionary key")


class Origin:
    """The value that a mark stands for, and where it was formatted."""

    __slots__ = ("is_used", "location", "marks", "value")

    def __init__(self, marks: Marks, value: Value, *, is_used: bool) -> None:
        self.marks = marks
        self.value = value
        self.is_used = is_used
        self.location = caller_location()

    def refuse(self, what: str) -> NoReturn:
        """Raise `TraceError`: the text is not known while tracing."""
        raise TraceError(
            f"{what}{at(caller_location())} needs the text of a value that is not known while tracing; {ADVICE}"
        )


def _refusing(name: str) -> Callable[..., NoReturn]:
    def refuse(self: MarkedText, *args: object, **kwargs: object) -> NoReturn:
        what = f"str.{name}" if not name.startswith("__") else f"the operation {name.strip('_')}"
        self.origin.refuse(what)

    return refuse


# Everything that looks at the characters; what only passes them on stays: adding, encoding, `%` and printing.
_PASSING = {"__add__", "__str__", "__repr__", "__format__", "__hash__", "encode", "isascii", "format", "join"}
_OPERATIONS = {"__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__len__", "__contains__", "__iter__"}
_OPERATIONS |= {"__getitem__", "__mul__", "__rmul__", "__bool__", "__int__", "__float__"}
for _name in [*_OPERATIONS, *(name for name in dir(str) if not name.startswith("_"))]:
    if _name not in _PASSING:
        setattr(MarkedText, _name, _refusing(_name))


class Marks:
    """The marks of one trace."""

    def __init__(self) -> None:
        self._word = _letters(string.ascii_lowercase) + _letters(string.ascii_uppercase)
        self._origins: list[Origin] = []
        self._head = f"{PAD}{OPEN}{self._word} {EVERY}"
        self._pattern = re.compile(f"{re.escape(self._head)}([0-9]+){CLOSE}{PAD}")
        self._trace_of = re.compile(f"{self._word}|{OPEN}[^{OPEN}{CLOSE}]{{40,300}}[0-9]{CLOSE}", re.IGNORECASE)

    def mark(self, value: Value, *, must_be_used: bool = True) -> MarkedText:
        """Return text that stands for `value`."""
        origin = Origin(self, value, is_used=not must_be_used)
        text = MarkedText(f"{self._head}{len(self._origins)}{CLOSE}{PAD}")
        text.origin = origin
        self._origins.append(origin)
        return text

    def parts(self, text: str) -> list[Value]:
        """Split text into constant text and the values that are marked in it; `TraceError` for broken marks."""
        text = str.__str__(text)
        if not self._origins:
            return [text]
        pieces = self._pattern.split(text)
        parts: list[Value] = []
        for place, piece in enumerate(pieces):
            if place % 2:
                origin = self._origins[int(piece)]
                origin.is_used = True
                parts.append(origin.value)
            elif piece:
                self._check_whole(piece)
                parts.append(piece)
        return parts

    def value(self, text: str) -> Value:
        """Return text with marks as one value."""
        parts = self.parts(text)
        if not parts:
            return ""
        return parts[0] if len(parts) == 1 else Apply("concat", tuple(parts))

    def in_words(self, message: str) -> str:
        """Return a message with "..." for the marks in it, which may be written as `repr` does."""
        ends = (OPEN, CLOSE, PAD)
        opened, closed, pad = (f"(?:{end}|{re.escape(ascii(end)[1:-1])})" for end in ends)
        return re.sub(f"{pad}?{opened}?{self._word}.*?{closed}{pad}?", "...", message)

    def check_used(self) -> None:
        """Raise `TraceError` for text that was made of an unknown value and went nowhere: something looked at it."""
        for origin in self._origins:
            if not origin.is_used:
                raise TraceError(
                    f"the text of a value that is not known while tracing was made{at(origin.location)} and not "
                    f"appended; {ADVICE}"
                )

    def _check_whole(self, text: str) -> None:
        if self._trace_of.search(text):
            raise TraceError(
                f"the text of a value that is not known while tracing was changed{at(caller_location())}; {ADVICE}"
            )


def _letters(alphabet: str) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(6))
