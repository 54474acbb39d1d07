"""`ramify run --inputs`: a program once for every row, each written as soon as it is finished.

Rows are read, run and written one by one; nothing grows with their number but 17 bytes each. Called by `cli_run.py`.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from types import FrameType
from typing import Any

from ..backend.api import Backend
from ..lang.errors import AbortError, ParameterError, ProgramError
from .batch import DEFAULT_CONCURRENCY
from .cli_inputs import Given
from .cli_options import ExitCode, Misuse
from .cli_output import FileOutput, Output, StreamOutput, Written
from .cli_report import complain, described, error_facts, is_unreachable, result_facts, say, to_json
from .cli_rows import InputRow, RowArguments, count_rows, read_rows
from .cli_run import RowFlags
from .cli_summary import Tally
from .program import Program
from .progress import BatchProgress, ProgressLine
from .result import Result
from .row_stream import RowStream


@dataclass(frozen=True, slots=True)
class Outcome:
    """A row that has been run: its result, or the error that it failed with."""

    row: InputRow
    result: Result | None
    error: Exception | None = None


class BatchCommand:
    """One batch of the command line."""

    def __init__(self, program: Program, fixed: Mapping[str, Given], flags: RowFlags, timeout: float | None) -> None:
        assert flags.inputs is not None
        self._program = program
        self._flags = flags
        self._source = flags.inputs
        self._timeout = timeout
        self._arguments = RowArguments(program, fixed, ignore_unknown=flags.ignore_unknown)
        self._tally = Tally()
        self._num_rows: int | None = None  # of the input, when it was read to its end

    def run(self, open_backend: Callable[[], AbstractContextManager[Backend]]) -> ExitCode:
        """Run what is to be run. The backend is opened only if there is a row for it."""
        with ExitStack() as stack:
            output = self._output(stack)
            rows = self._rows_to_run(output)
            first = next(rows, None)
            if first is not None:
                self._check_first(first)
                backend = stack.enter_context(open_backend())
                self._run_rows(chain([first], rows), backend, output)
            try:
                output.finish(self._num_rows)
            except OSError as error:
                say(f"{self._flags.out} has every line, but not in the order of the rows: {error}")
        if not self._flags.quiet:
            say(self._tally.summary(self._flags.out))
        elif self._tally.stopped is not None:
            complain(self._tally.reason)
        return self._tally.exit_code()

    def _output(self, stack: ExitStack) -> Output:
        out = self._flags.out
        if out is not None and Path(out).exists() and Path(self._source).exists() and Path(out).samefile(self._source):
            raise Misuse(f"--out {out} is the file that --inputs reads")
        if out is None or (Path(out).exists() and not Path(out).is_file()):  # as /dev/null
            return StreamOutput(out)
        file = stack.enter_context(FileOutput(out))
        if self._flags.goes_on:
            file.load()
            if file.dropped:
                say(f"{out} ended inside a line, which was removed; its row runs again")
        elif file.size and not self._flags.overwrite:
            raise Misuse(f"{out} exists; add --resume to go on with it, or --overwrite")
        else:
            file.clear()
        return file

    def _rows_to_run(self, output: Output) -> Iterator[InputRow]:
        """Yield the rows that the output lacks, holds for another input, or holds as failed and is to hold anew."""
        limit, num_read = self._flags.limit, 0
        for row in islice(read_rows(self._source), limit):
            num_read += 1
            written = output.find(row.index)
            if written is None:
                yield row
            elif written.digest != self._arguments.digest(row):
                self._tally.num_changed += 1
                yield row
            elif not written.ok and self._flags.retry_failed:
                yield row
            else:
                self._tally.count_before(ok=written.ok)
        if limit is None or num_read < limit:
            self._num_rows = num_read

    def _check_first(self, row: InputRow) -> None:
        """Raise `Misuse` if the first row does not fit: then the others will hardly do."""
        try:
            self._arguments.of(row)
        except ParameterError as error:
            unknown = self._arguments.unknown(row)
            hint = f"\n--ignore-unknown leaves out {', '.join(unknown)}" if unknown else ""
            raise Misuse(f"{error}{hint}") from error

    def _run_rows(self, rows: Iterator[InputRow], backend: Backend, output: Output) -> None:
        flags, tally = self._flags, self._tally

        async def run(row: InputRow) -> Outcome:
            try:
                arguments = self._arguments.of(row)
                return Outcome(row, await self._program.arun(**arguments, backend=backend, timeout=self._timeout))
            except SystemExit as error:
                return Outcome(row, None, ProgramError(f"the program called sys.exit({error.code!r})"))
            # A row may fail with anything its body raises; the other rows must not, so it becomes that row's outcome.
            except Exception as error:  # noqa: BLE001
                return Outcome(row, None, error)

        num_rows = self._count()
        tally.begin()
        stream = RowStream(run, rows, flags.concurrency or DEFAULT_CONCURRENCY)
        with self._line(tally.progress(num_rows)) as line:
            with stream, _stopped_by_signals(stream, tally):
                for outcome in stream:
                    self._take(outcome, output, line)
                    line.show(tally.progress(num_rows))
                    if tally.stopped is not None:
                        break
            for outcome in stream.rest():
                self._take(outcome, output, line)

    def _take(self, outcome: Outcome, output: Output, line: ProgressLine) -> None:
        """Write a row and count it, unless it did not really run: the backend is gone, or the batch was stopped."""
        row, error = outcome.row, outcome.error
        if error is not None and is_unreachable(error):
            self._tally.stop(ExitCode.UNREACHABLE, described(error))
            return
        if self._tally.stopped is not None and isinstance(error, AbortError):
            return
        digest = self._arguments.digest(row)
        text, error = self._written(outcome, digest)
        if self._flags.out is None and sys.stdout.isatty():
            line.erase()
        output.write(row.index, Written(digest, error is None), text)
        if error is None and outcome.result is not None:
            self._tally.count_ok(outcome.result.usage)
        elif error is not None:
            self._tally.count_failed(row.index, row.place, described(error))
            if self._flags.fail_fast:
                self._tally.stop(ExitCode.RUN_FAILED, f"{row.place} failed, and --fail-fast is set")

    def _written(self, outcome: Outcome, digest: str) -> tuple[str, Exception | None]:
        """Return a row's line, and the error that it tells of; a result that JSON cannot hold is one, too."""
        row, include, error = outcome.row, self._flags.include or (), outcome.error
        head: dict[str, Any] = {"index": row.index, "hash": digest}
        inputs = {"inputs": {name: item.value for name, item in row.fields.items()}} if "inputs" in include else {}
        if error is None:
            try:
                return to_json({**head, "ok": True, **inputs, **result_facts(outcome.result, include)}), None
            except (ValueError, TypeError, RecursionError) as caught:
                error = ProgramError(f"what the program returned cannot be written as JSON: {caught}")
        return to_json({**head, "ok": False, **inputs, "error": error_facts(error)}), error

    def _line(self, start: BatchProgress) -> ProgressLine:
        return ProgressLine(None if self._flags.quiet else sys.stderr, start, stays=False)  # the summary says more

    def _count(self) -> int | None:
        """Return how many rows there are to show progress against."""
        if self._flags.quiet:
            return None
        count, limit = count_rows(self._source), self._flags.limit
        return count if count is None or limit is None else min(count, limit)


@contextmanager
def _stopped_by_signals(stream: RowStream[InputRow, Outcome], tally: Tally) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the batch between two rows; the second time they end it as they usually do.

    One that is ignored, as Ctrl-C is by what a shell script starts in the background, stays ignored.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    previous = {number: handler for number, handler in handlers.items() if handler is not signal.SIG_IGN}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler or signal.SIG_DFL)

    def stop(number: int, frame: FrameType | None) -> None:
        restore()
        tally.stop(ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.TERMINATED, "interrupted")
        stream.stop()

    for number in previous:
        signal.signal(number, stop)
    try:
        yield
    finally:
        restore()
