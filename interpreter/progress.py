"""The progress bar of a batch: rows done, how many failed, rows a second; only ever on a terminal's stderr.

It knows nothing of programs. Called by `batch.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..lang.errors import ParameterError


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """How far a batch is: `done` rows of `total`, `failed` of them."""

    done: int
    failed: int
    total: int


Report = Callable[[BatchProgress], None]


@contextmanager
def reporting(progress: bool | Report | None, total: int) -> Iterator[Report]:
    """Yield what to call after every row.

    `progress`: False for nothing; None for a bar when stderr is a terminal and there is more than one row; True for a
    bar whenever stderr is a terminal; a callable to be told of every row. Nothing is drawn into a pipe or a file.
    """
    if callable(progress):
        yield progress
    elif progress is not None and not isinstance(progress, bool):
        raise ParameterError(f"progress must be True, False, None or a callable, got {progress!r}")
    elif progress is False or (progress is None and total < 2) or not sys.stderr.isatty():
        yield _ignore
    else:
        with _bar(total) as report:
            yield report


@contextmanager
def _bar(total: int) -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failures]}", style="red"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("rows", total=total, rate="", failures="")

        def report(at: BatchProgress) -> None:
            speed = bar.tasks[0].speed
            bar.update(
                task,
                completed=at.done,
                rate=f"{speed:.1f} rows/s" if speed else "",
                failures=f"{at.failed} failed" if at.failed else "",
            )

        yield report


def _ignore(at: BatchProgress) -> None:
    """Take a report and do nothing."""
