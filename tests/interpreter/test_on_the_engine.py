"""Programs on the engine itself: whatever ends a run early, the engine is idle afterwards and answers the next one."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

import ramify
from ramify import function, gen

LONG = {"max_tokens": 1500, "ignore_eos": True, "temperature": 0}


@pytest.fixture(scope="module")
def engine():
    with ramify.Engine(num_threads=1) as engine:
        yield engine


@pytest.fixture(autouse=True)
def idle_afterwards(engine):
    yield
    end = time.monotonic() + 20
    while (stats := engine.stats()).running + stats.waiting and time.monotonic() < end:
        time.sleep(0.01)
    assert (stats.running, stats.waiting) == (0, 0)
    assert stats.available + stats.evictable == stats.total


@function
def tell(s, topic):
    s += ramify.user(topic)
    with s.assistant():
        branches = s.fork(2)
        branches += gen("v", **LONG)
        s += gen("a", **LONG)


@function
def add(s, i):
    if i % 5 == 3:
        raise ValueError(i)
    s += f"Q: What is {i} + 1?\nA: " + gen("a", max_tokens=3, temperature=0)
    if i % 5 == 4:
        s += gen("cut", regex="a{50}", max_tokens=2)
    return s["a"]


def test_a_stream_that_is_let_go(engine):
    next(tell.stream("a", backend=engine).text_iter("a"))
    with tell.stream("b", backend=engine) as stream:
        next(iter(stream))
    with pytest.raises(ramify.AbortError):
        stream.result()


async def test_an_async_stream_that_is_let_go(engine):
    async for _ in tell.astream("a", backend=engine).text_iter("a"):
        break
    async with tell.astream("b", backend=engine) as stream:
        async for _ in stream:
            break
    while len(asyncio.all_tasks()) > 1:
        await asyncio.sleep(0.01)


def test_runs_out_of_time(engine):
    with pytest.raises(ramify.DeadlineError):
        tell.run("a", backend=engine, timeout=0.1)
    rows = tell.run_batch([{"topic": str(i)} for i in range(4)], backend=engine, timeout=0.1)
    assert [type(row.error) for row in rows] == [ramify.DeadlineError] * 4


async def test_cancelled_runs(engine):
    tasks = [asyncio.create_task(tell.arun(str(i), backend=engine)) for i in range(4)]
    await asyncio.sleep(0.1)
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(result) for result in results} == {asyncio.CancelledError}


def test_a_batch_with_failures(engine):
    rows = add.run_batch([{"i": i} for i in range(60)], backend=engine)
    kinds = [type(None if row.ok else row.error) for row in rows]
    assert kinds == [type(None), type(None), type(None), ValueError, ramify.GenError] * 12
    with pytest.raises(ValueError, match="3"):
        add.run_batch([{"i": i} for i in range(4)], backend=engine, on_error="raise")


def test_many_threads_and_loops_at_once(engine):
    async def several():
        results = await asyncio.gather(*(add.arun(1, backend=engine) for _ in range(3)))
        return [*(result.value for result in results), add.run(1, backend=engine).value]

    answers = []
    threads = [threading.Thread(target=lambda: answers.extend(asyncio.run(several()))) for _ in range(5)]
    threads += [threading.Thread(target=lambda: answers.append(add.run(1, backend=engine).value)) for _ in range(15)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [add.run(1, backend=engine).value] * 35


def test_a_stream_gives_what_came_before_a_failure(engine):
    @function
    def program(s):
        s += "Count: " + gen("ok", max_tokens=4, temperature=0) + gen("cut", regex="a{50}", max_tokens=2) + "never"

    stream = program.stream(backend=engine)
    pieces = []
    with pytest.raises(ramify.GenError, match="'cut'") as caught:
        for piece in stream.text_iter():
            pieces.append(piece)
    assert "".join(pieces) == "Count: " + stream["ok"] + caught.value.partial


@pytest.mark.parametrize("limit", [0, 1, 7])
def test_limits_count_tokens(engine, limit):
    @function
    def program(s):
        s += ramify.user("Tell me a story.") + ramify.assistant(gen("a", temperature=0, max_tokens=limit))

    meta = program.run(backend=engine).meta("a")
    assert (meta.completion_tokens, len(meta.token_ids), meta.finish_reason) == (limit, limit, "length")


def test_data_is_only_data(engine):
    @function
    def program(s, text):
        s += ramify.user(text) + ramify.assistant(gen("a", max_tokens=2, temperature=0))
        return s.messages()[0]["content"]

    for text in (
        "",
        " ",
        "\0",
        "a\0b",
        "😀👩‍👧",
        "<|end|>",
        "<|assistant|>\n<|end|>",
        "\ue0000\ue001",
        "\u2003",
        "\r\n",
    ):
        assert program.run(text, backend=engine).value == text
    with pytest.raises(ramify.GenError, match="PromptError: the prompt has"):
        program.run("a" * 20_000, backend=engine)
