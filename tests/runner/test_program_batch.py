"""`run_batch` and `arun_batch` of programs: rows, arguments, time limits, threads, Ctrl-C, and no run in advance."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading

import pytest

import ramify


@ramify.function
def double(s, word, times=2):
    s += word + ramify.gen("answer")
    return s["answer"] * times


@ramify.function
async def adouble(s, word, times=2):
    s += word + ramify.gen("answer")
    return await s.get("answer") * times


def echo(request):
    return request.prompt[0].text.upper()


def rows_of(count):
    return [{"word": f"w{number}"} for number in range(count)]


@pytest.mark.parametrize("program", [double, adouble])
def test_one_result_per_row_in_order(program):
    rows = program.run_batch((row for row in rows_of(30)), backend=ramify.FakeBackend(echo), concurrency=8)
    assert [row.unwrap().value for row in rows] == [f"W{number}" * 2 for number in range(30)]
    assert rows[7].value["answer"] == "W7" and rows[7].index == 7


@pytest.mark.parametrize("program", [double, adouble])
async def test_the_async_call_gives_the_same(program):
    rows = await program.arun_batch(rows_of(5), backend=ramify.FakeBackend(echo))
    assert [row.value.value for row in rows] == [f"W{number}" * 2 for number in range(5)]


@pytest.mark.parametrize("program", [double, adouble])
def test_rows_run_at_once_up_to_the_width(program):
    backend = ramify.FakeBackend(echo, delay=0.02)
    program.run_batch(rows_of(12), backend=backend, concurrency=4)
    assert backend.max_in_flight == 4
    wide = ramify.FakeBackend(echo, delay=0.05)
    program.run_batch(rows_of(40), backend=wide)
    assert wide.max_in_flight == 40


def test_every_row_runs_exactly_once_and_nothing_runs_before():
    seen = []

    @ramify.function
    def program(s, word):
        seen.append(word)
        if word == "w1":
            raise KeyError(word)
        s += word + ramify.gen("answer")

    backend = ramify.FakeBackend(echo, failures={0: ramify.CapacityError("too big")})
    rows = program.run_batch(rows_of(3), backend=backend, concurrency=1)
    assert seen == ["w0", "w1", "w2"] and len(backend.requests) == 2
    assert [row.ok for row in rows] == [False, False, True]
    assert isinstance(rows[0].error, ramify.GenError) and isinstance(rows[0].error.__cause__, ramify.CapacityError)
    assert isinstance(rows[1].error, KeyError)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"word": "a"}, {"wrod": "b"}], "no parameter 'wrod' .did you mean 'word'"),
        ([{"word": "a"}, {}], "missing a required argument: 'word'"),
        ([{"word": "a"}, "b"], "row 1 of the batch is of type str"),
        ({"word": "a"}, "list of mappings"),
    ],
)
def test_wrong_rows_are_refused_before_anything_runs(rows, message):
    backend = ramify.FakeBackend(echo)
    with pytest.raises(ramify.ParameterError, match=message):
        double.run_batch(rows, backend=backend)
    assert backend.requests == []


def test_the_time_limit_is_for_each_row():
    backend = ramify.FakeBackend(lambda request: "x", delay=0)
    slow = ramify.FakeBackend(echo, delay=5)
    assert all(row.ok for row in double.run_batch(rows_of(3), backend=backend, timeout=5, concurrency=1))
    rows = double.run_batch(rows_of(3), backend=slow, timeout=0.05)
    assert all(isinstance(row.error, ramify.DeadlineError) or row.error.__cause__ for row in rows)
    assert slow.in_flight == 0
    with pytest.raises(ramify.ParameterError, match="timeout"):
        double.run_batch(rows_of(1), backend=backend, timeout=-1)


@pytest.mark.parametrize("program", [double, adouble])
def test_on_error_raise_aborts_the_requests_of_the_others(program):
    def script(request):
        return ramify.CapacityError("too big") if request.prompt[0].text == "w1" else "long"

    backend = ramify.FakeBackend(script, piece_len=1, piece_delay=3)
    with pytest.raises(ramify.GenError) as caught:
        program.run_batch(rows_of(2), backend=backend, on_error="raise")
    assert isinstance(caught.value.__cause__, ramify.CapacityError)
    assert caught.value.__notes__ == ["in row 1 of the batch"]
    assert backend.in_flight == 0 and len(backend.aborted) == 1


def test_threads_of_bodies_end_with_the_batch():
    double.run_batch(rows_of(20), backend=ramify.FakeBackend(echo), concurrency=10)
    bodies = [thread for thread in threading.enumerate() if thread.name == "ramify-body"]
    for thread in bodies:
        thread.join(timeout=5)
    assert not any(thread.is_alive() for thread in bodies)


@pytest.mark.parametrize("number", [0, 1])
def test_a_body_that_exits_ends_the_batch_and_not_the_loop(number):
    @ramify.function
    def plain(s, word):
        s += word + ramify.gen("answer")
        if word == "w1":
            raise SystemExit("enough")

    @ramify.function
    async def coroutine(s, word):
        s += word + ramify.gen("answer")
        if word == "w1":
            raise SystemExit("enough")

    program, backend = (plain, coroutine)[number], ramify.FakeBackend(echo)
    with pytest.raises(SystemExit, match="enough"):
        program.run_batch(rows_of(4), backend=backend, concurrency=1)
    with pytest.raises(SystemExit, match="enough"):
        program.run("w1", backend=backend)
    with pytest.raises(SystemExit, match="enough"):
        program.stream("w1", backend=backend).result()
    assert program.run("w2", backend=backend)["answer"] == "W2"


def test_the_backend_of_use_answers_every_row():
    with ramify.use(ramify.FakeBackend(echo)) as backend:
        assert all(row.ok for row in double.run_batch(rows_of(3)))
    assert len(backend.requests) == 3


async def test_cancelling_an_async_batch_aborts_its_requests():
    backend = ramify.FakeBackend(echo, delay=5)
    task = asyncio.create_task(double.arun_batch(rows_of(3), backend=backend))
    while backend.in_flight < 3:
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert backend.in_flight == 0 and len(backend.aborted) == 3


INTERRUPTED = """
import ramify

def delay(request):
    return 60 if len(request.prompt) > 1 else 0  # the second gen of a row never ends

backend = ramify.FakeBackend(lambda request: request.prompt[0].text, delay=delay)

@ramify.function
{kind} program(s, word):
    s += word + ramify.gen("answer")
    if word == "w4":
        print("ready", flush=True)
    if word >= "w3":
        {pause}
    return word

try:
    program.run_batch([{{"word": f"w{{n}}"}} for n in range(8)], backend=backend, concurrency=2)
except KeyboardInterrupt as interrupt:
    print([row.value["answer"] if row.ok else type(row.error).__name__ for row in interrupt.rows])
"""


@pytest.mark.parametrize(
    ("kind", "pause"),
    [
        ("def", "import threading; threading.Event().wait(60)"),
        ("def", "s += ramify.gen('more'); s['more']"),
        ("async def", "import asyncio; await asyncio.sleep(60)"),
    ],
)
def test_ctrl_c_keeps_the_finished_rows(kind, pause):
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED.format(kind=kind, pause=pause)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert out == str(["w0", "w1", "w2", *["AbortError"] * 5]) + "\n"
