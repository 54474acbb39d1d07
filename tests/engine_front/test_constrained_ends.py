"""How a constrained text may end: never in the middle of its value, whatever stops and limits say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import ramify
from ramify.lang.errors import DeadEndError, TruncationError

SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "string", "maxLength": 5}, "b": {"type": "integer", "minimum": 100, "maximum": 999}},
    "required": ["a", "b"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def engine(model_folder: Path) -> Iterator[ramify.Engine]:
    with ramify.Engine(model_folder, max_total_tokens=2048) as engine:
        yield engine


def ids_with(engine: ramify.Engine, character: str) -> list[int]:
    return [i for i, text in enumerate(engine.tokenizer.vocabulary.token_bytes) if character.encode() in text]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("stops", [{"stop": [",", '"', "1"]}, {"stop_regex": ["[,0-9]"]}], ids=["stop", "stop_regex"])
def test_a_stop_inside_a_value_is_let_pass(engine: ramify.Engine, seed: int, stops: Any) -> None:
    answer = engine.generate("x", json_schema=SCHEMA, max_tokens=200, seed=seed, **stops)
    assert answer.finish_reason == "stop"
    jsonschema.validate(json.loads(answer.text), SCHEMA)


@pytest.mark.parametrize("seed", range(6))
def test_a_stop_token_inside_a_value_is_let_pass(engine: ramify.Engine, seed: int) -> None:
    everything = [i for i in range(engine.tokenizer.vocabulary.size) if i not in engine.tokenizer.vocabulary.eos_ids]
    stops = sorted({*ids_with(engine, '"'), *everything[:20]})[:32]
    answer = engine.generate("x", json_schema=SCHEMA, max_tokens=200, seed=seed, stop_token_ids=stops)
    jsonschema.validate(json.loads(answer.text), SCHEMA)


@pytest.mark.parametrize("jump", [True, False])
def test_a_stop_where_the_text_before_it_is_whole_ends_it(model_folder: Path, jump: bool) -> None:
    with ramify.Engine(model_folder, max_total_tokens=512, jump_forward=jump) as engine:
        no_end = dict.fromkeys(engine.tokenizer.vocabulary.eos_ids, float("-inf"))
        answers = [
            engine.generate("x", regex="[a-z]{2}[a-z,;]*", max_tokens=60, seed=seed, stop=[",", ";"], logit_bias=no_end)
            for seed in range(20)
        ]
    stopped = [answer for answer in answers if answer.matched_stop in (",", ";")]
    assert len(stopped) > 5
    for answer in stopped:
        assert re.fullmatch("[a-z]{2}[a-z]*", answer.text)


def test_a_stop_after_too_little_text_does_not_end_it(engine: ramify.Engine) -> None:
    """In "abc," the value before the comma is whole; in "ab," it is not, and the comma stays text."""
    bias = dict.fromkeys(ids_with(engine, ","), 20.0)
    for seed in range(10):
        answer = engine.generate(
            "x", regex="[ab,]{3}[ab,]*", max_tokens=30, seed=seed, stop=",", logit_bias=bias, temperature=1.0
        )
        assert len(answer.text) >= 3 and answer.matched_stop == ","


def test_a_value_cut_by_its_limit_says_so(engine: ramify.Engine) -> None:
    cut = engine.generate("x", json_schema=SCHEMA, max_tokens=3)
    assert (cut.finish_reason, cut.is_partial) == ("length", True)
    with pytest.raises(TruncationError, match="more tokens") as raised:
        cut.raise_for_truncation()
    assert raised.value.partial == cut.text
    whole = engine.generate("x", regex="[0-9]{0,9}x?", max_tokens=2)
    free = engine.generate("x", max_tokens=3)
    for answer in (whole, free):
        assert not answer.is_partial and answer.raise_for_truncation() is answer


@pytest.mark.parametrize("jump", [True, False])
def test_min_tokens_holds_the_end_back(model_folder: Path, jump: bool) -> None:
    with ramify.Engine(model_folder, max_total_tokens=512, jump_forward=jump) as engine:
        eos = dict.fromkeys(engine.tokenizer.vocabulary.eos_ids, 50.0)
        short = engine.generate("x", regex="ab[a-z]*", logit_bias=eos, max_tokens=40)
        long = engine.generate("x", regex="ab[a-z]*", logit_bias=eos, max_tokens=40, min_tokens=12)
    assert short.text == "ab" and len(long.token_ids) == 13 and re.fullmatch("ab[a-z]*", long.text)


@pytest.mark.parametrize("jump", [True, False])
def test_a_bias_that_forbids_what_is_forced_is_a_dead_end(model_folder: Path, jump: bool) -> None:
    with ramify.Engine(model_folder, max_total_tokens=512, jump_forward=jump) as engine:
        forbidden = dict.fromkeys(ids_with(engine, "z"), float("-inf"))
        with pytest.raises(DeadEndError) as raised:
            engine.generate("x", regex="[a-c]{3}z+", logit_bias=forbidden, max_tokens=20)
    assert re.fullmatch("[a-c]{3}", raised.value.partial)
