"""Schedule independence: what a request gets does not depend on chunks, pages, cache, memory or company."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import ramify
from ramify.backend.api import Request, Text
from ramify.backend.engine.generation import Generation
from ramify.lang.constraints import Regex
from ramify.lang.sampling import PARAMETERS

SHARED = "How many roads must a man walk down before you call him a man? " * 3


@dataclass(frozen=True)
class Case:
    prompt: str
    sampling: ramify.Sampling
    constraint: Regex | None = None


CASES = [
    Case(SHARED + "The fox", ramify.Sampling(max_tokens=24, temperature=0, logprobs=2, prompt_logprobs=1)),
    Case(SHARED + "The dog", ramify.Sampling(max_tokens=24, seed=1, logprobs=1)),
    Case("Paris", ramify.Sampling(max_tokens=30, seed=2, temperature=1.4, top_p=0.9, repetition_penalty=1.3)),
    Case("The quick", ramify.Sampling(max_tokens=30, temperature=0, frequency_penalty=0.7, presence_penalty=0.4)),
    Case(SHARED[:50], ramify.Sampling(max_tokens=20, seed=3, top_k=20, min_p=0.02, ignore_eos=True)),
    Case("Call", ramify.Sampling(max_tokens=20, seed=4), Regex("[0-9]{3}-[a-z]{4}")),
    Case(SHARED, ramify.Sampling(max_tokens=25, seed=5, min_tokens=10, stop=("e", "q"), n=2)),
]
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "chunk-1": {"chunked_prefill_size": 1},
    "chunk-7": {"chunked_prefill_size": 7},
    "chunk-512": {"chunked_prefill_size": 512},
    "page-16": {"page_size": 16, "max_total_tokens": 4096},
    "no-cache": {"radix_cache": False},
    "one-at-a-time": {"max_running": 1},
    "first-come": {"policy": "fcfs"},
}
Answers = list[list[Generation]]


def run_all(engine: ramify.Engine) -> Answers:
    requests = [
        Request(prompt=(Text(case.prompt),), sampling=case.sampling, constraint=case.constraint, stream=False)
        for case in CASES
    ]
    return engine._front.generate_blocking(requests)


def assert_same(found: Answers, expected: Answers) -> None:
    for samples, wanted in zip(found, expected, strict=True):
        for one, other in zip(samples, wanted, strict=True):
            assert (one.text, one.token_ids, one.finish) == (other.text, other.token_ids, other.finish)
            for mine, theirs in ((one.logprobs, other.logprobs), (one.prompt_logprobs, other.prompt_logprobs)):
                assert [entry.token_id for entry in mine] == [entry.token_id for entry in theirs]
                for a, b in zip(mine, theirs, strict=True):
                    assert a.logprob == (None if b.logprob is None else pytest.approx(b.logprob, abs=1e-4))
                    assert [i for i, _ in a.top] == [i for i, _ in b.top]


def assert_idle(engine: ramify.Engine) -> None:
    engine._front.thread.call(lambda scheduler: scheduler.check())
    stats = engine.stats()
    assert (stats.running, stats.waiting, stats.protected) == (0, 0, 0)
    assert stats.available + stats.evictable == stats.total


@pytest.fixture(scope="module")
def expected(model_folder: Path) -> Answers:
    """Every request alone, on a fresh cache."""
    answers: Answers = []
    with ramify.Engine(model_folder, max_total_tokens=2048) as engine:
        for case in CASES:
            engine.flush_cache()
            answer = engine.generate(
                case.prompt,
                constraint=case.constraint,
                **{name: getattr(case.sampling, name) for name in PARAMETERS},
            )
            answers.append(answer if isinstance(answer, list) else [answer])
    return answers


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_any_configuration_gives_the_same(model_folder: Path, expected: Answers, name: str) -> None:
    with ramify.Engine(model_folder, **{"max_total_tokens": 2048, **CONFIGURATIONS[name]}) as engine:
        assert_same(run_all(engine), expected)
        assert_same(run_all(engine), expected)  # on a warm cache
        assert_idle(engine)


def test_forced_retraction_gives_the_same(model_folder: Path, expected: Answers) -> None:
    with ramify.Engine(model_folder, max_total_tokens=160, chunked_prefill_size=32) as engine:
        with ThreadPoolExecutor(1) as pool:
            fillers = [f"Paris {number}" for number in range(12)]
            others = pool.submit(engine.generate, fillers, max_tokens=100, temperature=0, ignore_eos=True)
            for _ in range(3):
                assert_same(run_all(engine), expected)
            others.result(60)
        assert engine.stats().retractions > 0
        assert_idle(engine)


def test_many_threads_and_loops_at_once(model_folder: Path, expected: Answers) -> None:
    def blocking(engine: ramify.Engine) -> None:
        assert_same(run_all(engine), expected)

    async def streams(engine: ramify.Engine) -> list[str]:
        async def one(case: Case) -> str:
            request = Request(prompt=(Text(case.prompt),), sampling=case.sampling, constraint=case.constraint)
            texts: dict[int, str] = {}
            async for chunk in engine.generate(request):
                texts[chunk.index] = texts.get(chunk.index, "") + chunk.text
            return texts[0]

        return await asyncio.gather(*(one(case) for case in CASES * 2))

    def looping(engine: ramify.Engine) -> None:
        texts = asyncio.run(streams(engine))
        assert texts == [samples[0].text for samples in expected] * 2

    with ramify.Engine(model_folder, max_total_tokens=1024, chunked_prefill_size=48, max_running=8) as engine:
        with ThreadPoolExecutor(4) as pool:
            futures = [pool.submit(target, engine) for target in (blocking, looping, blocking, looping)]
            for future in futures:
                future.result(60)
        assert_idle(engine)
