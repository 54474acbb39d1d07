"""Token healing: the border between prompt and answer may lie inside a token, and where it does not nothing changes."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ramify
from ramify.backend.api import Markup, Request, Text
from ramify.backend.engine.generation import Generation
from ramify.lang.errors import ParameterError

SAMPLINGS: list[dict[str, Any]] = [
    {"temperature": 0},
    {"seed": 3},
    {"seed": 4, "n": 3, "logprobs": 1},
    {"seed": 5, "repetition_penalty": 1.4, "frequency_penalty": 0.5, "min_tokens": 4},
    {"seed": 6, "stop": ["e", "Q"], "top_p": 0.9},
    {"seed": 7, "regex": "[a-z ]{2,9}[0-9]"},
    {"temperature": 0, "choices": ["fox", "fox dog", "lazy"]},
    {
        "seed": 8,
        "regex": "(The quick brown fox|the lazy dog). [0-9]",
    },  # forced text right after the prompt's last token
]


@pytest.fixture(scope="module")
def engine(model_folder: Path) -> Iterator[ramify.Engine]:
    with ramify.Engine(model_folder, max_total_tokens=1024, chunked_prefill_size=16) as engine:
        yield engine


def spelled(engine: ramify.Engine, token: int) -> bytes:
    return engine.tokenizer.vocabulary.token_bytes[token]


def last_token(engine: ramify.Engine, prompt: str) -> int:
    return engine.tokenizer.encode_prompt((Text(prompt),))[-1]


def longer(engine: ramify.Engine, token: int) -> list[int]:
    """Tokens that begin with the text of `token` and go on."""
    prefix, vocabulary = spelled(engine, token), engine.tokenizer.vocabulary
    found = [i for i, text in enumerate(vocabulary.token_bytes) if text.startswith(prefix) and text != prefix]
    return [i for i in found if i not in vocabulary.special_ids]


def samples(answer: Any) -> list[Generation]:
    return answer if isinstance(answer, list) else [answer]


CLEAN = ["How many roads?", "the dog.", "is 42", "naïve café Straße 😀", "a man? Paris;"]


@pytest.mark.parametrize("prompt", CLEAN)
@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_where_the_border_is_clean_nothing_changes(engine: ramify.Engine, prompt: str, sampling: Any) -> None:
    """No token goes on from the prompt's last one, so healing can only put it back."""
    assert longer(engine, last_token(engine, prompt)) == []
    plain, healed = (engine.generate(prompt, max_tokens=20, heal=heal, **sampling) for heal in (False, True))
    for one, other in zip(samples(plain), samples(healed), strict=True):
        assert (one.text, one.token_ids, one.finish) == (other.text, other.token_ids, other.finish)
        assert [entry.logprob for entry in one.logprobs] == pytest.approx([entry.logprob for entry in other.logprobs])
        assert (one.usage.prompt_tokens, one.usage.completion_tokens) == (
            other.usage.prompt_tokens,
            other.usage.completion_tokens,
        )


@pytest.mark.parametrize("prompt", ["The quick brown f", "Par", "How man", "over the laz"])
def test_the_answer_goes_on_inside_the_token(engine: ramify.Engine, prompt: str) -> None:
    token = last_token(engine, prompt)
    candidates = longer(engine, token)
    assert candidates
    for wanted in candidates[:3]:
        answer = engine.generate(prompt, heal=True, temperature=0, max_tokens=1, logit_bias={wanted: 1000.0})
        assert answer.token_ids == (wanted,)
        rest = spelled(engine, wanted)[len(spelled(engine, token)) :]
        assert answer.text == rest.decode(errors="replace")  # some end inside a character
        assert answer.finish.num_kept == 0


def test_the_engine_s_default_and_the_request_s_own_word(model_folder: Path) -> None:
    with ramify.Engine(model_folder, max_total_tokens=512, heal=True) as engine:
        wanted = longer(engine, last_token(engine, "Par"))[0]
        bias = {wanted: 1000.0}
        healed, plain = (
            engine.generate("Par", temperature=0, max_tokens=1, logit_bias=bias, heal=heal) for heal in (None, False)
        )
        assert spelled(engine, wanted) == b"Par" + healed.text.encode() or healed.text != plain.text
        assert plain.text.encode() == spelled(engine, wanted)
        assert engine.generate("Par", max_tokens=2, prompt_logprobs=0).prompt_logprobs  # the default gives way


def test_only_text_is_healed_and_something_must_stay(engine: ramify.Engine) -> None:
    wanted = longer(engine, last_token(engine, "Par"))[0]
    parameters = dict(temperature=0, max_tokens=1, logit_bias={wanted: 1000.0})
    for prompt in ((Text("a "), Markup("Par")), [last_token(engine, "Par")], (Text("Par"), Markup("<|end|>"))):
        answers = [engine.generate(prompt, heal=heal, **parameters) for heal in (True, False)]
        assert answers[0].text == answers[1].text == spelled(engine, wanted).decode()
    with pytest.raises(ParameterError, match="prompt_logprobs"):
        engine.generate("Par", heal=True, prompt_logprobs=0)


@pytest.mark.parametrize("prompt", ["Answer: ", "The qu", 'say "', "x = 4", "東", "a.\n"])
@pytest.mark.parametrize(
    "constraint",
    [
        {"regex": r"[a-z]{3,8}(, [a-z]+)?"},
        {"choices": ["man", "many roads", "42 is", " the"]},
        {"json_schema": {"type": "array", "items": {"enum": [42, "man", None]}, "minItems": 1, "maxItems": 3}},
        {"regex": "(naïve|東京|😀)+"},
    ],
    ids=str,
)
def test_a_healed_answer_holds_its_constraint(engine: ramify.Engine, prompt: str, constraint: Any) -> None:
    for seed in range(6):
        answer = engine.generate(prompt, heal=True, seed=seed, temperature=1.5, max_tokens=120, **constraint)
        assert answer.finish_reason == "stop", answer
        match constraint:
            case {"regex": pattern}:
                assert re.fullmatch(pattern, answer.text)
            case {"choices": choices}:
                assert answer.text in choices
            case _:
                json.loads(answer.text)


def test_a_token_may_span_the_border_into_the_constraint(engine: ramify.Engine) -> None:
    """Prompt "call hi", answer "m up": the model may write " him" as one token."""
    token = last_token(engine, "call hi")
    bridge = next(i for i in longer(engine, token) if spelled(engine, i) == spelled(engine, token) + b"m")
    choices, bias = ["m up", "de", "m"], {bridge: 1000.0}
    answer = engine.generate("call hi", heal=True, choices=choices, temperature=0, logit_bias=bias)
    assert answer.token_ids[0] == bridge and answer.text in ("m up", "m")
    for forbidding in (["de"], ["x up"]):
        answer = engine.generate("call hi", heal=True, choices=forbidding, temperature=0, logit_bias=bias)
        assert answer.text == forbidding[0] and bridge not in answer.token_ids


@pytest.mark.parametrize("constraint", [{}, {"regex": "The quick brown fox jumps over the lazy dog[.!] [0-9a-z]*"}])
def test_any_schedule_heals_alike(model_folder: Path, constraint: Any) -> None:
    prompts = [f"{'The quick brown fox. ' * (n % 3)}{word}" for n, word in enumerate(["Par", "a man?", "laz", "4"] * 3)]
    found = []
    for parameters in (
        {},
        {"chunked_prefill_size": 3},
        {"max_total_tokens": 128},
        {"page_size": 8},
        {"jump_forward": False},
    ):
        with ramify.Engine(model_folder, **{"max_total_tokens": 1024, **parameters}) as engine:
            answers = engine.generate(prompts, heal=True, seed=1, max_tokens=40, ignore_eos=True, **constraint)
            found.append([(answer.text, answer.token_ids, answer.finish) for answer in answers])
            engine._front.thread.call(lambda scheduler: scheduler.check())
    assert found[1:] == found[:1] * 4


def test_streams_and_programs_read_the_text_after_the_prompt(engine: ramify.Engine) -> None:
    async def stream(request: Request) -> str:
        return "".join([chunk.text async for chunk in engine.generate(request)])

    sampling = ramify.Sampling(max_tokens=12, seed=2, heal=True)
    request = Request(prompt=(Text("The quick brown f"),), sampling=sampling)
    text = asyncio.run(stream(request))
    assert text == engine.generate("The quick brown f", max_tokens=12, seed=2, heal=True).text

    @ramify.function
    def program(s: Any) -> None:
        s += "The quick brown f" + ramify.gen("first", max_tokens=12, seed=2, heal=True) + " Par"
        s += ramify.gen("second", regex="[a-z]{4}", seed=2, heal=True)

    result = program.run(backend=engine)
    assert result["first"] == text
    assert result.text() == "The quick brown f" + text + " Par" + result["second"]
    follow = engine.generate("The quick brown f" + text + " Par", regex="[a-z]{4}", seed=2, heal=True)
    assert follow.text == result["second"]
