"""Batches that mix every kind of constraint with free rows: all hold, forced runs change nothing, errors stay alone."""

from __future__ import annotations

import asyncio
import datetime
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import lark
import pytest

import ramify
from ramify.backend.api import Hints, Request, Text
from ramify.backend.engine.generation import Generation
from ramify.lang.constraints import Choices, Constraint, Grammar, JsonSchema, Regex
from ramify.lang.errors import ConstraintError, DeadEndError, DeadlineError

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "quick_brown_fox": {"type": "boolean"},
        "number_of_roads": {"type": "integer", "minimum": 3, "maximum": 420},
        "answer": {"enum": ["Paris", "a man", None]},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 3}, "maxItems": 2},
    },
    "required": ["quick_brown_fox", "number_of_roads", "answer"],
    "additionalProperties": False,
}
SUM = 'start: item ("+" item)~0..3\nitem: NUMBER | "(" start ")"\nNUMBER: /[1-9][0-9]{0,2}/\n'
CHOICES = ("red", "red dark", "reddish", "東京", "東", "The quick brown fox")


@dataclass(frozen=True)
class Kind:
    """A constraint, and what fails for a text that does not hold it."""

    constraint: Constraint | None
    check: Callable[[str], object]


def matching(pattern: str) -> Kind:
    def check(text: str) -> None:
        assert re.fullmatch(pattern, text), text

    return Kind(Regex(pattern), check)


KINDS: dict[str, Kind] = {
    "free": Kind(None, str),
    "schema": Kind(JsonSchema(json.dumps(SCHEMA)), lambda text: jsonschema.validate(json.loads(text), SCHEMA)),
    "nested": Kind(JsonSchema('{"const": {"jumps": [1, {"over": "the lazy dog"}]}}'), json.loads),
    "choices": Kind(Choices(CHOICES), CHOICES.index),
    "int": matching(r"-?(0|[1-9]\d{0,5})"),
    "date": Kind(
        Regex("20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])"), lambda text: datetime.date.fromisoformat(text)
    ),
    "phone": matching(r"call me: \+49 \(0\) [0-9]{3,5} please"),
    "unicode": matching(r"(naïve |東京|😀|ß){1,3}!?"),
    "forced": matching("How many roads must a man walk down"),
    "grammar": Kind(Grammar(SUM), lark.Lark(SUM, parser="lalr").parse),
}
PROMPTS = ["", "The quick brown fox ", '{"quick_', "Paris is the capital of 東", "4"]


def requests(count: int, *, temperature: float, num: int = 1) -> list[tuple[str, Request]]:
    """Every kind in turn, over every prompt."""
    names = list(KINDS)
    found = []
    for index in range(count):
        name = names[index % len(names)]
        sampling = ramify.Sampling(
            max_tokens=8 if name == "free" else 120, temperature=temperature, seed=index, n=num, top_p=0.98
        )
        prompt = (Text(f"{index % 7} {PROMPTS[index % len(PROMPTS)]}"),)
        found.append((name, Request(prompt=prompt, sampling=sampling, constraint=KINDS[name].constraint, stream=False)))
    return found


def run(engine: ramify.Engine, wanted: list[tuple[str, Request]]) -> list[list[Generation]]:
    return engine._front.generate_blocking([request for _, request in wanted])


def check(name: str, answer: Generation) -> bool:
    """Assert what holds of every answer; returns whether it is whole."""
    assert answer.finish_reason == "stop" or answer.is_partial or name == "free"
    if answer.finish_reason == "stop":
        KINDS[name].check(answer.text)
    return not answer.is_partial


def retract_one(scheduler: Any) -> None:
    """What running out of memory does, to the request that has run longest."""
    running = [req for req in scheduler.running_batch.reqs if req.row > 0]
    if len(running) > 1:
        scheduler.lifecycle.retract(running[0])


def run_retracting(engine: ramify.Engine, wanted: list[tuple[str, Request]]) -> list[list[Generation]]:
    """Run while a request is retracted at every other step, whatever the machine's speed."""
    with ThreadPoolExecutor(1) as pool:
        answers = pool.submit(run, engine, wanted)
        while not answers.done():
            engine._front.thread.call(retract_one)
            engine._front.thread.call(lambda scheduler: None)  # each call is taken between two steps
        return answers.result()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_every_answer_holds_its_constraint(model_folder: Path, temperature: float) -> None:
    """Twelve hundred samples each, retracted again and again."""
    wanted = requests(120, temperature=temperature, num=10)
    with ramify.Engine(model_folder, max_total_tokens=1500, max_running=48, chunked_prefill_size=64) as engine:
        answers = run_retracting(engine, wanted)
        stats = engine.stats()
        engine._front.thread.call(lambda scheduler: scheduler.check())
    whole = [check(name, answer) for (name, _), group in zip(wanted, answers, strict=True) for answer in group]
    assert len(whole) == 1200 and sum(whole) > 1150
    assert stats.retractions > 50 and stats.forced_tokens > 5000
    assert (stats.running, stats.waiting, stats.failed) == (0, 0, 0)


CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "chunk-5": {"chunked_prefill_size": 5},
    "retraction": {"chunked_prefill_size": 16},
    "page-8": {"page_size": 8, "max_running": 5},
    "no-cache": {"radix_cache": False},
}


@pytest.fixture(scope="module")
def sampled_one_by_one(model_folder: Path) -> dict[float, list[list[Generation]]]:
    """What the engine gives when it samples every token, forced or not."""
    with ramify.Engine(model_folder, max_total_tokens=2048, jump_forward=False) as engine:
        found = {temperature: run(engine, requests(40, temperature=temperature)) for temperature in (0.0, 1.0)}
        assert engine.stats().forced_tokens == 0
        return found


@pytest.mark.parametrize("name", CONFIGURATIONS)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_forced_runs_change_nothing(model_folder: Path, sampled_one_by_one: Any, name: str, temperature: float) -> None:
    with ramify.Engine(model_folder, **{"max_total_tokens": 2048, **CONFIGURATIONS[name]}) as engine:
        wanted = requests(40, temperature=temperature)
        answers = run_retracting(engine, wanted) if name == "retraction" else run(engine, wanted)
        stats = engine.stats()
    for group, expected in zip(answers, sampled_one_by_one[temperature], strict=True):
        for one, other in zip(group, expected, strict=True):
            assert (one.text, one.token_ids, one.finish) == (other.text, other.token_ids, other.finish)
    assert stats.forced_tokens > 100 and (name == "retraction") <= (stats.retractions > 0)


def test_logprobs_of_forced_tokens_are_the_model_s(model_folder: Path) -> None:
    """A request that wants them samples every token, so they are there, and the output is the same."""
    request = dict(regex=KINDS["phone"].constraint.pattern, max_tokens=60, seed=3)  # type: ignore[union-attr]
    with ramify.Engine(model_folder, max_total_tokens=512) as engine:
        plain, logged = engine.generate("x", **request), engine.generate("x", logprobs=2, **request)
        scored = engine.generate([*engine.tokenizer.encode_prompt((Text("x"),)), *logged.token_ids], prompt_logprobs=0)
    assert plain.token_ids == logged.token_ids
    ours = [entry.logprob for entry in logged.logprobs]
    theirs = [entry.logprob for entry in scored.prompt_logprobs][-len(ours) :]
    assert ours == pytest.approx(theirs, abs=1e-3) and min(ours) < -1


def test_errors_stay_with_their_request(model_folder: Path) -> None:
    """A dead end, a deadline and a pattern that does not compile, in a batch of everything else."""
    wanted = requests(30, temperature=1.0)
    with ramify.Engine(model_folder, max_total_tokens=2048) as engine:
        alone = run(engine, wanted)
        letters = [i for i, text in enumerate(engine.tokenizer.vocabulary.token_bytes) if b"z" in text]

        async def main() -> list[Any]:
            failing = [
                engine.agenerate("a", regex="[a-c]{2}z", logit_bias=dict.fromkeys(letters, float("-inf"))),
                engine.agenerate("a", regex="[a-z]{300,}", max_tokens=400, hints=Hints(timeout=0.02)),
                engine.agenerate("a", json_schema={"type": "array", "uniqueItems": True}),
                engine.agenerate("a", regex="a", backend_hint="llguidanse"),
            ]
            good = engine._front.generate([request for _, request in wanted])
            return list(await asyncio.gather(*failing, good, return_exceptions=True))

        *failed, answers = asyncio.run(main())
        stats = engine.stats()
    kinds = (DeadEndError, DeadlineError, ConstraintError, ramify.PluginError)
    assert [type(error) for error in failed] == list(kinds)
    assert "did you mean 'llguidance'" in str(failed[3])
    assert [group[0].token_ids for group in answers] == [group[0].token_ids for group in alone]
    assert (stats.running, stats.waiting) == (0, 0)


def test_a_gen_may_name_its_grammar_plugin(model_folder: Path) -> None:
    with ramify.Engine(model_folder, max_total_tokens=512) as engine:
        for hint in ("outlines", "llguidance"):
            answer = engine.generate("2024", regex="[a-z]{3}-[0-9]", seed=1, backend_hint=hint)
            assert re.fullmatch("[a-z]{3}-[0-9]", answer.text)
        with pytest.raises(ConstraintError, match="choices"):
            engine.generate("a", choices=["a", "b"], backend_hint="llguidance")
