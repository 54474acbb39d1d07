"""A script's text and places in it: `Source` turns offsets into lines and columns, `Span` names a stretch of text.

Everything counts code points; a tab is one column. Knows nothing of the language.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

NEWLINES = ("\r\n", "\r")
BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True, slots=True)
class Span:
    """The characters `[start, end)` of a script."""

    start: int
    end: int

    def to(self, other: Span) -> Span:
        """Return the stretch from the start of this one to the end of the other."""
        return Span(self.start, other.end)


@dataclass(frozen=True, slots=True)
class Source:
    """The text of one script, with `\\n` for every kind of line end, and the name it is known by."""

    name: str
    text: str
    starts: tuple[int, ...] = field(repr=False)

    @classmethod
    def of(cls, text: str, name: str) -> Source:
        """Take the text of a file as it is read."""
        text = text.removeprefix(BYTE_ORDER_MARK)
        for newline in NEWLINES:
            text = text.replace(newline, "\n")
        starts = [0]
        for line in text.split("\n"):
            starts.append(starts[-1] + len(line) + 1)
        return cls(name, text, tuple(starts[:-1]))

    def position(self, offset: int) -> tuple[int, int]:
        """Return line and column of a character, both counted from 1."""
        line = bisect_right(self.starts, offset)
        return line, offset - self.starts[line - 1] + 1

    def line(self, number: int) -> str:
        """Return the text of a line without its end."""
        start = self.starts[number - 1]
        end = self.starts[number] - 1 if number < len(self.starts) else len(self.text)
        return self.text[start:end]

    def lines(self) -> list[str]:
        """Return all lines without their ends; the empty one after a last line end is none."""
        lines = self.text.split("\n")
        return lines if lines[-1] else lines[:-1]

    def location(self, span: Span) -> str:
        """Return `name:line`, the form in which errors of a run name a place."""
        return f"{self.name}:{self.position(span.start)[0]}"
