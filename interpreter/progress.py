"""How far a batch is: one line on stderr that is drawn anew, as wide as the terminal; and the figures in words.

It knows nothing of programs. Called by `batch.py` and the command line.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, Final, Self

from ..backend.api import Usage
from ..lang.errors import ParameterError

REDRAW_SECONDS: Final = 0.1  # rows that finish faster than this are not drawn one by one
TICK_SECONDS: Final = 0.5  # the clock goes on while no row finishes
LOG_SECONDS: Final = 30.0  # between the lines in a log
LOG_WIDTH: Final = 120
BAR_LEN: Final = 24
RED, PLAIN, ERASE_LINE = "\x1b[31m", "\x1b[0m", "\r\x1b[2K"


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """How far a batch is: `done` rows of `total` (None: not known), `failed` of them; `usage`: tokens of the others."""

    done: int
    failed: int
    total: int | None
    usage: Usage = field(default_factory=Usage)


Report = Callable[[BatchProgress], None]


@contextmanager
def reporting(progress: bool | Report | None, total: int) -> Iterator[Report]:
    """Yield what to call after every row.

    `progress`: False for nothing; None for a line when stderr is a terminal and there is more than one row; True for
    one whenever stderr is a terminal; a callable to be told of every row. Nothing is drawn into a pipe or a file.
    """
    if callable(progress):
        yield progress
    elif progress is not None and not isinstance(progress, bool):
        raise ParameterError(f"progress must be True, False, None or a callable, got {progress!r}")
    elif progress is False or (progress is None and total < 2) or not can_redraw(sys.stderr):
        yield _ignore
    else:
        with ProgressLine(sys.stderr, BatchProgress(0, 0, total)) as line:
            yield line.show


class ProgressLine:
    """The line of a batch under way: drawn anew on a terminal, written now and then into a log. Any thread may call.

    `stream`: None to say nothing. `stays`: the line is left on the terminal at the end.
    """

    def __init__(self, stream: IO[str] | None, start: BatchProgress, *, stays: bool = True) -> None:
        self._stream = stream
        self._redraws = stream is not None and can_redraw(stream)
        self._at = start
        self._stays = stays
        self._start = time.monotonic()
        self._drawn = 0.0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="ramify-progress", daemon=True)

    def __enter__(self) -> Self:
        self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._ticker.join()
        if not self._stays:
            self.erase()
        elif self._redraws:
            self._draw()
            self._write("\n")

    def show(self, at: BatchProgress) -> None:
        """Note how far the batch is, and draw it if the last drawing is not of just now."""
        self._at = at
        if self._redraws and time.monotonic() - self._drawn > REDRAW_SECONDS:
            self._draw()

    def erase(self) -> None:
        """Clear the line, for other text to be written there."""
        if self._redraws:
            with self._lock:
                self._write(ERASE_LINE)
                self._drawn = 0.0

    def _tick(self) -> None:
        while not self._ended.wait(TICK_SECONDS if self._redraws else LOG_SECONDS):
            self._draw()

    def _draw(self) -> None:
        with self._lock:
            self._drawn = time.monotonic()
            seconds = self._drawn - self._start
            if self._redraws:
                text = line(self._at, seconds, width_of(self._stream) - 1, bar=_bar_of(self._stream))
                self._write(ERASE_LINE + _coloured(text, self._at))
            else:
                self._write(line(self._at, seconds, LOG_WIDTH) + "\n")

    def _write(self, text: str) -> None:
        if self._stream is not None:
            self._stream.write(text)
            self._stream.flush()


def line(at: BatchProgress, seconds: float, width: int, *, bar: str = "") -> str:
    """Return the line: what matters most as long as there is room; in what is left, a bar.

    `bar`: the two signs that it is made of, or nothing for none.

    >>> line(BatchProgress(50, 1, 200, Usage(600, 300, 1000)), 10.0, 60)
    '50/200  1 failed  0:30 left  5.0 rows/s  100 tokens/s'
    >>> line(BatchProgress(50, 1, 200, Usage(600, 300, 1000)), 10.0, 30)
    '50/200  1 failed  0:30 left'
    >>> line(BatchProgress(50, 0, 200), 10.0, 40, bar="#.")
    '##.......  50/200  0:30 left  5.0 rows/s'
    """
    count = f"{at.done}" if at.total is None else f"{at.done}/{at.total}"
    left = "" if not at.done or at.total is None else f"{clock((at.total - at.done) * seconds / at.done)} left"
    parts = [count, _failed(at), left or clock(seconds), *rates(at, seconds)]
    text = ""
    for part in filter(None, parts):
        longer = f"{text}  {part}" if text else part
        if len(longer) > width:
            break
        text = longer
    room = min(width - len(text) - 2, BAR_LEN)
    if bar and at.total and room >= 8:
        filled = room * at.done // at.total
        text = f"{bar[0] * filled}{bar[1] * (room - filled)}  {text}"
    return text


def rates(at: BatchProgress, seconds: float) -> list[str]:
    """Return rows and tokens a second and the share of prompt tokens from the cache, each as far as it is known."""
    if not at.done or seconds <= 0:
        return []
    usage = at.usage
    found = [f"{number(at.done / seconds)} rows/s"]
    if usage.completion_tokens:
        found.append(f"{number(usage.completion_tokens / seconds)} tokens/s")
    if usage.prompt_tokens:
        found.append(f"{100 * usage.cached_tokens // usage.prompt_tokens}% cached")
    return found


def number(value: float) -> str:
    """Return a rate with as many digits as it deserves.

    >>> number(0.123), number(4.56), number(78.9), number(12345.6)
    ('0.12', '4.6', '79', '12,346')
    """
    if value < 1:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def clock(seconds: float) -> str:
    """Return a time as minutes and seconds, with hours if there are any.

    >>> clock(5), clock(125), clock(3725)
    ('0:05', '2:05', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def can_redraw(stream: IO[str]) -> bool:
    """Tell whether a line of `stream` can be drawn anew: not in a pipe, a file or a terminal that calls itself dumb."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def width_of(terminal: IO[str] | None) -> int:
    """Return the columns of a terminal; `COLUMNS` goes before what the terminal says, as everywhere."""
    asked = os.environ.get("COLUMNS", "")
    if asked.isdigit() and int(asked):
        return int(asked)
    try:
        return os.get_terminal_size(terminal.fileno()).columns or 80 if terminal is not None else 80
    except (OSError, ValueError):  # not a terminal, or one without a descriptor, as in tests
        return 80


def _bar_of(stream: IO[str] | None) -> str:
    """Return the signs of a bar that a terminal can show."""
    encoding = (getattr(stream, "encoding", None) or "ascii").lower().replace("-", "")
    return "━╌" if encoding.startswith("utf") else "#."


def _failed(at: BatchProgress) -> str:
    return f"{at.failed} failed" if at.failed else ""


def _coloured(text: str, at: BatchProgress) -> str:
    failed = _failed(at)
    return text.replace(failed, f"{RED}{failed}{PLAIN}") if failed and not os.environ.get("NO_COLOR") else text


def _ignore(at: BatchProgress) -> None:
    """Take a report and do nothing."""
