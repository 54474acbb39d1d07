"""Scores of choices against a direct computation with transformers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

import ramify
from ramify.backend.api import ScoreRequest, Text


@pytest.fixture(scope="module")
def engine(model_folder: Path) -> Iterator[ramify.Engine]:
    with ramify.Engine(model_folder, max_total_tokens=4096, chunked_prefill_size=32) as engine:
        yield engine


@pytest.fixture(scope="module")
def hf(model_folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(model_folder).eval()


def direct(hf: Any, ids: list[int], start: int) -> list[float]:
    with torch.no_grad():
        table = torch.log_softmax(hf(torch.tensor([ids])).logits[0].float(), -1)
    return [table[i - 1, ids[i]].item() for i in range(start, len(ids))]


@pytest.mark.parametrize(
    ("prompt", "choices"),
    [
        ("How many roads must a man walk down?", [" many", " a", " none at all, call him a man"]),
        ("The quick brown f", ["ox jumps", "rog", "og"]),  # the border lies inside a token
        ("Paris ", ["is the capital", "was"]),
        ("The fox. " * 20, [" the", " The", "\n"]),
    ],
)
def test_scores_equal_a_direct_computation(engine: ramify.Engine, hf: Any, prompt: str, choices: list[str]) -> None:
    scores = engine.score(prompt, choices, unconditional=True)
    encode = engine.tokenizer.encode_prompt
    alone = encode((Text(prompt),))
    sequences = [encode((Text(prompt + choice),)) for choice in choices]
    start = 0
    while start < len(alone) and all(ids[start] == alone[start] for ids in sequences if start < len(ids)):
        start += 1
    assert [score.choice for score in scores] == choices
    for score, ids in zip(scores, sequences, strict=True):
        assert list(score.token_ids) == ids[start:]
        assert score.logprobs == pytest.approx(direct(hf, ids, start), abs=2e-4)
        assert score.unconditional == pytest.approx(direct(hf, [0, *ids[start:]], 1), abs=2e-4)
        assert score.usage.prompt_tokens == len(ids) and score.usage.completion_tokens == 0


def test_the_prompt_is_computed_once(engine: ramify.Engine) -> None:
    engine.flush_cache()
    before = engine.stats()
    prompt = "How many roads must a man walk down before you call him a man? " * 3
    scores = engine.score(prompt, [" one", " two", " three", " four"])
    after = engine.stats()
    own = sum(len(score.token_ids) for score in scores)
    prompt_len = scores[0].usage.prompt_tokens - len(scores[0].token_ids)
    # every sequence computes the prompt's last token, for its logits, and all but the last of its own
    assert after.computed_tokens - before.computed_tokens == prompt_len + 3 + own - 4
    assert after.requests - before.requests == 4


def test_async_scores_are_the_same(engine: ramify.Engine) -> None:
    request = ScoreRequest(prompt=(Text("The fox"),), choices=(" a", " the"))
    scores = asyncio.run(_score(engine, request))
    for one, other in zip(scores, engine.score("The fox", [" a", " the"]), strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)
        assert one.token_ids == other.token_ids and one.unconditional == ()


async def _score(engine: ramify.Engine, request: ScoreRequest) -> Any:
    return await engine.score(request)


@pytest.mark.parametrize("choices", [[], ["a", "a"], ["a", ""], "ab", [1]])
def test_bad_choices(engine: ramify.Engine, choices: Any) -> None:
    with pytest.raises(ramify.ParameterError, match="choice"):
        engine.score("The fox", choices)


def test_an_empty_prompt_cannot_be_continued(engine: ramify.Engine) -> None:
    with pytest.raises(ramify.PromptError, match="empty"):
        engine.score("", ["a", "b"])
    with pytest.raises(ramify.PromptError, match="context"):
        engine.score("The fox " * 600, ["a", "b"])
