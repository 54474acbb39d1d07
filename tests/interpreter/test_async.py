"""Async programs, sync programs on a caller's loop, and sync calls inside a running loop."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading

import pytest

import ramify
from ramify import FakeBackend, function, gen


@function
async def chat(s, question):
    s += ramify.user(question)
    s += ramify.assistant(gen("a"))
    answer = await s.get("a")
    branches = s.fork(2)
    branches += "x" + gen("b")
    values = await asyncio.gather(*(branch.get("b") for branch in branches))
    s.join(branches)
    meta, raw = await s.meta("a"), await s.text_of("a")
    return answer, values, await s.get("b"), await s.text(), await s.messages(), meta.text == raw


def script():
    return FakeBackend({"x$": "B", "assistant.>$": "A"})


def check(value):
    answer, values, joined, text, messages, same = value
    assert (answer, values, joined, same) == ("A", ["B", "B"], ("B", "B"), True)
    assert text.endswith("<|assistant|>A<|end|>\n") and messages[-1]["content"] == "A"


async def test_an_async_program_on_the_callers_loop():
    result = await chat.arun("hi", backend=script())
    check(result.value)


def test_an_async_program_from_sync_code():
    check(chat.run("hi", backend=script()).value)


async def test_a_sync_program_on_the_callers_loop_does_not_block_it():
    @function
    def program(s):
        s += "x" + gen("a")
        return s["a"], threading.current_thread()

    ticks = []

    async def tick():
        while True:
            await asyncio.sleep(0.01)
            ticks.append(1)

    ticking = asyncio.create_task(tick())
    value, thread = (await program.arun(backend=FakeBackend(["y"], delay=0.2))).value
    ticking.cancel()
    assert value == "y" and thread is not threading.current_thread() and len(ticks) >= 5


async def test_sync_run_inside_a_running_loop():
    @function
    def program(s):
        s += "x" + gen("a")
        return s["a"]

    assert program.run(backend=FakeBackend(["y"])).value == "y"
    assert program.run(backend=FakeBackend(["y"]), timeout=5).value == "y"
    assert chat.run("hi", backend=script()).value[0] == "A"
    assert "".join(program.stream(backend=FakeBackend(["y"])).text_iter()) == "xy"


async def test_reading_with_brackets_in_an_async_body_says_what_to_write():
    @function
    async def program(s):
        s += "x" + gen("a")
        return s["a"]

    with pytest.raises(ramify.VariableError, match=r"await s\.get\('a'\)"):
        await program.arun(backend=FakeBackend())


def test_a_blocking_run_inside_an_async_program_is_refused_not_hung():
    inner = function(lambda s: s.__iadd__("x").__iadd__(gen("a")))

    @function
    async def program(s):
        inner.run(backend=FakeBackend())

    with pytest.raises(ramify.ProgramError, match="arun"):
        program.run(backend=FakeBackend(), timeout=5)

    @function
    async def streaming(s):
        inner.stream(backend=FakeBackend())

    with pytest.raises(ramify.ProgramError, match="astream"):
        streaming.run(backend=FakeBackend(), timeout=5)


async def test_async_programs_inside_async_programs():
    @function
    async def inner(s, name):
        s += "i" + gen(name)
        return await s.get(name)

    @function
    def plain(s):
        s += "p"

    @function
    async def outer(s):
        plain(s)
        s += plain()
        first = await inner(s, "a")
        other = await inner.arun("b")
        with pytest.raises(ramify.ProgramError, match=r"await inner\(s, \.\.\.\)"):
            s += inner("c")
        return first, other["b"]

    backend = FakeBackend({"ppi$": "A", "^i$": "B"})
    result = await outer.arun(backend=backend)
    assert result.value == ("A", "B") and result.text() == "ppiA"


def test_an_async_program_cannot_run_inside_a_sync_one():
    @function
    async def inner(s):
        s += "i"

    with pytest.raises(ramify.ProgramError, match="cannot run inside a sync program"):
        function(lambda s: inner(s)).run(backend=FakeBackend())


async def test_failures_and_timeouts_in_async_programs():
    backend = FakeBackend(delay=30)
    with pytest.raises(ramify.DeadlineError):
        await chat.arun("hi", backend=backend, timeout=0.1)
    assert backend.in_flight == 0 and len(backend.aborted) == 1
    with pytest.raises(ramify.GenError, match="boom"):
        await chat.arun("hi", backend=FakeBackend(failures={0: ramify.BackendError("boom")}))

    @function
    async def stuck(s):
        await asyncio.sleep(30)

    with pytest.raises(ramify.DeadlineError):
        await stuck.arun(backend=FakeBackend(), timeout=0.1)


async def test_many_runs_at_once_on_one_loop():
    backend = FakeBackend(delay=0.05)

    @function
    async def program(s, i):
        s += f"{i}" + gen("a")
        return await s.get("a")

    results = await asyncio.gather(*(program.arun(i, backend=backend) for i in range(50)))
    assert len({result.program_id for result in results}) == 50 and backend.max_in_flight == 50


def test_programs_from_many_threads_at_once():
    backend = FakeBackend(lambda request: request.prompt[0].text * 2)
    values = []

    @function
    def program(s, i):
        s += f"{i}" + gen("a")
        return s["a"]

    threads = [
        threading.Thread(target=lambda i=i: values.append(program.run(i, backend=backend).value)) for i in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(values) == sorted(f"{i}{i}" for i in range(20))


def test_batches_of_programs():
    @function
    def program(s, x):
        s += f"{x}" + gen("a")
        if x == 2:
            raise LookupError("two")
        return s["a"]

    rows = program.run_batch([{"x": x} for x in range(5)], backend=FakeBackend(["z"] * 5), progress=False)
    assert [row.ok for row in rows] == [True, True, False, True, True]
    assert isinstance(rows[2].error, LookupError) and rows[4].value.value == "z"
    with pytest.raises(ramify.ParameterError, match="row 1"):
        try:
            program.run_batch([{"x": 1}, {"y": 1}], backend=FakeBackend())
        except ramify.ParameterError as error:
            raise ramify.ParameterError("row 1" if "row 1" in error.__notes__[0] else "") from error


async def test_async_batches_of_async_programs():
    @function
    async def program(s, x):
        s += f"{x}" + gen("a")
        return await s.get("a")

    rows = await program.arun_batch([{"x": x} for x in range(4)], backend=FakeBackend(["z"] * 4), concurrency=2)
    assert [row.unwrap().value for row in rows] == ["z"] * 4


def test_a_process_ends_quietly_with_runs_under_way():
    script = textwrap.dedent(
        """
        import ramify, threading

        backend = ramify.FakeBackend(delay=60)

        @ramify.function
        def program(s):
            s += "x" + ramify.gen("a")

        threading.Thread(target=program.run, kwargs={"backend": backend}, daemon=True).start()
        stream = program.stream(backend=backend)
        while backend.in_flight < 2:
            pass
        """
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=50, check=False)
    assert ended.returncode == 0 and "Task" not in ended.stderr


def test_a_run_that_is_cancelled_under_a_sync_caller_is_an_abort():
    @function
    async def program(s):
        raise asyncio.CancelledError

    with pytest.raises(ramify.AbortError, match="cancelled before its end"):
        program.run(backend=FakeBackend())
