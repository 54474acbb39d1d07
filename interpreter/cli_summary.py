"""The account of a batch: rows that succeeded, failed, or were there already, the tokens they took, and the exit code.

It knows counts only. Used by `cli_batch.py`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

from ..backend.api import Usage
from .cli_options import ExitCode
from .progress import BatchProgress, clock, rates

MAX_SHOWN: Final = 3  # failures that the summary tells in words; all of them are in the output


@dataclass(slots=True)
class Tally:
    """What has happened so far.

    `num_*_before`: rows that an earlier run had finished; `num_changed`: rows it had finished for another input.
    """

    num_ok: int = 0
    num_failed: int = 0
    num_ok_before: int = 0
    num_failed_before: int = 0
    num_changed: int = 0
    usage: Usage = field(default_factory=Usage)
    failures: list[tuple[int, str]] = field(default_factory=list)
    stopped: ExitCode | None = None
    reason: str = ""
    start: float = field(default_factory=time.monotonic)

    def begin(self) -> None:
        """The first row starts now: what came before was loading a model."""
        self.start = time.monotonic()

    def count_before(self, *, ok: bool) -> None:
        """Count a row that an earlier run had finished."""
        self.num_ok_before += ok
        self.num_failed_before += not ok

    def count_ok(self, usage: Usage) -> None:
        """Count a row that succeeded."""
        self.num_ok += 1
        self.usage += usage

    def count_failed(self, index: int, place: str, message: str) -> None:
        """Count a row that failed."""
        self.num_failed += 1
        if len(self.failures) < MAX_SHOWN:
            self.failures.append((index, message if message.startswith(place) else f"{place}: {message}"))

    def stop(self, code: ExitCode, reason: str) -> None:
        """Note that the batch ends before its last row, and why; the first reason stays."""
        if self.stopped is None:
            self.stopped, self.reason = code, reason

    def progress(self, num_rows: int | None) -> BatchProgress:
        """Return how far this run is, of an input of `num_rows`."""
        total = None if num_rows is None else num_rows - self.num_ok_before - self.num_failed_before
        return BatchProgress(self.num_ok + self.num_failed, self.num_failed, total, self.usage)

    def exit_code(self) -> ExitCode:
        """Return the exit code: why the batch stopped, else whether the output holds failed rows."""
        if self.stopped is not None:
            return self.stopped
        return ExitCode.SOME_ROWS_FAILED if self.num_failed + self.num_failed_before else ExitCode.OK

    def summary(self, out: str | None) -> str:
        """Return a few lines that say what was done and what to do next."""
        seconds = time.monotonic() - self.start
        lines = [f"failed: {failure}" for _, failure in sorted(self.failures)]
        if self.num_failed > len(self.failures):
            lines.append(f"... and {self.num_failed - len(self.failures)} more, all in the output")
        lines.append(self._now(seconds))
        if self.num_ok_before + self.num_failed_before:
            lines.append(self._before())
        if self.num_changed:
            lines.append(f"{self.num_changed} of them were there for another input")
        if self.stopped is not None:
            where = f"; what is finished is in {out}, --resume goes on with it" if out is not None else ""
            lines.append(f"stopped: {self.reason}{where}")
        return "\n".join(lines)

    def _now(self, seconds: float) -> str:
        if self.num_ok + self.num_failed + self.num_changed == 0 and self.stopped is None:
            return "no rows to run"
        failed = f", {self.num_failed} failed" if self.num_failed else ""
        return ", ".join([f"{self.num_ok} ok{failed} in {clock(seconds)}", *rates(self.progress(None), seconds)])

    def _before(self) -> str:
        text = f"{self.num_ok_before + self.num_failed_before} rows were there before"
        if self.num_failed_before:
            text += f", {self.num_failed_before} of them failed: --retry-failed runs these again"
        return text
