"""The codec of the waist: everything comes back as it was, through JSON and msgpack, and nothing wrong gets through."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify.backend import wire
from ramify.backend.api import (
    Capabilities,
    ChatTemplate,
    ChoiceScore,
    Chunk,
    Finish,
    Hints,
    Markup,
    Request,
    ScoreRequest,
    Text,
    TokenLogprob,
    Tokens,
    Usage,
)
from ramify.lang import errors
from ramify.lang.constraints import Choices, Grammar, JsonSchema, Regex
from ramify.lang.errors import BackendError, DeadEndError, GenError, ParameterError, RamifyError
from ramify.lang.sampling import Sampling

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
IDS = st.lists(st.integers(0, 2**31), max_size=4).map(tuple)
PIECES = st.one_of(TEXTS.map(Text), TEXTS.map(Markup), st.builds(Tokens, IDS, TEXTS))
FLOATS = st.floats(-100, 0)
SAMPLINGS = st.builds(
    Sampling,
    max_tokens=st.integers(5, 100),
    temperature=st.floats(0, 2),
    seed=st.none() | st.integers(-(2**63), 2**64 - 1),
    stop=st.lists(TEXTS.filter(bool), max_size=2).map(tuple),
    logit_bias=st.dictionaries(st.integers(0, 9), FLOATS).map(lambda bias: tuple(sorted(bias.items()))),
    n=st.integers(1, 3),
    logprobs=st.none() | st.integers(0, 3),
)
CONSTRAINTS = st.one_of(
    st.none(),
    st.just(Regex("[a-z]+")),
    st.just(JsonSchema('{"type": "integer"}')),
    st.just(Grammar('s: "a"', "s")),
    st.just(Choices(("a", "é"))),
)
HINTS = st.builds(
    Hints,
    program=st.none() | TEXTS,
    keep_prefix=st.booleans(),
    priority=st.integers(-3, 3),
    timeout=st.none() | st.floats(0, 10),
)
REQUESTS = st.builds(
    Request,
    prompt=st.lists(PIECES, max_size=4).map(tuple),
    sampling=SAMPLINGS,
    constraint=CONSTRAINTS,
    stream=st.booleans(),
    id=TEXTS,
    hints=HINTS,
)
LOGPROBS = st.builds(
    TokenLogprob,
    st.integers(0, 99),
    st.none() | FLOATS,
    TEXTS,
    st.lists(st.tuples(st.integers(0, 9), FLOATS), max_size=2).map(tuple),
)
FINISHES = st.builds(
    Finish, st.sampled_from(["stop", "length"]), st.none() | TEXTS | st.integers(0, 9), st.integers(0, 9), TEXTS
)
CHUNKS = st.builds(
    Chunk,
    index=st.integers(0, 3),
    text=TEXTS,
    token_ids=IDS,
    logprobs=st.lists(LOGPROBS, max_size=2).map(tuple),
    prompt_logprobs=st.lists(LOGPROBS, max_size=2).map(tuple),
    finish=st.none()
    | st.builds(
        Finish, st.sampled_from(["stop", "length"]), st.none() | TEXTS | st.integers(0, 9), st.integers(0, 9), TEXTS
    ),
    usage=st.none() | st.builds(Usage, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)),
)


def through_json(plain: Any) -> Any:
    return json.loads(json.dumps(plain))


def through_msgpack(plain: Any) -> Any:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(plain))


@given(REQUESTS)
def test_requests_come_back(request: Request) -> None:
    assert wire.decode_request(through_json(wire.encode_request(request))) == request
    assert wire.decode_request(through_msgpack(wire.encode_request(request))) == request


@given(CHUNKS)
def test_chunks_come_back(chunk: Chunk) -> None:
    assert wire.decode_chunk(through_json(wire.encode_chunk(chunk))) == chunk
    assert wire.decode_chunk(through_msgpack(wire.encode_chunk(chunk))) == chunk


def test_score_requests_and_scores_come_back() -> None:
    request = ScoreRequest(prompt=(Text("a"),), choices=("x", "y"), unconditional=True, hints=Hints(group="g"))
    assert wire.decode_score_request(through_json(wire.encode_score_request(request))) == request
    for score in (ChoiceScore("x", (1, 2), (-1.0, -0.5), (-2.0, -3.0), Usage(1, 2, 3)), ChoiceScore("x", (), ())):
        assert wire.decode_score(through_json(wire.encode_score(score))) == score


@pytest.mark.parametrize("template", [None, ChatTemplate(source="{{ x }}", special_tokens=(("bos_token", "<s>"),))])
def test_capabilities_come_back(template: ChatTemplate | None) -> None:
    capabilities = Capabilities(
        model="m", chat_template=template, constraints=frozenset({"regex"}), logprobs=True, context_len=9
    )
    assert wire.decode_capabilities(through_json(wire.encode_capabilities(capabilities))) == capabilities


def every_error() -> list[RamifyError]:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, RamifyError)]
    return [kind("what happened") for kind in kinds]


@pytest.mark.parametrize("error", every_error(), ids=lambda error: type(error).__name__)
def test_errors_come_back(error: RamifyError) -> None:
    back = wire.decode_error(through_json(wire.encode_error(error)))
    assert type(back) is type(error)
    assert str(back) == "what happened"


def test_errors_carry_their_facts() -> None:
    dead_end = wire.decode_error(through_json(wire.encode_error(DeadEndError("no token", partial="12"))))
    assert isinstance(dead_end, DeadEndError) and dead_end.partial == "12"
    failed = wire.decode_error(
        through_json(wire.encode_error(GenError("no", node="x", location="f.py:3", partial="1")))
    )
    assert isinstance(failed, GenError) and (failed.node, failed.location, failed.partial) == ("x", "f.py:3", "1")


@pytest.mark.parametrize("plain", [None, 3, {}, {"type": "DeadEndError"}, {"type": "annotations", "message": "m"}])
def test_an_unreadable_error_is_still_an_error(plain: object) -> None:
    assert type(wire.decode_error(plain)) is BackendError


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        (None, "must be an object"),
        ({}, "prompt must be text or a list"),
        ({"prompt": [{"markup": 1}]}, r"prompt\[0\]"),
        ({"prompt": ["a", {"ids": [True]}]}, r"prompt\[1\]"),
        ({"prompt": [{"ids": [1], "text": "", "x": 1}]}, r"prompt\[0\]"),
        ({"prompt": "a", "smapling": {}}, "did you mean 'sampling'"),
        ({"prompt": "a", "sampling": []}, "sampling must be an object"),
        ({"prompt": "a", "sampling": {"temprature": 1}}, "did you mean 'temperature'"),
        ({"prompt": "a", "constraint": {}}, "one of regex"),
        ({"prompt": "a", "constraint": {"regex": "a", "choices": ["b"]}}, "one of regex"),
        ({"prompt": "a", "constraint": {"regex": 3}}, "constraint.regex"),
        ({"prompt": "a", "constraint": {"regex": "a", "strict": 1}}, "constraint"),
        ({"prompt": "a", "constraint": {"choices": []}}, "choices"),
        ({"prompt": "a", "hints": {"priority": True}}, "hints.priority"),
        ({"prompt": "a", "hints": {"timeout": "1"}}, "hints.timeout"),
        ({"prompt": "a", "id": 3}, "id must be of type str"),
        ({"prompt": "a", "stream": "yes"}, "stream must be of type bool"),
    ],
)
def test_wrong_requests_are_refused(plain: object, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        wire.decode_request(plain)


@pytest.mark.parametrize("plain", [None, {"finish": {"x": 1}}, {"logprobs": [1]}, {"usage": 3}])
def test_wrong_chunks_are_refused(plain: object) -> None:
    with pytest.raises(BackendError, match="cannot be read"):
        wire.decode_chunk(plain)


def test_every_field_of_a_request_and_its_hints_is_carried() -> None:
    assert {item.name for item in fields(Hints)} == set(wire._HINT_TYPES)
    assert {item.name for item in fields(Request)} == {"prompt", "sampling", "constraint", "stream", "id", "hints"}
