"""Constraints inside the engine's batches: every output holds its constraint and nobody else in the batch notices."""

from __future__ import annotations

import asyncio
import datetime
import enum
import json
import math
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jsonschema
import pytest
from pydantic import BaseModel, Field

import ramify
from ramify.backend.engine.generation import Generation
from ramify.lang.constraints import Choices, Constraint, JsonSchema, Regex
from ramify.lang.errors import ConstraintError, DeadEndError, GenError, TruncationError
from ramify.lang.types import type_spec


class Mood(enum.Enum):
    CALM = "calm"
    LOUD = "loud!"


class Tag(BaseModel):
    word: str = Field(max_length=6)
    ok: bool


class Record(BaseModel):
    age: int = Field(ge=0, le=120)
    mood: Mood
    day: datetime.date
    tags: list[Tag] = Field(max_length=2)


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "score": {"type": "integer", "minimum": -5, "maximum": 500},
        "list": {"type": "array", "items": {"enum": ["é", "low", None]}, "minItems": 1, "maxItems": 3},
    },
    "required": ["name", "list"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Kind:
    """A constraint, and what shows that a text holds it (raises if not)."""

    constraint: Constraint | None
    check: Callable[[str], object]


def typed(annotation: Any) -> Kind:
    spec = type_spec(annotation)
    return Kind(spec.constraint, spec)


def matching(pattern: str) -> Kind:
    def check(text: str) -> None:
        assert re.fullmatch(pattern, text), text

    return Kind(Regex(pattern), check)


def one_of(*choices: str) -> Kind:
    return Kind(Choices(choices), choices.index)


KINDS: dict[str, Kind] = {
    "free": Kind(None, str),
    "int": typed(int),
    "float": typed(float),
    "bool": typed(bool),
    "literal": typed(Literal["low", "normal", "high"]),
    "enum": typed(Mood),
    "record": typed(Record),
    "schema": Kind(JsonSchema(json.dumps(SCHEMA)), lambda text: jsonschema.validate(json.loads(text), SCHEMA)),
    "choices": one_of("red", "red dark", "reddish", "漢字", "漢"),
    "date": matching(r"20\d\d-(0[1-9]|1[0-2])-[0-3][0-9]"),
    "unicode": matching(r"(漢|字|é){1,4}[^a-z\W]?"),
    "large": matching(r"\w{1,400}"),
}
PROMPTS = ["", "The age of Zoë is ", '{"name": "', "low normal high 漢", "2024-05-17 " * 6]


@dataclass(frozen=True)
class Case:
    name: str
    prompt: str
    temperature: float
    seed: int

    @property
    def kind(self) -> Kind:
        return KINDS[self.name]


def cases(temperature: float, num: int) -> list[Case]:
    """Every kind in turn, over every prompt."""
    names = list(KINDS)
    return [Case(names[i % len(names)], f"{i} " + PROMPTS[i % len(PROMPTS)], temperature, seed=i) for i in range(num)]


async def ask(engine: ramify.Engine, case: Case) -> Generation | Exception:
    try:
        return await engine.agenerate(
            case.prompt,
            constraint=case.kind.constraint,
            temperature=case.temperature,
            seed=case.seed,
            max_tokens=60 if case.name == "free" else 160,
        )
    except ramify.RamifyError as error:
        return error


def ask_all(engine: ramify.Engine, wanted: list[Case]) -> list[Any]:
    async def main() -> list[Any]:
        return await asyncio.gather(*(ask(engine, case) for case in wanted))

    return asyncio.run(main())


@pytest.fixture(scope="module")
def engine(model_folder: Path) -> Iterator[ramify.Engine]:
    with ramify.Engine(model_folder, max_total_tokens=4096, max_running=16, chunked_prefill_size=32) as engine:
        yield engine


@pytest.fixture(scope="module", params=[0.0, 1.0], ids=["greedy", "sampled"])
def alone(request: pytest.FixtureRequest, engine: ramify.Engine) -> tuple[list[Case], list[Generation]]:
    """Every case by itself, and what it gave."""
    wanted = cases(request.param, 48)
    return wanted, [asyncio.run(ask(engine, case)) for case in wanted]  # type: ignore[misc]


def test_every_finished_output_holds_its_constraint(alone: tuple[list[Case], list[Generation]]) -> None:
    num_finished = 0
    for case, answer in zip(*alone, strict=True):
        assert isinstance(answer, Generation), answer
        if answer.finish_reason == "stop":
            case.kind.check(answer.text)
            num_finished += 1
    assert num_finished >= 30


def test_a_batch_of_all_kinds_gives_each_what_it_gets_alone(
    alone: tuple[list[Case], list[Generation]], engine: ramify.Engine
) -> None:
    wanted, expected = alone
    engine.flush_cache()
    answers = ask_all(engine, wanted)
    for case, answer, other in zip(wanted, answers, expected, strict=True):
        assert (answer.text, answer.token_ids, answer.finish) == (other.text, other.token_ids, other.finish), case


def test_retraction_changes_nothing(alone: tuple[list[Case], list[Generation]], model_folder: Path) -> None:
    wanted, expected = alone
    with (
        ramify.Engine(model_folder, max_total_tokens=288, max_running=16, chunked_prefill_size=16) as tight,
        ThreadPoolExecutor(1) as pool,
    ):
        fillers = [f"low {number}" for number in range(12)]
        others = pool.submit(tight.generate, fillers, max_tokens=120, temperature=0, ignore_eos=True)
        answers = ask_all(tight, wanted)
        others.result(60)
        assert tight.stats().retractions > 0
    for case, answer, other in zip(wanted, answers, expected, strict=True):
        assert (answer.text, answer.token_ids, answer.finish) == (other.text, other.token_ids, other.finish), case


def test_sampling_parameters_act_inside_the_constraint(engine: ramify.Engine) -> None:
    pattern = KINDS["date"]
    parameters: list[dict[str, Any]] = [
        {"repetition_penalty": 1.8, "frequency_penalty": 1.5, "presence_penalty": -1.5},
        {"top_k": 1},
        {"top_p": 0.05, "min_p": 0.5},
        {"logit_bias": dict.fromkeys(range(100, 130), 50.0)},
        {"min_tokens": 50},
        {"ignore_eos": True},
        {"logprobs": 5},
        {"n": 4, "temperature": 2.0},
    ]
    for sampling in parameters:
        found = engine.generate("2024", constraint=pattern.constraint, max_tokens=60, seed=1, **sampling)
        for answer in found if isinstance(found, list) else [found]:
            assert answer.finish_reason == "stop"
            pattern.check(answer.text)


def test_end_of_sequence_ends_an_open_ended_constraint(engine: ramify.Engine) -> None:
    eos_ids = engine.tokenizer.vocabulary.eos_ids
    bias = dict.fromkeys(eos_ids, 100.0)
    for ignore_eos in (False, True):
        answer = engine.generate("a", constraint=Regex("[ab]*"), logit_bias=bias, ignore_eos=ignore_eos, max_tokens=20)
        assert (answer.text, answer.finish_reason) == ("", "stop")
    answer = engine.generate("a", constraint=Regex("[ab]{3}.*"), logit_bias=bias, max_tokens=20)
    assert re.fullmatch("[ab]{3}.*", answer.text) and answer.matched_stop in eos_ids
    spelled = [engine.tokenizer.vocabulary.token_bytes[token] for token in answer.token_ids[:-1]]
    assert len(b"".join(spelled[:-1])) < 3  # it ended with the token that made it complete


def test_bad_constraints_fail_before_anything_is_scheduled(engine: ramify.Engine) -> None:
    before = engine.stats().prompt_tokens
    with pytest.raises(ConstraintError, match="position 1"):
        engine.generate("a", constraint=Regex("a("))
    with pytest.raises(ConstraintError, match="uniqueItems"):
        engine.generate("a", constraint=JsonSchema('{"type": "array", "uniqueItems": true}'))
    assert engine.stats().prompt_tokens == before


def test_a_dead_end_fails_its_own_request_only(engine: ramify.Engine) -> None:
    vocabulary = engine.tokenizer.vocabulary
    no_digits = {t: -math.inf for t, text in enumerate(vocabulary.token_bytes) if any(48 <= byte < 58 for byte in text)}
    wanted = cases(1.0, 12)

    async def main() -> list[Any]:
        blocked = engine.agenerate(
            "a", constraint=Regex("(low )?[0-9]+"), logit_bias=no_digits, max_tokens=30, temperature=0.0
        )
        return await asyncio.gather(blocked, *(ask(engine, case) for case in wanted), return_exceptions=True)

    failed, *answers = asyncio.run(main())
    assert isinstance(failed, DeadEndError)
    for case, answer in zip(wanted, answers, strict=True):
        assert answer.token_ids == asyncio.run(ask(engine, case)).token_ids  # type: ignore[union-attr]
    stats = engine.stats()
    assert (stats.running, stats.waiting) == (0, 0)


def test_programs_read_typed_values(engine: ramify.Engine) -> None:
    @ramify.function
    def program(s: Any) -> None:
        s += "Zoë is " + ramify.gen("age", type=int) + " and " + ramify.gen("mood", type=Mood)
        s += ". " + ramify.gen("ok", type=bool) + ramify.gen("level", type=Literal["low", "high"])
        s += ramify.gen("record", type=Record, max_tokens=300) + ramify.gen("tag", regex="[a-z]{2}")

    for seed in range(4):
        result = program.with_sampling(seed=seed, temperature=1.0).run(backend=engine)
        assert [type(result[name]) for name in ("age", "mood", "ok", "level", "record", "tag")] == [
            int,
            Mood,
            bool,
            str,
            Record,
            str,
        ]


def test_a_value_cut_by_max_tokens_is_a_typed_error_with_the_partial_text(engine: ramify.Engine) -> None:
    @ramify.function
    def program(s: Any) -> None:
        s += "Zoë: " + ramify.gen("record", type=Record, max_tokens=4)

    with pytest.raises(GenError) as raised:
        program.run(backend=engine)
    assert isinstance(raised.value.__cause__, TruncationError)
    assert raised.value.node == "record" and raised.value.partial.startswith("{")


def test_an_engine_may_name_its_grammar_plugin(model_folder: Path) -> None:
    with ramify.Engine(model_folder, max_total_tokens=512, grammar="llguidance") as engine:
        assert engine.capabilities.constraints == {"regex", "json_schema"}
        answer = engine.generate("2024", constraint=KINDS["date"].constraint, temperature=1.0, seed=3)
        KINDS["date"].check(answer.text)
        with pytest.raises(ConstraintError, match="'choices'"):
            engine.generate("a", constraint=Choices(("a", "b")))


def test_plugins_give_the_same_samples(model_folder: Path) -> None:
    texts = []
    for plugin in ("outlines", "llguidance"):
        with ramify.Engine(model_folder, max_total_tokens=512, grammar=plugin) as engine:
            regexes = [kind.constraint for kind in KINDS.values() if isinstance(kind.constraint, Regex)]
            regexes.remove(KINDS["large"].constraint)  # type: ignore[arg-type]
            texts.append(
                [engine.generate("a", constraint=c, temperature=1.0, seed=s).text for c in regexes for s in (1, 2)]
            )
    assert texts[0] == texts[1]
