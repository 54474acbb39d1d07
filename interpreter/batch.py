"""Many runs of one program: bounded concurrency, one `Ok` or `Failed` per row, in order, each row run exactly once.

Written once, async; the sync call is a bridge that keeps finished rows on Ctrl-C. It knows programs only as something
with `arun`. Called by `Program.run_batch` and `Program.arun_batch`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar

from ..backend.api import Usage
from ..lang.errors import AbortError, ParameterError, ProgramError, did_you_mean
from .background import background
from .progress import BatchProgress, Report, reporting
from .result import Result

T = TypeVar("T")

# Twice the default `max_running` of an engine: its queue always holds rows to order and to admit, and a program with a
# sync body costs no more than this many threads.
DEFAULT_CONCURRENCY: Final = 128
ON_ERROR: Final = ("return", "raise")
CANCEL_SECONDS: Final = 5.0  # how long Ctrl-C waits for requests under way to be aborted


@dataclass(frozen=True, slots=True)
class Ok(Generic[T]):
    """A row that succeeded: what `run` returned for it, and its place in the batch."""

    value: T
    index: int = 0

    @property
    def ok(self) -> Literal[True]:
        """True: the row succeeded."""
        return True

    def unwrap(self) -> T:
        """Return the value."""
        return self.value


@dataclass(frozen=True, slots=True)
class Failed:
    """A row that failed: the error that `run` raised for it, and its place in the batch."""

    error: Exception
    index: int = 0

    @property
    def ok(self) -> Literal[False]:
        """False: the row failed."""
        return False

    def unwrap(self) -> Any:
        """Raise the error."""
        raise self.error


Row = Ok[T] | Failed


class BatchInterrupted(KeyboardInterrupt):
    """Ctrl-C during `run_batch`: `rows` holds one result per row, `Failed` with an `AbortError` for the unfinished.

    A KeyboardInterrupt, so that a program that does not catch it ends as usual.
    """

    def __init__(self, rows: Sequence[Row[Any]]) -> None:
        done = sum(not (isinstance(row, Failed) and isinstance(row.error, AbortError)) for row in rows)
        super().__init__(f"interrupted with {done} of {len(rows)} rows finished; they are in the exception's .rows")
        self.rows = list(rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """How a batch is run; checked on construction. `order` says in which order rows are begun, by their numbers."""

    concurrency: int | None = None
    progress: bool | Report | None = None
    on_error: str = "return"
    order: Callable[[Sequence[Mapping[str, Any]]], Sequence[int]] | None = None

    def __post_init__(self) -> None:
        width = self.concurrency
        if width is not None and (isinstance(width, bool) or not isinstance(width, int) or width < 1):
            raise ParameterError(f"concurrency must be a positive integer or None, got {width!r}")
        if self.on_error not in ON_ERROR:
            hint = did_you_mean(str(self.on_error), ON_ERROR)
            raise ParameterError(f"on_error must be 'return' or 'raise', got {self.on_error!r}{hint}")


def check_rows(rows: Any, check: Callable[[Mapping[str, Any]], None]) -> list[dict[str, Any]]:
    """Return the rows as dictionaries of their own; nothing runs before all of them are known to be callable.

    `check` raises for arguments the program does not take. The row's number is added to its error.
    """
    if isinstance(rows, Mapping | str) or not isinstance(rows, Iterable):
        raise ParameterError(f"run_batch takes a list of mappings, one a row, got one {type(rows).__name__}")
    checked: list[dict[str, Any]] = []
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping):
            kind = type(row).__name__
            raise ParameterError(
                f"row {index} of the batch is of type {kind}; each row is a mapping from argument names to values"
            )
        try:
            check(row)
        except Exception as error:
            error.add_note(f"in row {index} of the batch")
            raise
        checked.append(dict(row))
    return checked


async def arun_batch(
    run: Callable[[dict[str, Any]], Awaitable[T]], rows: Sequence[dict[str, Any]], options: BatchOptions
) -> list[Row[T]]:
    """Await `run(row)` for every row, at most `concurrency` at once, and return the results in order."""
    batch = _Batch(run, rows, options)
    with reporting(options.progress, len(rows)) as report:
        await batch.run_all(report)
    return batch.results()


def run_batch(
    run: Callable[[dict[str, Any]], Awaitable[T]], rows: Sequence[dict[str, Any]], options: BatchOptions
) -> list[Row[T]]:
    """As `arun_batch`, from a thread without an event loop; Ctrl-C raises `BatchInterrupted` with the finished rows."""
    if background().is_current:
        raise ProgramError("run_batch cannot wait inside an async program; write: await program.arun_batch(...)")
    batch = _Batch(run, rows, options)
    try:
        with reporting(options.progress, len(rows)) as report:
            background().call(batch.run_all(report))
    except KeyboardInterrupt:
        batch.stopped.wait(CANCEL_SECONDS)
        raise BatchInterrupted(batch.results()) from None
    return batch.results()


class _Batch(Generic[T]):
    """One batch under way: workers that take the next row as soon as they are free."""

    def __init__(
        self, run: Callable[[dict[str, Any]], Awaitable[T]], rows: Sequence[dict[str, Any]], options: BatchOptions
    ) -> None:
        self.stopped = threading.Event()
        self._run = run
        self._rows = rows
        self._order = range(len(rows)) if options.order is None else options.order(rows)
        self._raises = options.on_error == "raise"
        self._width = min(len(rows), options.concurrency or DEFAULT_CONCURRENCY)
        self._results: dict[int, Row[T]] = {}
        self._num_failed = 0
        self._usage = Usage()

    def results(self) -> list[Row[T]]:
        """Return one result per row; rows that did not finish have failed with an `AbortError`."""
        unfinished = AbortError("the batch was interrupted before this row finished")
        return [self._results.get(index) or Failed(unfinished, index) for index in range(len(self._rows))]

    async def run_all(self, report: Report) -> None:
        """Run every row; on an error that is to be raised, or on cancellation, end the others first."""
        queue = (
            (index, self._rows[index]) for index in self._order
        )  # shared: workers take rows in order, each row once
        workers = [asyncio.create_task(self._work(queue, report)) for _ in range(self._width)]
        try:
            await _all_or_first_error(workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            self.stopped.set()

    async def _work(self, queue: Iterator[tuple[int, dict[str, Any]]], report: Report) -> None:
        for index, row in queue:
            try:
                value = await self._run(row)
                self._results[index] = Ok(value, index)
                if isinstance(value, Result):
                    self._usage += value.usage
            # A row may fail with anything its body raises; the other rows must not, so it becomes that row's result.
            except Exception as error:
                self._results[index] = Failed(error, index)
                self._num_failed += 1
                if self._raises:
                    error.add_note(f"in row {index} of the batch")
                    raise
            report(BatchProgress(len(self._results), self._num_failed, len(self._rows), self._usage))


async def _all_or_first_error(tasks: Sequence[asyncio.Task[None]]) -> None:
    if tasks:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:  # of several that failed at once, the one whose row comes first
            if task.done():
                task.result()
