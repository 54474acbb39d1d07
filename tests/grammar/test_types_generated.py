"""Whatever a mask lets through is a value of its type: made-up types, random tokens, an engine of random weights."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import ipaddress
import json
import math
import random
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, Optional, Union

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import UUID4, AwareDatetime, BaseModel, ConfigDict, Field, HttpUrl, NaiveDatetime, RootModel, create_model
from typing_extensions import TypedDict

import ramify
from ramify.lang.constraints import JsonSchema
from ramify.lang.errors import TruncationError
from ramify.lang.types import TypeSpec, type_spec


class Colour(enum.Enum):
    RED = "red"
    SEVEN = 7


class Point(NamedTuple):
    x: float
    y: int = 0


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = Field(9, ge=0, le=9)


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    good: bool


class Order(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    pet: Annotated[Union[Cat, Dog], Field(discriminator="kind")]  # noqa: UP007
    day: datetime.date = Field(alias="orderDay")
    code: str = Field(pattern=r"^[A-Z]{2}\d$")
    price: decimal.Decimal = Field(gt=0, max_digits=6, decimal_places=2)


class Tree(BaseModel):
    value: Annotated[int, Field(multiple_of=5)]
    kids: list[Tree] = Field([], max_length=2)


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")
    sure: bool


class Numbers(RootModel[list[float]]):
    pass


class Person(TypedDict):
    name: Annotated[str, Field(max_length=4)]
    born: NotRequired[datetime.datetime]


FIXED: list[Any] = [
    *(int, float, bool, decimal.Decimal, datetime.date, datetime.datetime, datetime.time, datetime.timedelta),
    *(uuid.UUID, UUID4, AwareDatetime, NaiveDatetime, ipaddress.IPv4Address, ipaddress.IPv6Address, HttpUrl),
    *(Colour, Literal["a", 1, None, True], Point, Order, Tree, Loose, Numbers, Person, Any, object, list, dict),
    *(float | None, float | str, Cat | Dog | None, Order | Point, list[Colour], Mapping[str, bool], Sequence[int]),
    *(dict[int, bool], dict[datetime.date, int], dict[Literal["a.b", "c"], int], collections.deque[float]),
    *(list[decimal.Decimal], tuple[Colour, float], tuple[bool, ...], list[Literal["é", 2, None]], type(None)),
    *(
        Annotated[str, Field(max_length=5)],
        Annotated[str, Field(pattern="^(?:a|b)+$")],
        Annotated[int, Field(gt=3, lt=20)],
    ),
    *(
        Annotated[float, Field(ge=-0.5, le=0.5)],
        Annotated[decimal.Decimal, Field(ge=1, max_digits=4, decimal_places=1)],
    ),
    *(Annotated[dict[str, int], Field(min_length=1)], Annotated[list[int], Field(min_length=2, max_length=3)]),
]

_NAMED = [int, float, bool, None, decimal.Decimal, datetime.date, datetime.timedelta, uuid.UUID, Colour]
_SCALARS = st.one_of(
    st.sampled_from([*_NAMED, Literal["x", 1, None]]),
    st.builds(lambda size: Annotated[str, Field(max_length=size)], st.integers(0, 4)),
)


def _grown(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    fields = st.dictionaries(st.sampled_from(["a", "b_2", "né", "type"]), inner, min_size=1, max_size=3)
    return st.one_of(
        st.builds(lambda item, size: Annotated[list[item], Field(max_length=size)], inner, st.integers(0, 2)),
        st.builds(lambda item: dict[str, item], inner),
        st.builds(lambda first, second: tuple[first, second], inner, inner),
        st.builds(lambda one, other: Union[one, other], inner, inner),  # noqa: UP007
        st.builds(lambda item: Optional[item], inner),  # noqa: UP045
        st.builds(lambda parts: make_dataclass("Data", list(parts.items())), fields),
        st.builds(lambda parts: create_model("Model", **{key: (part, ...) for key, part in parts.items()}), fields),
        st.builds(lambda parts: create_model("Free", **{key: (part, None) for key, part in parts.items()}), fields),
        st.builds(lambda parts: TypedDict("Record", parts, total=len(parts) > 1), fields),
    )


def check(spec: TypeSpec, text: str) -> None:
    """The text is a value of the type, of finite numbers, that fits its own schema and is the same piece by piece."""
    value = spec(text)
    if not isinstance(spec.constraint, JsonSchema):
        return
    document = json.loads(text, parse_constant=pytest.fail)
    assert all(math.isfinite(number) for number in _numbers(document))
    Validator(json.loads(spec.constraint.schema)).validate(document)
    reader = spec.partial()
    for position in range(0, len(text), 3):
        if reader.feed(text[position : position + 3]):
            reader.value()
    if text[0] in "[{":
        assert repr(reader.value()) == repr(value)


# Multiples of 0.01 are pydantic's to check, which reads decimals; in binary fractions 1233.1 is none.
Validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"multipleOf": lambda *parts: None})


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _numbers(item)
    elif isinstance(value, int | float):
        yield value


def plugin(spec: TypeSpec) -> str:
    return "llguidance" if isinstance(spec.constraint, JsonSchema) else "outlines"


@pytest.mark.parametrize("annotation", FIXED, ids=lambda annotation: str(annotation)[:60])
def test_what_the_mask_lets_through_is_of_the_type(annotation: Any, compilers: Any, tools: Any) -> None:
    spec = type_spec(annotation)
    grammar = compilers[plugin(spec)].compile(spec.constraint, timeout=5)
    texts = [tools.generate(grammar.matcher(), random.Random(seed), max_tokens=80) for seed in range(10)]
    finished = [text for text in texts if text is not None]
    assert len(finished) >= 2
    for text in finished:
        check(spec, text)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.recursive(_SCALARS, _grown, max_leaves=5), st.integers(0, 10**6))
def test_made_up_types_hold_what_they_generate(compilers: Any, tools: Any, annotation: Any, seed: int) -> None:
    spec = type_spec(type(None) if annotation is None else annotation)
    grammar = compilers[plugin(spec)].compile(spec.constraint, timeout=5)
    for offset in range(3):
        text = tools.generate(grammar.matcher(), random.Random(seed + offset), max_tokens=60)
        if text is not None:
            check(spec, text)


@dataclass
class Visit:
    who: Person
    when: datetime.date
    mood: Colour
    costs: Annotated[list[decimal.Decimal], Field(max_length=3)]


TYPES = [int, float, datetime.datetime, Colour, Visit, Order, Tree, dict[Literal["a", "b"], bool], Point | None]


@pytest.fixture(scope="module")
def engine(model_folder: Path) -> Iterator[ramify.Engine]:
    with ramify.Engine(model_folder, num_threads=1) as made:
        yield made


async def test_every_answer_of_a_random_model_is_of_its_type(engine: ramify.Engine) -> None:
    @ramify.function
    async def answer(s: ramify.AsyncState, kind: int, seed: int) -> Any:
        s += "The answer is " + ramify.gen("value", type=TYPES[kind], temperature=1.0, seed=seed, max_tokens=200)
        return [value async for value in s.value_iter("value")]

    rows = [{"kind": kind, "seed": seed} for seed in range(24) for kind in range(len(TYPES))]
    answers = await answer.arun_batch(rows, backend=engine, concurrency=48)
    num_read = 0
    for row, found in zip(rows, answers, strict=True):
        match found:
            case ramify.Ok(result):
                spec = type_spec(TYPES[row["kind"]])
                check(spec, result.text_of("value"))
                assert repr(result.value[-1]) == repr(result["value"]) == repr(spec(result.text_of("value")))
                num_read += 1
            case ramify.Failed(error):  # a text that does not end in time, never one of another type
                assert isinstance(error.__cause__, TruncationError), error
    assert num_read >= 0.9 * len(rows)
