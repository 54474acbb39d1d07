"""`type=`: each type's constraint holds exactly the texts that its parser reads back."""

from __future__ import annotations

import datetime
import decimal
import enum
import ipaddress
import json
import random
import re
import subprocess
import sys
import typing
import uuid
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NewType, NotRequired, TypedDict

import pytest
from pydantic import UUID4, AwareDatetime, BaseModel, Field, NaiveDatetime

from ramify.lang.constraints import Choices, JsonSchema, Regex
from ramify.lang.errors import ConstraintError, ParseError
from ramify.lang.types import type_spec


class Colour(enum.Enum):
    RED = "red"
    DEEP_BLUE = 7


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


@dataclass
class Point:
    x: int
    y: float = 0.5


class Address(TypedDict):
    street: str
    number: NotRequired[int]


class Person(TypedDict):
    address: Address
    others: list[Address]


class Node(BaseModel):
    value: int = Field(ge=0, le=9)
    default: bool = False
    kids: list[Node] = []


@dataclass
class Tagged:
    tags: dict[str, list[int]] = field(default_factory=dict)


ROUND_TRIPS: list[tuple[Any, str, Any]] = [
    (int, "-42", -42),
    (float, "3.25", 3.25),
    (float, "-7", -7.0),
    (bool, "True", True),
    (bool, "false", False),
    (str, " any\ntext", " any\ntext"),
    (Literal["low", "high"], "high", "high"),
    (Literal["a", 1, None, True], "1", 1),
    (Literal["a", 1, None, True], "None", None),
    (Literal[Colour.RED, "x"], "red", Colour.RED),
    (Colour, "red", Colour.RED),
    (Colour, "7", Colour.DEEP_BLUE),
    (Size, "2", Size.LARGE),
    (Point, '{"x": 1, "y": 2.5}', Point(1, 2.5)),
    (Point, '{"x": 1}', Point(1)),
    (Address, '{"street": "a"}', {"street": "a"}),
    (
        Person,
        '{"address": {"street": "é", "number": 1}, "others": []}',
        {"address": {"street": "é", "number": 1}, "others": []},
    ),
    (Node, '{"value": 3, "default": true, "kids": [{"value": 1}]}', Node(value=3, default=True, kids=[Node(value=1)])),
    (list[Point], '[{"x": 1}]', [Point(1)]),
    (tuple[int, str], '[1, "a"]', (1, "a")),
    (dict[str, int], '{"a": 1}', {"a": 1}),
    (typing.Optional[int], "null", None),  # noqa: UP045
    (int | str, '"a"', "a"),
    (list[Address] | None, '[{"street": "a"}]', [{"street": "a"}]),
    (datetime.date, "2024-02-29", datetime.date(2024, 2, 29)),
    (uuid.UUID, "123e4567-e89b-12d3-a456-426614174000", uuid.UUID("123e4567-e89b-12d3-a456-426614174000")),
    (decimal.Decimal, "1.10", decimal.Decimal("1.10")),
    (Annotated[decimal.Decimal, Field(gt=0, lt=2)], "1.5", decimal.Decimal("1.5")),
    (Annotated[int, Field(ge=1)], "12", 12),
    (Tagged, '{"tags": {"a": [1]}}', Tagged({"a": [1]})),
]


@pytest.mark.parametrize(("annotation", "text", "value"), ROUND_TRIPS, ids=lambda value: repr(value)[:40])
def test_values_come_back_as_their_type_and_are_legal_under_the_mask(
    annotation: Any, text: str, value: Any, compilers: Any, tools: Any
) -> None:
    spec = type_spec(annotation)
    read = spec(text)
    assert read == value and type(read) is type(value)
    if spec.constraint is None:
        assert annotation is str
        return
    plugin = "llguidance" if isinstance(spec.constraint, JsonSchema) else "outlines"
    matcher = compilers[plugin].compile(spec.constraint, timeout=5).matcher()
    assert tools.walk(matcher, text.encode(), random.Random(0))


@pytest.mark.parametrize("annotation", [int, float, bool, Literal["a", "b"], Colour], ids=str)
def test_what_the_masks_generate_always_parses(annotation: Any, compilers: Any, tools: Any) -> None:
    spec = type_spec(annotation)
    grammar = compilers["outlines"].compile(spec.constraint, timeout=5)
    for seed in range(40):
        text = tools.generate(grammar.matcher(), random.Random(seed))
        assert text is not None
        spec(text)


@pytest.mark.parametrize("annotation", [Point, Person, list[tuple[bool, int]], Node, dict[str, bool]], ids=str)
def test_generated_json_parses_wherever_it_ends(annotation: Any, compilers: Any, tools: Any) -> None:
    spec = type_spec(annotation)
    grammar = compilers["llguidance"].compile(spec.constraint, timeout=5)
    texts = [tools.generate(grammar.matcher(), random.Random(seed), max_tokens=300) for seed in range(12)]
    finished = [text for text in texts if text is not None]
    assert len(finished) >= 3
    for text in finished:
        spec(text)


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, "4.0"),
        (int, ""),
        (int, "1_000"),
        (int, "9" * 5000),
        (float, "nan"),
        (float, "1e"),
        (bool, "yes"),
        (Literal["a", "b"], "c"),
        (Colour, "blue"),
        (Point, '{"x": "one"}'),
        (Point, '{"x": 1'),
        (Node, '{"value": 10}'),
        (list[int], "[1,]"),
    ],
    ids=str,
)
def test_text_that_is_no_value_raises_with_the_text(annotation: Any, text: str) -> None:
    with pytest.raises(ParseError, match="is not a value of type") as raised:
        type_spec(annotation)(text)
    assert raised.value.partial == text
    assert isinstance(raised.value, ValueError)


def test_the_error_says_which_field_is_wrong() -> None:
    with pytest.raises(
        ParseError,
        match=r"default: Input .*, got 7; kids\[0\]\.value: Input should be less than or equal to 9, got 12$",
    ) as raised:
        type_spec(Node)('{"value": 1, "kids": [{"value": 12}], "default": 7}')
    assert "pydantic.dev" not in str(raised.value)


class Empty(enum.Enum):
    pass


class Twice(enum.Enum):
    A = "B"
    B = (1, 2)


class Broken(BaseModel):
    model_config = {"arbitrary_types_allowed": True}
    lock: re.Scanner  # type: ignore[name-defined]


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        (bytes, "^type bytes cannot be expressed as JSON"),
        (list[complex], r"^type list\[complex\], at \[\]: complex cannot"),
        (Broken, r"^Broken\.lock: Scanner cannot be expressed as JSON$"),
        (Literal[b"x"], "member b'x'"),
        (Literal["", "a"], "empty"),
        (Literal["1", 1], "both written '1'"),
        (Empty, "type Empty has no members"),
        (Twice, "both written 'B'"),
        ("int", "takes a type, got 'int'"),
        (len, "takes a type"),
        (3, "type 3 cannot"),
        (list["Nowhere"], "cannot be expressed"),  # type: ignore[name-defined]  # noqa: F821
    ],
    ids=str,
)
def test_types_that_cannot_be_expressed_are_refused_by_name(annotation: Any, reason: str) -> None:
    with pytest.raises(ConstraintError, match=reason):
        type_spec(annotation)


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (datetime.datetime, "2024-02-29T12:30", datetime.datetime(2024, 2, 29, 12, 30)),
        (AwareDatetime, "2024-02-29T12:30:01.5Z", datetime.datetime(2024, 2, 29, 12, 30, 1, 500000, datetime.UTC)),
        (datetime.time, "23:59", datetime.time(23, 59)),
        (datetime.timedelta, "-P1DT2H", -datetime.timedelta(days=1, hours=2)),
        (decimal.Decimal, "1.10", decimal.Decimal("1.10")),
        (NewType("Name", str), " x", " x"),
        (NewType("Size", int), "12", 12),
        (Annotated[str, Field(pattern="b+")], "abbc", "abbc"),
        (Annotated[str, Field(pattern="^a|b$")], "ac", "ac"),
        (Annotated[str, Field(min_length=2)], " \n", " \n"),
        (Annotated[Literal["a", "b"], "the remark of somebody"], "b", "b"),
        (ipaddress.IPv6Address, "::1", ipaddress.IPv6Address("::1")),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_one_string_in_json_is_plain_text(annotation: Any, text: str, value: Any) -> None:
    spec = type_spec(annotation)
    read = spec(text)
    assert read == value and type(read) is type(value)
    match spec.constraint:
        case Regex(pattern):
            assert re.fullmatch(pattern, text)
        case Choices(choices):
            assert text in choices
        case other:
            assert other is None


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (datetime.date, "2023-02-29"),
        (datetime.date, "0000-01-01"),
        (datetime.time, "24:00"),
        (AwareDatetime, "2024-02-29T12:30"),
        (NaiveDatetime, "2024-02-29T12:30Z"),
        (datetime.timedelta, "P1Y"),
        (datetime.timedelta, "P"),
        (uuid.UUID, "123E4567"),
        (UUID4, "123e4567-e89b-12d3-a456-426614174000"),
        (ipaddress.IPv4Address, "1.2.3.256"),
        (Annotated[str, Field(pattern="^a$")], "ab"),
    ],
    ids=str,
)
def test_what_is_no_value_is_not_held(annotation: Any, text: str) -> None:
    constraint = type_spec(annotation).constraint
    assert isinstance(constraint, Regex) and not re.fullmatch(constraint.pattern, text)


def test_decimals_keep_the_digits_that_were_written() -> None:
    spec = type_spec(dict[str, decimal.Decimal | None])
    digits = "0.12345678901234567890123"
    assert repr(spec(f'{{"a": {digits}, "b": 1.50, "c": null, "d": "2.0"}}')) == repr(
        {"a": decimal.Decimal(digits), "b": decimal.Decimal("1.50"), "c": None, "d": decimal.Decimal("2.0")}
    )


def test_a_type_that_comes_again_costs_nothing() -> None:
    assert type_spec(list[Point]) is type_spec(list[Point])
    assert type_spec(list[Point]) is not type_spec(list[Point], strict=False)
    unhashable = Annotated[list[int], {"any": "metadata"}]
    assert type_spec(unhashable) == type_spec(unhashable)


@pytest.mark.parametrize(
    ("annotation", "name"),
    [
        (dict[str, Annotated[int, Field(ge=3)]] | None, "dict[str, int] | None"),
        (typing.Optional[Point], "Point | None"),  # noqa: UP045
        (tuple[Colour, ...], "tuple[Colour, ...]"),
        (Literal["a", 1], "Literal['a', 1]"),
        (Any, "Any"),
        (NewType("Name", str), "Name"),
    ],
)
def test_types_are_named_as_they_are_written(annotation: Any, name: str) -> None:
    assert type_spec(annotation).name == name


def test_scalar_constraints_are_plain_text_and_bounded() -> None:
    assert isinstance(type_spec(int).constraint, Regex)
    assert type_spec(bool).constraint == Choices(("True", "False", "true", "false"))
    assert type_spec(str).constraint is None
    number = type_spec(float).constraint
    assert isinstance(number, Regex)
    assert not re.fullmatch(number.pattern, "1" * 40)
    assert not any(re.fullmatch(number.pattern, text) for text in ("01", "1.", ".5", "1e5", "+1", "--1"))


def test_declared_objects_are_closed_and_open_ones_stay_open() -> None:
    spec = type_spec(Person)
    assert isinstance(spec.constraint, JsonSchema)
    schema = json.loads(spec.constraint.schema)
    assert schema["additionalProperties"] is False
    assert all(part["additionalProperties"] is False for part in schema["$defs"].values())
    open_spec = type_spec(dict[str, int])
    assert isinstance(open_spec.constraint, JsonSchema)
    assert json.loads(open_spec.constraint.schema)["additionalProperties"] == {"type": "integer"}

    class Extra(BaseModel):
        model_config = {"extra": "allow"}
        a: int

    extra = type_spec(Extra)
    assert isinstance(extra.constraint, JsonSchema)
    assert json.loads(extra.constraint.schema)["additionalProperties"] == {"$ref": "#/$defs/x-any"}


def test_pydantic_is_imported_only_for_types_that_need_it() -> None:
    program = (
        "import sys, ramify.lang.types as t; t.type_spec(int); assert 'pydantic' not in sys.modules; "
        "t.type_spec(list[int]); assert 'pydantic' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_specs_compare_by_name_and_constraint() -> None:
    assert type_spec(int) == type_spec(int)
    assert type_spec(int) != type_spec(float)
    assert hash(type_spec(list[int])) == hash(type_spec(list[int]))
