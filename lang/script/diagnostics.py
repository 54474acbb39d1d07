"""`Diagnostic`: one thing that is wrong with a script, its place, and what to do; and how it is shown.

`Report` collects them while a script is read and checked. Every code is described in `codes.py`.
"""

from __future__ import annotations

import difflib
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import ScriptError
from .source import Source, Span

MAX_ERRORS = 20
DEFAULT_WIDTH = 100
MAX_NAME = 40  # longer names are not compared letter by letter
MARGIN = 12  # characters shown before the marked ones where a long line is cut
RED, YELLOW, BLUE, BOLD, RESET = "\x1b[31m", "\x1b[33m", "\x1b[34m", "\x1b[1m", "\x1b[0m"


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """One complaint. `line` and `column` count from 1, in code points; `end_column` is the column after the last.

    `text` is the line it is about, `hint` says what to do. `severity` is "error" or "warning".
    """

    code: str
    message: str
    file: str
    line: int
    column: int
    end_column: int
    text: str
    hint: str | None = None
    severity: str = "error"

    @property
    def is_error(self) -> bool:
        """True when the script cannot run."""
        return self.severity == "error"

    def to_json(self) -> dict[str, Any]:
        """Return what an editor needs, as JSON values."""
        return {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "end_column": self.end_column,
            "hint": self.hint,
        }

    def render(self, *, width: int = DEFAULT_WIDTH, color: bool = False) -> str:
        """Return the complaint with its line and a caret under the place, as a terminal shows it.

        Lines wider than `width` are shown in part.
        """
        tint = (RED if self.is_error else YELLOW) if color else ""
        blue, bold, reset = (BLUE, BOLD, RESET) if color else ("", "", "")
        number = str(self.line)
        before, marked, after = _window(self, width - len(number) - 4)
        carets = "^" * max(1, _columns(marked))
        lines = [
            f"{bold}{self.file}:{self.line}:{self.column}:{reset} {tint}{self.severity}[{self.code}]{reset}: "
            f"{bold}{self.message}{reset}",
            f" {blue}{number} |{reset} {before}{marked}{after}".rstrip(),
            f" {blue}{' ' * len(number)} |{reset} {' ' * _columns(before)}{tint}{carets}{reset}",
        ]
        margin = f" {' ' * len(number)} "
        for index, line in enumerate(textwrap.wrap(self.hint or "", max(24, width - len(margin) - 2))):
            lines.append(f"{margin}{blue}{' ' if index else '='}{reset} {line}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.render()


def _window(diagnostic: Diagnostic, width: int) -> tuple[str, str, str]:
    """Return what is shown of a line: before, in and after the marked stretch; cut at both ends where it is long."""
    text = "".join(map(_shown, diagnostic.text))
    start, end = diagnostic.column - 1, diagnostic.end_column - 1
    before, marked, after = text[:start], text[start:end], text[end:]
    room = max(width, 24)
    if _columns(text) > room:
        if _columns(marked) > room - MARGIN:
            marked, after = marked[: room - MARGIN] + "…", ""
        keep = max(MARGIN, room - _columns(marked) - _columns(after) - 1)
        before = before if len(before) <= keep else "…" + before[-keep:]
        rest = max(0, room - _columns(before) - _columns(marked) - 1)
        after = after if len(after) <= rest else after[:rest] + "…"
    return before, marked, after


def _shown(character: str) -> str:
    """Show a tab as one column, and what a terminal would obey as a sign of its own."""
    if character == "\t":
        return " "
    return character if character.isprintable() else "\N{REPLACEMENT CHARACTER}"


def _columns(text: str) -> int:
    """How many columns a terminal takes for the text."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


@dataclass(slots=True)
class Report:
    """Collects the diagnostics of one script, each place once; after `MAX_ERRORS` errors it takes no more."""

    source: Source
    found: list[tuple[int, Diagnostic]] = field(default_factory=list)
    num_errors: int = 0
    _places: set[tuple[str, int]] = field(default_factory=set)

    def error(self, code: str, span: Span, message: str, hint: str | None = None) -> None:
        """Note an error."""
        self._add(code, span, message, hint, "error")

    def warn(self, code: str, span: Span, message: str, hint: str | None = None) -> None:
        """Note something that is allowed and probably not meant."""
        self._add(code, span, message, hint, "warning")

    @property
    def is_full(self) -> bool:
        """True when there are as many errors as are reported."""
        return self.num_errors >= MAX_ERRORS

    def sorted(self) -> tuple[Diagnostic, ...]:
        """Return what was found, in the order of the text."""
        return tuple(diagnostic for _, diagnostic in sorted(self.found, key=lambda item: item[0]))

    def raise_errors(self) -> None:
        """Raise `ScriptError` if there is an error."""
        if self.num_errors:
            raise script_error(self.sorted())

    def _add(self, code: str, span: Span, message: str, hint: str | None, severity: str) -> None:
        if self.is_full or (code, span.start) in self._places:
            return
        self._places.add((code, span.start))
        line, column = self.source.position(span.start)
        text = self.source.line(line)
        end = min(max(column + span.end - span.start, column + 1), max(len(text), column) + 1)
        diagnostic = Diagnostic(
            code=code,
            message=message,
            file=self.source.name,
            line=line,
            column=column,
            end_column=end,
            text=text,
            hint=hint,
            severity=severity,
        )
        self.found.append((span.start, diagnostic))
        self.num_errors += severity == "error"


def script_error(diagnostics: Sequence[Diagnostic]) -> ScriptError:
    """Return the error that holds these diagnostics."""
    return ScriptError(render_all(diagnostics), tuple(diagnostics))


def render_all(diagnostics: Iterable[Diagnostic], *, width: int = DEFAULT_WIDTH, color: bool = False) -> str:
    """Return all diagnostics as a terminal shows them, with a last line that counts them.

    >>> render_all([])
    'no errors'
    """
    found = list(diagnostics)
    errors = sum(diagnostic.is_error for diagnostic in found)
    warnings = len(found) - errors
    counts = [
        f"{count} {what}{'s' * (count != 1)}" for count, what in ((errors, "error"), (warnings, "warning")) if count
    ]
    if errors >= MAX_ERRORS:
        counts[0] = f"{errors} errors; only so many are reported"
    last = ", ".join(counts) or "no errors"
    return "\n\n".join([*(diagnostic.render(width=width, color=color) for diagnostic in found), last])


def suggestion(name: str, known: Iterable[str]) -> str | None:
    """Return `did you mean 'x'?` for the known name that is closest, or None."""
    close = closest(name, known)
    return None if close is None else f"did you mean {close!r}?"


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is closest to `name`, if one is close."""
    if len(name) > MAX_NAME:
        return None
    close = difflib.get_close_matches(name, [other for other in known if len(other) <= MAX_NAME], n=1)
    return close[0] if close else None
