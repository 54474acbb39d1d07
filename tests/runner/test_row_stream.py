"""`RowStream` by itself: nothing is lost, nothing runs ahead, and stopping keeps what had finished."""

from __future__ import annotations

import asyncio
import threading
import time
from contextvars import ContextVar

import pytest

from ramify.interpreter.row_stream import RowStream


async def double(row):
    await asyncio.sleep(0.001 * (row % 3))
    return 2 * row


@pytest.mark.parametrize("width", [1, 3, 100])
def test_every_row_comes_out_once(width):
    with RowStream(double, range(50), width) as stream:
        assert sorted(stream) == [2 * row for row in range(50)]


def test_no_rows():
    with RowStream(double, [], 4) as stream:
        assert list(stream) == []


def test_the_first_to_finish_comes_first():
    async def sleepy(row):
        await asyncio.sleep(0.2 if row == 0 else 0)
        return row

    with RowStream(sleepy, range(3), 3) as stream:
        assert list(stream)[-1] == 0


def test_no_more_than_the_width_runs_at_once_or_is_read_ahead():
    read, running, most = [], 0, 0

    def rows():
        for row in range(100):
            read.append(row)
            yield row

    async def run(row):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return row

    with RowStream(run, rows(), 4) as stream:
        results = iter(stream)
        for count in range(1, 20):
            next(results)
            time.sleep(0.002)  # a slow consumer
            assert len(read) <= count + 4
    assert most <= 4


def test_a_source_that_waits_does_not_hold_up_the_rows_that_it_gave():
    more = threading.Event()

    def rows():
        yield 1
        more.wait(10)
        yield 2

    with RowStream(double, rows(), 8) as stream:
        results = iter(stream)
        assert next(results) == 2
        more.set()
        assert list(results) == [4]


def test_what_reading_raises_is_raised():
    def rows():
        yield 1
        raise OSError("the disk is gone")

    with RowStream(double, rows(), 1) as stream, pytest.raises(OSError, match="the disk is gone"):
        list(stream)


def test_what_a_run_raises_is_raised_and_the_others_are_cancelled():
    cancelled, begun = [], []

    async def run(row):
        while row == 1:
            await asyncio.sleep(0)
            if len(begun) == 2:
                raise ZeroDivisionError
        begun.append(row)
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.append(row)
            raise

    with pytest.raises(ZeroDivisionError), RowStream(run, range(3), 3) as stream:
        list(stream)
    assert sorted(cancelled) == [0, 2]


def test_exit_in_a_run_is_raised_and_the_loop_lives():
    async def run(row):
        raise SystemExit(row)

    with pytest.raises(SystemExit), RowStream(run, [7], 1) as stream:
        list(stream)
    with RowStream(double, [1], 1) as stream:
        assert list(stream) == [2]


def test_stop_hands_out_what_has_finished_and_rest_what_finished_since():
    began = threading.Event()

    async def run(row):
        if row >= 3:
            if row == 4:
                began.set()
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                if row == 4:  # it was done but for a moment
                    return row
                raise
        return row

    stream = RowStream(run, range(9), 5)
    handed_out = []
    with stream:
        for row in stream:
            handed_out.append(row)
            if len(handed_out) == 3:
                assert began.wait(10)
                stream.stop()
    assert handed_out == [0, 1, 2] and list(stream.rest()) == [4]


def test_runs_see_the_context_of_the_consumer():
    variable = ContextVar("variable", default="unset")
    variable.set("here")

    async def run(row):
        return variable.get()

    with RowStream(run, [1], 1) as stream:
        assert list(stream) == ["here"]
