"""Aborts, endings, errors: every request ends exactly once, nothing hangs, nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ramify
from ramify.backend.api import Hints, Request, Text, Tokens
from ramify.lang.constraints import Regex

LONG = Text("How many roads must a man walk down? " * 10)


@pytest.fixture(scope="module")
def engine(model_folder: Path) -> Iterator[ramify.Engine]:
    with ramify.Engine(model_folder, max_total_tokens=2048, chunked_prefill_size=16, max_running=4) as engine:
        yield engine


def make(folder: Path, **options: Any) -> ramify.Engine:
    return ramify.Engine(folder, **{"max_total_tokens": 1024, "max_running": 4, **options})


def endless(prompt: Text = LONG, **changes: Any) -> Request:
    return Request(prompt=(prompt,), sampling=ramify.Sampling(max_tokens=300, ignore_eos=True, **changes))


def wait_idle(engine: ramify.Engine) -> None:
    for _ in range(500):
        stats = engine.stats()
        if stats.running == stats.waiting == 0:
            break
        time.sleep(0.01)
    assert (stats.running, stats.waiting, stats.protected) == (0, 0, 0)
    assert stats.available + stats.evictable == stats.total
    engine._front.thread.call(lambda scheduler: scheduler.check())
    assert not engine._front.thread._routes


# -- errors that name what to do


@pytest.mark.parametrize(
    ("prompt", "sampling", "error", "words"),
    [
        ("", {}, ramify.PromptError, "empty"),
        ((), {}, ramify.PromptError, "empty"),
        ([[]], {}, ramify.PromptError, "empty"),
        ((Text(""),), {}, ramify.PromptError, "empty"),
        ([{"role": "user"}], {}, ramify.ParameterError, "content"),
        ([390], {}, ramify.PromptError, "390.*outside the vocabulary of 390"),
        ([5, -1], {}, ramify.PromptError, "-1.*outside"),
        ("The fox " * 600, {}, ramify.PromptError, "context of 512 tokens"),
        (42, {}, ramify.ParameterError, "a prompt is"),
        ([3.5], {}, ramify.ParameterError, "a prompt is"),
        ("a", {"max_token": 5}, ramify.ParameterError, "did you mean 'max_tokens'"),
        ("a", {"max_tokens": -1}, ramify.ParameterError, "max_tokens"),
        ("a", {"temperature": "hot"}, ramify.ParameterError, "temperature"),
        ("a", {"stop_token_ids": [9999]}, ramify.ParameterError, "stop_token_ids.*9999"),
        ("a", {"logit_bias": {9999: 1.0}}, ramify.ParameterError, "logit_bias.*9999"),
        ("a", {"stop_regex": "x*"}, ramify.ParameterError, "empty text"),
        ("a", {"stop": [""]}, ramify.ParameterError, "empty string"),
        ("a", {"prompt_logprobs": 0, "logprob_start": 50}, ramify.ParameterError, "logprob_start"),
        ("a", {"constraint": Regex("(")}, ramify.ConstraintError, r"\("),
        ("a \ud800", {}, ramify.ParameterError, "lone surrogate.*position 2"),
    ],
)
def test_bad_requests(
    engine: ramify.Engine, prompt: Any, sampling: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        engine.generate(prompt, **sampling)
    with pytest.raises(error, match=words):
        asyncio.run(engine.agenerate(prompt, **sampling))
    wait_idle(engine)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"page_size": 0}, "page_size"),
        ({"max_running": 2.5}, "max_running"),
        ({"max_total_tokens": -1}, "max_total_tokens"),
        ({"overlap": True}, "overlap"),
        ({"seed": "7"}, "seed"),
        ({"max_total_tokens": 8, "page_size": 16}, "one page"),
    ],
)
def test_bad_options(model_folder: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ramify.ParameterError, match=words):
        ramify.Engine(model_folder, **options)


def test_unknown_names(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ramify.PluginError, match="aged-lpm"):
        ramify.Engine(model_folder, policy="aged")
    with pytest.raises(ramify.PluginError, match="grammars"):
        ramify.Engine(model_folder, grammar="nothing")
    with pytest.raises(ramify.ModelError):
        ramify.Engine(tmp_path)
    with pytest.raises(ramify.ModelError, match="dtype"):
        ramify.Engine(model_folder, dtype="float9")  # type: ignore[arg-type]


def test_a_failing_prompt_of_a_list_ends_the_others(engine: ramify.Engine) -> None:
    with pytest.raises(ramify.PromptError):
        engine.generate(["The fox", ""], max_tokens=200)
    wait_idle(engine)


def test_a_prompt_larger_than_the_memory(model_folder: Path) -> None:
    with make(model_folder, max_total_tokens=64) as engine:
        with pytest.raises(ramify.PromptError, match="64"):
            engine.generate(LONG, max_tokens=4)
        short = engine.generate("The fox", max_tokens=500, temperature=0, ignore_eos=True)
        assert short.prompt_tokens + short.completion_tokens == 64
        wait_idle(engine)


def test_deadlines(engine: ramify.Engine) -> None:
    request = Request(
        prompt=(LONG,), sampling=ramify.Sampling(max_tokens=400, ignore_eos=True), hints=Hints(timeout=0.02)
    )

    async def read() -> str:
        text = ""
        try:
            async for chunk in engine.generate(request):
                text += chunk.text
        except ramify.DeadlineError as error:
            assert isinstance(error, TimeoutError) and error.partial == text
            return "late"
        return "in time"

    assert asyncio.run(read()) == "late"
    wait_idle(engine)


def test_a_dead_end_fails_its_request_alone(engine: ramify.Engine) -> None:
    answers = []

    def neighbour() -> None:
        answers.append(engine.generate("The fox", max_tokens=40, temperature=0, ignore_eos=True))

    thread = threading.Thread(target=neighbour)
    thread.start()
    with pytest.raises(ramify.DeadEndError) as caught:
        # every digit is forbidden by a bias, so the constraint has no legal token left after "a"
        digits = {engine.tokenizer.hf.backend_tokenizer.token_to_id(str(digit)): -float("inf") for digit in range(10)}
        digits |= {i: -float("inf") for i, b in enumerate(engine.tokenizer.vocabulary.token_bytes) if b[:1].isdigit()}
        engine.generate("x", constraint=Regex("a[0-9]+"), max_tokens=9, temperature=0, logit_bias=digits)
    assert caught.value.partial == "a"
    thread.join()
    assert answers[0].completion_tokens == 40
    wait_idle(engine)


# -- aborts


@pytest.mark.parametrize("after", [0, 1, 3, 20])
def test_closing_the_iterator_aborts(engine: ramify.Engine, after: int) -> None:
    async def read() -> None:
        iterator = engine.generate(endless(n=3))
        for _ in range(after):
            await anext(iterator)
        await iterator.aclose()  # type: ignore[attr-defined]

    before = engine.stats().aborted
    asyncio.run(read())
    wait_idle(engine)
    assert engine.stats().aborted == before + (3 if after else 0)


@pytest.mark.parametrize("delay", [0.0, 0.002, 0.02, 0.2])
def test_cancelling_the_task_aborts(engine: ramify.Engine, delay: float) -> None:
    async def run() -> None:
        much = {"max_tokens": 300, "ignore_eos": True, "n": 8}  # seconds of work, on four rows
        tasks = [asyncio.create_task(engine.agenerate([LONG] * 3, **much)) for _ in range(4)]
        await asyncio.sleep(delay)
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)

    asyncio.run(run())
    wait_idle(engine)


def test_a_dropped_iterator_aborts(engine: ramify.Engine) -> None:
    async def read() -> None:
        async for _ in engine.generate(endless()):
            break
        gc.collect()
        await asyncio.sleep(0.05)

    asyncio.run(read())
    wait_idle(engine)


def test_a_loop_that_is_closed_under_its_tasks(engine: ramify.Engine) -> None:
    loop = asyncio.new_event_loop()
    iterator = engine.generate(endless())
    loop.run_until_complete(anext(iterator))  # type: ignore[arg-type]
    loop.close()
    wait_idle(engine)
    del iterator


def test_sync_calls_work_inside_a_running_loop(engine: ramify.Engine) -> None:
    async def run() -> tuple[str, str]:
        inside = engine.generate("The fox", max_tokens=5, temperature=0).text
        return inside, (await engine.agenerate("The fox", max_tokens=5, temperature=0)).text

    first, second = asyncio.run(run())
    assert first == second


# -- the end of an engine


def test_close_fails_what_is_open_and_joins(model_folder: Path) -> None:
    engine = make(model_folder)
    seen: list[BaseException] = []
    started = threading.Event()

    def wait() -> None:
        started.set()
        try:
            engine.generate([LONG] * 6, max_tokens=400, ignore_eos=True)
        except ramify.ClosedError as error:
            seen.append(error)

    async def stream() -> None:
        try:
            async for _ in engine.generate(endless()):
                started.set()
        except ramify.ClosedError as error:
            seen.append(error)

    threads = [threading.Thread(target=wait), threading.Thread(target=lambda: asyncio.run(stream()))]
    for thread in threads:
        thread.start()
    started.wait(10)
    time.sleep(0.01)
    own = engine._front.thread._thread
    engine.close()
    for thread in threads:
        thread.join(10)
    assert len(seen) == 2 and own is not None and not own.is_alive()
    engine.close()
    for call in (lambda: engine.generate("a"), engine.stats, engine.flush_cache, lambda: engine.score("a", ["b"])):
        with pytest.raises(ramify.ClosedError):
            call()
    with pytest.raises(ramify.ClosedError):
        asyncio.run(engine.agenerate("a"))


def test_close_may_be_awaited(model_folder: Path) -> None:
    async def run() -> None:
        engine = make(model_folder)
        await engine.agenerate("The", max_tokens=2)
        await engine.close()

    asyncio.run(run())


def test_a_forgotten_engine_ends_its_thread(model_folder: Path) -> None:
    engine = make(model_folder)
    thread = engine._front.thread._thread
    assert thread is not None and thread.is_alive()
    engine.generate("The fox", max_tokens=2, constraint=Regex("[a-z]{2}"))
    del engine
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()


def test_a_stream_keeps_its_engine(model_folder: Path) -> None:
    async def run() -> int:
        iterator = make(model_folder).generate(endless())
        gc.collect()
        return sum([len(chunk.token_ids) async for chunk in iterator])

    assert asyncio.run(run()) == 300


def test_a_failed_forward_fails_its_requests_alone(model_folder: Path) -> None:
    with make(model_folder) as engine:
        scheduler = engine._front.thread._scheduler
        assert scheduler is not None
        forward = scheduler.worker.forward

        def broken(batch: Any) -> Any:
            raise RuntimeError("planted")

        scheduler.worker.forward = broken  # type: ignore[method-assign]
        with pytest.raises(ramify.BackendError, match="planted"):
            engine.generate("The fox")
        scheduler.worker.forward = forward  # type: ignore[method-assign]
        assert engine.generate("The fox", max_tokens=3).completion_tokens == 3
        wait_idle(engine)


def test_an_engine_that_breaks_answers_everybody(model_folder: Path) -> None:
    engine = make(model_folder)
    scheduler = engine._front.thread._scheduler
    assert scheduler is not None

    def broken() -> Any:
        raise RuntimeError("planted")

    scheduler.get_next_batch_to_run = broken  # type: ignore[method-assign]
    with pytest.raises(ramify.BackendError, match="planted"):
        engine.generate(["The fox", "Paris"])
    with pytest.raises(ramify.BackendError, match="planted"):
        engine.generate("The fox")
    with pytest.raises(ramify.BackendError):
        engine.stats()
    engine.close()


def test_a_forked_child_is_told_and_leaving_without_close_does_not_hang(model_folder: Path) -> None:
    source = f"""
import os, threading
import ramify
engine = ramify.Engine({str(model_folder)!r}, max_total_tokens=512)
engine.generate("Paris", max_tokens=3)
child = os.fork()
if not child:
    try:
        engine.generate("Paris")
    except ramify.BackendError as error:
        assert "fork" in str(error)
        engine.close()
        os._exit(7)
    os._exit(1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), engine.generate("Paris", max_tokens=3).completion_tokens)
threading.Thread(target=lambda: engine.generate("The fox", max_tokens=400, ignore_eos=True), daemon=True).start()
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, timeout=90, env=environment, cwd=model_folder
    )
    assert (done.returncode, done.stdout) == (0, "7 3\n"), done.stderr


def test_tokens_of_an_answer_continue_it(engine: ramify.Engine) -> None:
    first = engine.generate("The fox", max_tokens=10, temperature=0, ignore_eos=True)
    piece = Tokens(first.token_ids, first.text)
    more = engine.generate((Text("The fox"), piece), max_tokens=10, temperature=0, ignore_eos=True)
    whole = engine.generate("The fox", max_tokens=20, temperature=0, ignore_eos=True)
    assert whole.token_ids == first.token_ids + more.token_ids
    assert more.cached_tokens >= more.prompt_tokens - 2


def test_compiling_counts_for_the_deadline(engine: ramify.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    from concurrent.futures import Future

    never: Future[Any] = Future()
    monkeypatch.setattr(engine._front.grammars, "compile", lambda constraint, plugin: never)

    async def read() -> None:
        request = Request(prompt=(Text("a"),), constraint=Regex("b"), hints=Hints(timeout=0.05))
        async for _ in engine.generate(request):
            pass

    with pytest.raises(ramify.DeadlineError, match="compiled"):
        asyncio.run(read())
