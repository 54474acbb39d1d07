"""Streaming: by variable and as a whole, sync and async, without polling, with errors where values never come."""

from __future__ import annotations

import asyncio
import resource
import signal
import threading
import time

import pytest

import ramify
from ramify import FakeBackend, function, gen, select
from ramify.interpreter.streams import Stream


@function
def story(s):
    s += ramify.user("Tell")
    with s.assistant():
        s += "Once " + gen("one", stop="!") + "! "
        branches = s.fork(2)
        branches += gen("tip")
        s += select("mood", ["sad", "glad"]) + " " + gen("two")


def backend(**options):
    return FakeBackend(
        {"Once $": "upon a time!", "! $": "branch", "glad $": "the end"}, scores={"glad": -0.1}, **options
    )


def test_the_pieces_add_up_to_the_text_and_to_each_variable():
    stream = story.stream(backend=backend())
    whole = list(stream.text_iter())
    assert "".join(whole) == stream.text() == stream.result().text()
    assert len(whole) > 4
    for name in ("one", "mood", "two"):
        assert "".join(stream.text_iter(name)) == stream[name] == stream.result()[name]
    assert stream.meta("one").finish_reason == "stop" and len(stream.messages()) == 2


def test_text_comes_while_it_is_generated():
    stream = story.stream(backend=backend(piece_delay=0.1))
    times = []
    for _ in stream.text_iter("one"):
        times.append(time.monotonic())
    assert len(times) == 3 and times[-1] - times[0] > 0.15
    assert not stream._future.done()


def test_events_say_which_variable_and_branch():
    deltas = list(story.stream(backend=backend()))
    texts = {}
    for delta in deltas:
        key = (delta.variable, delta.branch, delta.sample)
        texts[key] = texts.get(key, "") + delta.text
    assert texts == {
        ("one", (), 0): "upon a time",
        ("tip", (0,), 0): "branch",
        ("tip", (1,), 0): "branch",
        ("mood", (), 0): "glad",
        ("two", (), 0): "the end",
    }


def test_samples_are_streamed_apart():
    @function
    def program(s):
        s += "x" + gen("v", n=2)

    stream = program.stream(backend=FakeBackend([["aaaaaa", "bbbbbb"]]))
    assert ["".join(stream.text_iter("v", sample=i)) for i in range(2)] == ["aaaaaa", "bbbbbb"]
    assert "".join(stream.text_iter()) == "x"


def test_a_variable_that_never_comes_is_an_error():
    stream = story.stream(backend=backend())
    with pytest.raises(ramify.VariableError, match=r"without defining 'mod' .did you mean 'mood'"):
        list(stream.text_iter("mod"))
    with pytest.raises(ramify.VariableError, match="it defined: one, mood, two"):
        stream["xyz"]


def test_failures_reach_every_reader():
    broken = FakeBackend(["abcdefgh"], failures={0: (4, ramify.BackendError("boom"))})

    @function
    def program(s):
        s += "x" + gen("v") + "y" + gen("w")

    stream = program.stream(backend=broken)
    seen = []
    with pytest.raises(ramify.GenError, match="boom"):
        for text in stream.text_iter("v"):
            seen.append(text)
    assert "".join(seen) == "abcd"
    for read in (stream.text_iter, lambda: stream.text_iter("w"), lambda: stream.text_iter("z"), lambda: [stream["v"]]):
        with pytest.raises(ramify.GenError, match="boom"):
            list(read())
    with pytest.raises(ramify.GenError):
        stream.result()
    with pytest.raises(LookupError):
        list(function(lambda s: {}["k"]).stream(backend=FakeBackend()).text_iter())


def test_leaving_the_block_aborts():
    slow = backend(piece_delay=30)
    with story.stream(backend=slow) as stream:
        next(iter(stream.text_iter("one")))
    with pytest.raises(ramify.AbortError):
        stream.result()
    assert slow.in_flight == 0


def test_a_timeout_ends_a_stream():
    stream = story.stream(backend=backend(delay=30), timeout=0.1)
    with pytest.raises(ramify.DeadlineError):
        list(stream.text_iter("one"))


def test_waiting_costs_no_time_of_the_processor():
    stream = story.stream(backend=backend(delay=0.6))
    before = resource.getrusage(resource.RUSAGE_SELF)
    list(stream.text_iter("two"))
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.3


def test_a_body_can_stream_its_own_variables():
    @function
    def program(s):
        s += "x" + gen("v")
        return list(s.text_iter("v"))

    assert program.run(backend=FakeBackend(["abcdefgh"])).value == ["abcd", "efgh"]


async def test_async_streams():
    stream = story.astream(backend=backend())
    assert "".join([text async for text in stream.text_iter()]) == await stream.text()
    assert "".join([text async for text in stream.text_iter("one")]) == await stream.get("one") == "upon a time"
    assert (await stream.meta("two")).finish_reason == "stop" and len(await stream.messages()) == 2
    assert {delta.variable async for delta in stream} == {"one", "tip", "mood", "two"}
    with pytest.raises(ramify.VariableError, match="did you mean 'mood'"):
        await stream.get("mod")


async def test_async_streams_of_async_programs_and_waiting_readers():
    @function
    async def program(s):
        await asyncio.sleep(0.02)
        s += "x" + gen("v")
        return [text async for text in s.text_iter("v")]

    stream = program.astream(backend=FakeBackend(["abcdefgh"], piece_delay=0.02))
    readers = [asyncio.create_task(collect(stream.text_iter(name))) for name in ("v", None, "v")]
    assert await asyncio.gather(*readers) == [["abcd", "efgh"], ["x", "abcd", "efgh"], ["abcd", "efgh"]]
    assert (await stream.result()).value == ["abcd", "efgh"]


async def collect(texts):
    return [text async for text in texts]


async def test_leaving_an_async_stream_aborts():
    slow = backend(piece_delay=30)
    async with story.astream(backend=slow) as stream:
        async for _ in stream.text_iter("one"):
            break
    with pytest.raises(ramify.AbortError):
        await stream.result()
    assert slow.in_flight == 0


async def test_a_cancelled_reader_leaves_the_stream_alone():
    stream = story.astream(backend=backend(delay=0.1))
    reader = asyncio.create_task(collect(stream.text_iter("one")))
    await asyncio.sleep(0.02)
    reader.cancel()
    assert (await stream.result())["one"] == "upon a time"


@pytest.mark.parametrize("hold", [lambda stream: stream, lambda stream: stream.text_iter("one"), iter])
def test_letting_go_of_a_stream_aborts(hold):
    slow = backend(piece_delay=30)
    held = hold(story.stream(backend=slow))
    texts = held.text_iter() if isinstance(held, Stream) else held
    next(texts)
    while not slow.in_flight:
        time.sleep(0.01)
    del held, texts
    for _ in range(200):
        if slow.aborted and not slow.in_flight:
            break
        time.sleep(0.01)
    assert slow.aborted and not slow.in_flight


async def test_letting_go_of_an_async_stream_aborts_and_leaves_no_task():
    slow = backend(piece_delay=30)
    stream = story.astream(backend=slow)
    async for _ in stream.text_iter("one"):
        break
    del stream, _
    for _ in range(200):
        if len(asyncio.all_tasks()) == 1:
            break
        await asyncio.sleep(0.01)
    assert slow.aborted and not slow.in_flight and len(asyncio.all_tasks()) == 1


def test_a_sample_that_there_is_not_is_an_error():
    stream = function(lambda s: s.__iadd__("x").__iadd__(gen("v", n=2))).stream(backend=FakeBackend([["a", "b"]]))
    assert list(stream.text_iter("v", sample=1)) == ["b"]
    for sample in (2, -1):
        with pytest.raises(ramify.ParameterError, match="samples 0 to 1"):
            list(stream.text_iter("v", sample=sample))


@pytest.mark.parametrize("read", [iter, lambda stream: stream.text_iter(), lambda stream: stream.text_iter("one")])
def test_ctrl_c_while_reading_aborts_though_the_stream_is_kept(read):
    slow = backend(delay=30)
    stream = story.stream(backend=slow)
    threading.Timer(0.2, signal.pthread_kill, [threading.main_thread().ident, signal.SIGINT]).start()
    with pytest.raises(KeyboardInterrupt):
        list(read(stream))
    with pytest.raises(ramify.AbortError):
        stream.result()
    assert not slow.in_flight
