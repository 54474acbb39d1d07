"""The batch runner by itself: order, width, failures, cancellation, Ctrl-C, progress. Its rows are plain coroutines."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

import ramify
from ramify.interpreter.batch import BatchOptions, Failed, Ok, arun_batch, check_rows, run_batch
from ramify.interpreter.progress import BatchProgress, reporting


def rows_of(count):
    return [{"x": x} for x in range(count)]


class Runs:
    """Rows that take a moment; counts what was started, what ran at once and what was cancelled."""

    def __init__(self, fail=()):
        self.started, self.cancelled, self.at_once, self.most = [], [], 0, 0
        self.fail = fail

    async def __call__(self, row):
        x = row["x"]
        self.started.append(x)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await asyncio.sleep(0.001 * (5 - x % 5))
            if x in self.fail:
                raise ZeroDivisionError(f"row {x}")
            return x * x
        except asyncio.CancelledError:
            self.cancelled.append(x)
            raise
        finally:
            self.at_once -= 1


async def test_results_are_in_order_whoever_ends_first():
    runs = Runs()
    rows = await arun_batch(runs, rows_of(20), BatchOptions(concurrency=7))
    assert rows == [Ok(x * x, x) for x in range(20)]
    assert runs.started == list(range(20)) and runs.most == 7


def test_the_sync_call_gives_the_same():
    assert run_batch(Runs(), rows_of(5), BatchOptions()) == [Ok(x * x, x) for x in range(5)]
    assert run_batch(Runs(), [], BatchOptions()) == []


async def test_a_failing_row_is_a_result_and_the_others_go_on():
    rows = await arun_batch(Runs(fail={1, 3}), rows_of(5), BatchOptions())
    assert [row.ok for row in rows] == [True, False, True, False, True]
    assert [row.index for row in rows] == list(range(5))
    assert isinstance(rows[1].error, ZeroDivisionError)
    assert rows[0].unwrap() == 0
    with pytest.raises(ZeroDivisionError, match="row 3"):
        rows[3].unwrap()
    match rows[1]:
        case Failed(error, index):
            assert (str(error), index) == ("row 1", 1)


async def test_on_error_raise_cancels_the_rest():
    runs = Runs(fail={4})
    with pytest.raises(ZeroDivisionError, match="row 4") as caught:
        await arun_batch(runs, rows_of(50), BatchOptions(concurrency=5, on_error="raise"))
    assert caught.value.__notes__ == ["in row 4 of the batch"]
    assert len(runs.started) < 15 and runs.cancelled and runs.at_once == 0


async def test_of_rows_that_fail_at_once_the_first_is_raised():
    async def fail(row):
        raise ZeroDivisionError(f"row {row['x']}")

    for _ in range(20):
        with pytest.raises(ZeroDivisionError, match="row 0"):
            await arun_batch(fail, rows_of(50), BatchOptions(on_error="raise"))


async def test_cancelling_the_batch_ends_its_rows():
    runs = Runs()
    task = asyncio.create_task(arun_batch(runs, rows_of(9), BatchOptions(concurrency=3)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert runs.cancelled == [0, 1, 2] and runs.at_once == 0


def test_options_are_checked():
    for bad in (0, -1, True, 2.5, "4"):
        with pytest.raises(ramify.ParameterError, match="concurrency"):
            BatchOptions(concurrency=bad)
    with pytest.raises(ramify.ParameterError, match="did you mean 'raise'"):
        BatchOptions(on_error="rise")
    with pytest.raises(ramify.ParameterError, match="progress must be"), reporting("yes", 2):
        pass


def test_rows_are_checked_before_anything_runs():
    def refuse_y(row):
        if "y" in row:
            raise ramify.ParameterError("unknown argument 'y'")

    given = {"x": 1}
    checked = check_rows((row for row in [given, {"x": 2}]), refuse_y)
    assert checked == [{"x": 1}, {"x": 2}] and checked[0] is not given
    with pytest.raises(ramify.ParameterError, match="row 1 of the batch is of type str"):
        check_rows([{"x": 1}, "two"], refuse_y)
    for not_a_list in ({"x": 1}, "rows", 5, None):
        with pytest.raises(ramify.ParameterError, match="takes a list of mappings"):
            check_rows(not_a_list, refuse_y)
    with pytest.raises(ramify.ParameterError) as caught:
        check_rows([{"x": 1}, {"x": 1}, {"y": 1}], refuse_y)
    assert caught.value.__notes__ == ["in row 2 of the batch"]


def test_a_callable_is_told_of_every_row():
    seen = []
    run_batch(Runs(fail={0}), rows_of(3), BatchOptions(concurrency=1, progress=seen.append))
    assert seen == [BatchProgress(1, 1, 3), BatchProgress(2, 1, 3), BatchProgress(3, 1, 3)]


def test_a_callable_that_raises_ends_the_batch():
    def broken(at):
        raise RuntimeError("no more paper")

    runs = Runs()
    with pytest.raises(RuntimeError, match="no more paper"):
        run_batch(runs, rows_of(30), BatchOptions(concurrency=2, progress=broken))
    assert len(runs.started) <= 4


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("progress", "count", "shown"), [(None, 3, True), (None, 1, False), (True, 1, True), (False, 3, False)]
)
def test_the_bar_is_drawn_on_terminals_only(monkeypatch, progress, count, shown):
    monkeypatch.setenv("TERM", "xterm")
    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr(sys, "stderr", stream)
        run_batch(Runs(fail={2}), rows_of(count), BatchOptions(progress=progress))
        text = stream.getvalue()
        if shown and stream.isatty():
            assert f"{count}/{count}" in text and ("1 failed" in text) == (count == 3)
        else:
            assert text == ""


def test_waiting_on_the_loop_that_should_run_the_rows_is_refused():
    async def row(_):
        return run_batch(Runs(), rows_of(1), BatchOptions())

    (result,) = run_batch(row, rows_of(1), BatchOptions())
    with pytest.raises(ramify.ProgramError, match="arun_batch"):
        result.unwrap()


INTERRUPTED = """
import asyncio, sys
import ramify
from ramify.interpreter.batch import BatchOptions, run_batch

cancelled = []

async def row(values):
    if values["x"] < 3:
        return values["x"]
    if values["x"] == 3:
        print("ready", flush=True)
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        cancelled.append(values["x"])
        raise

try:
    run_batch(row, [{"x": x} for x in range(10)], BatchOptions(concurrency=2))
except KeyboardInterrupt as interrupt:
    print([row.value if row.ok else type(row.error).__name__ for row in interrupt.rows])
    print(cancelled, interrupt)
"""


def test_ctrl_c_keeps_the_finished_rows():
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(INTERRUPTED)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    start = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert time.monotonic() - start < 4, err
    assert out.splitlines() == [
        str([0, 1, 2, *["AbortError"] * 7]),
        "[3, 4] interrupted with 3 of 10 rows finished; they are in the exception's .rows",
    ]
    assert process.returncode == 0 and err == ""


def test_an_uncaught_ctrl_c_ends_the_process():
    script = INTERRUPTED.replace("except KeyboardInterrupt as interrupt:", "except ZeroDivisionError as interrupt:")
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode not in (0, None)
    assert "BatchInterrupted: interrupted with 3 of 10 rows finished" in err


def test_batches_of_several_threads_do_not_disturb_each_other():
    results = {}

    def work(name):
        results[name] = run_batch(Runs(), rows_of(10), BatchOptions(concurrency=3))

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(rows == [Ok(x * x, x) for x in range(10)] for rows in results.values()) and len(results) == 3
