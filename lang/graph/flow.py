"""Text set in lines: spans of a card, broken at words where there is no more room. Used by `layout.py`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from .cards import Span

MOST_LINES = 9
WORDS = re.compile(r"\n|[^\S\n]+|[^\s]+")


@dataclass(frozen=True, slots=True)
class Run:
    """Text of one span on one line, from a column on; `width` in columns. `is_pill`: it is drawn in a frame."""

    text: str
    span: Span
    column: int
    width: int
    is_pill: bool = False


Line = list[Run]


def set_lines(spans: Sequence[Span], columns: int) -> list[Line]:
    """Return the lines of a section, the middle left out of long ones."""
    lines = list(_lines(spans, columns))
    if len(lines) <= MOST_LINES + 1:
        return lines
    head, tail = MOST_LINES - 3, 2
    left_out = [run for line in lines[head:-tail] for run in line if run.is_pill]
    gap = Span(f"… {len(lines) - head - tail} more lines", "note", lines[head][0].span.node if lines[head] else -1)
    pills = list(_lines([run.span for run in left_out], columns))  # what is generated is never left out
    return [*lines[:head], [Run(gap.text, gap, 0, width_of(gap.text))], *pills, *lines[-tail:]]


def width_of(text: str) -> int:
    """Return how many columns text takes in a font of one width."""
    if text.isascii():
        return len(text)
    wide = {"W": 2, "F": 2}
    return sum(0 if unicodedata.combining(c) else wide.get(unicodedata.east_asian_width(c), 1) for c in text)


def shortened(text: str, columns: int) -> str:
    """Return text that is at most so wide, its end left out."""
    text = " ".join(text.split()) if "\n" in text else text
    if width_of(text) <= columns:
        return text
    while width_of(text) > columns - 1:
        text = text[: max(len(text) - 1 - (width_of(text) - columns) // 2, 1)]
        if len(text) == 1:
            break
    return f"{text}…"


def _lines(spans: Iterable[Span], columns: int) -> Iterator[Line]:
    line: Line = []
    column = 0
    for span, piece in _pieces(spans, columns):
        is_pill = span.kind != "text"
        width = width_of(piece) + (2 if is_pill else 0)
        if piece == "\n" and not is_pill:
            line.append(Run("↵", Span("↵", "note", span.node), column, 1))
            column += 1
            if column > 1:  # a line end at the very start only shows its sign
                yield line
                line, column = [], 0
            continue
        if column + width > columns and column:
            yield line
            line, column = [], 0
            if piece.isspace():
                continue
        line.append(Run(piece, span, column, width, is_pill))
        column += width
    if line:
        yield line


def _pieces(spans: Iterable[Span], columns: int) -> Iterator[tuple[Span, str]]:
    """Yield words, spaces and line ends of text, and everything else whole, if need be cut."""
    for span in spans:
        if span.kind != "text":
            yield span, shortened(span.text, columns - 2)
            continue
        for word in WORDS.findall(span.text):
            if word != "\n" and word.isspace():
                word = word.replace("\t", "    ")
            for start in range(0, len(word), columns):
                yield span, word[start : start + columns]
