"""Partial values: what a JSON text spells so far, whatever pieces it comes in, part by closed part."""

from __future__ import annotations

import datetime
import decimal
import enum
import json
import time
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, Field, RootModel
from typing_extensions import TypedDict

from ramify.lang.json_scanner import JsonScanner
from ramify.lang.json_shape import Shape
from ramify.lang.partial_json import PartialJson, PartialText, exact_decimals
from ramify.lang.types import type_spec


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Item:
    sku: str
    prices: list[decimal.Decimal] = field(default_factory=list)


class Order(BaseModel):
    number: int = Field(alias="orderNumber")
    day: datetime.date
    items: list[Item]
    note: Optional[str] = None  # noqa: UP045
    parent: Order | None = None


class Person(TypedDict):
    name: str
    age: NotRequired[int]


class Pair(NamedTuple):
    first: float
    second: Colour


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"


def check_even(value: int) -> int:
    if value % 2:
        raise ValueError("odd")
    return value


class Even(BaseModel):
    number: Annotated[int, AfterValidator(check_even)]


class Words(RootModel[list[str]]):
    pass


TYPED: list[tuple[Any, str]] = [
    (
        Order,
        '{"orderNumber": 12, "day": "2024-02-29", "items": [{"sku": "a\\"[}", "prices": [1.10, 2]}, {"sku": ""}], '
        '"note": "x\\\\", "parent": {"orderNumber": -1, "day": "1999-01-01", "items": []}}',
    ),
    (list[Person], '[{"name": "é漢"}, {"name": "b", "age": 3}]'),
    (dict[str, list[Pair]], '{"a": [[1, "red"], [2.5, "red"]], "b": []}'),
    (tuple[int, ...], "[1, 2, 3]"),
    (tuple[Colour, datetime.date], '["red", "2024-01-02"]'),
    (Annotated[list[Cat | Dog], Field(max_length=3)], '[{"kind": "dog"}, {"kind": "cat", "lives": 1}]'),
    (Annotated[Cat | Dog, Field(discriminator="kind")], '{"kind": "cat", "lives": 3}'),
    (Item | None, '{"sku": "x", "prices": [0.12345678901234567890123]}'),
    (dict[datetime.date, dict[str, Any]], '{"2024-01-01": {"a": [{"b": null}], "c": true}}'),
    (Words, '["a", "b"]'),
    (list[decimal.Decimal | None], "[1.50, null]"),
    (list[int | str], '["a", 1]'),
    (Any, '{"a": [1.5, "\\u00e9\\ud83d\\ude00\\n"]}'),
    (Optional[float], "2.5"),  # noqa: UP045
    (Optional[int], "null"),  # noqa: UP045
]


def pieces(reader: PartialJson, texts: list[str]) -> list[Any]:
    return [reader.value() for text in texts if reader.feed(text)]


@pytest.mark.parametrize(("annotation", "text"), TYPED, ids=lambda value: str(value)[:30])
@pytest.mark.parametrize("open_strings", [False, True])
def test_every_split_ends_with_the_value(annotation: Any, text: str, open_strings: bool) -> None:
    spec = type_spec(annotation)
    value = spec(text)
    reader = spec.partial(open_strings=open_strings)
    whole = pieces(reader, list(text))
    if text[0] in "[{":  # a number that stands alone may always go on
        assert reader.value() == value and type(reader.value()) is type(value)
        assert repr(reader.value()) == repr(value)  # decimals with their zeros
    for cut in range(len(text) + 1):
        assert all(item in whole for item in pieces(spec.partial(open_strings=open_strings), [text[:cut], text[cut:]]))


def test_fields_and_items_appear_when_they_close_with_their_types() -> None:
    text = '{"orderNumber": 12, "day": "2024-02-29", "items": [{"sku": "a", "prices": [1.10]}], "note": "x"}'
    item = Item("a", [decimal.Decimal("1.10")])
    day = datetime.date(2024, 2, 29)
    seen = pieces(type_spec(Order).partial(), list(text))
    assert seen == [
        {"number": 12},
        {"number": 12, "day": day},
        {"number": 12, "day": day, "items": [{"sku": "a"}]},
        {"number": 12, "day": day, "items": [{"sku": "a", "prices": item.prices}]},
        {"number": 12, "day": day, "items": [item]},
        {"number": 12, "day": day, "items": [item], "note": "x"},
    ]


def test_what_is_kept_does_not_change_later() -> None:
    reader = PartialJson(Shape())
    text = '{"a": [[1, {"b": [2, 3]}], 4], "c": {"d": 5}}'
    kept = [(reader.value(), json.dumps(reader.value())) for character in text if reader.feed(character)]
    assert len(kept) == 5
    assert all(json.dumps(value) == shown for value, shown in kept)


def test_open_strings_are_shown_without_half_characters() -> None:
    reader = PartialJson(Shape(), open_strings=True)
    shown = []
    for character in r'["a\u00e9\ud83d\ude00\\", "b\"c"]':
        if reader.feed(character):
            shown.append(reader.value()[-1])
    assert list(dict.fromkeys(shown)) == ["", "a", "aé", "aé😀", "aé😀\\", "b", 'b"', 'b"c']


def test_open_strings_of_other_types_wait() -> None:
    seen = pieces(type_spec(Order).partial(open_strings=True), ['{"day": "2024-0', '1-02", "note": "so f'])
    assert seen == [{"day": datetime.date(2024, 1, 2), "note": "so f"}]


def test_a_part_that_its_validator_refuses_is_shown_as_it_is() -> None:
    seen = pieces(type_spec(list[Even]).partial(), ['[{"number": 2}', ', {"number": 3}', "]"])
    assert seen == [[Even(number=2)], [Even(number=2), {"number": 3}]]


@pytest.mark.parametrize("text", ["]", '{"a": 1]', '{"a"}}', "{,}", '[tru, "a"', "{1: 2}", '"a" "b"', "nonsense"])
def test_text_that_is_no_json_is_quietly_left_to_the_end(text: str) -> None:
    for annotation in (dict[str, int], Any, list[Order]):
        reader = type_spec(annotation).partial(open_strings=True)
        pieces(reader, list(text))


def test_plain_texts() -> None:
    waiting, growing = PartialText(is_open=False), PartialText(is_open=True)
    assert [waiting.feed("a"), growing.feed("a"), growing.feed("b")] == [False, True, True]
    assert growing.value() == "ab"
    assert isinstance(type_spec(int).partial(open_strings=True), PartialText)
    assert not type_spec(datetime.date).partial(open_strings=True).feed("2024")
    assert type_spec(str).partial(open_strings=True).feed("x")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(_JSON, st.booleans(), st.sampled_from([None, 1]), st.lists(st.integers(1, 9), min_size=1))
def test_any_json_in_any_pieces(value: Any, ascii_only: bool, indent: int | None, sizes: list[int]) -> None:
    text = json.dumps([value], ensure_ascii=ascii_only, indent=indent)
    reader, scanner, position = PartialJson(Shape(), open_strings=True), JsonScanner(), 0
    events = []
    while position < len(text):
        for size in sizes:
            piece = text[position : position + size]
            events += scanner.feed(piece)
            reader.feed(piece)
            reader.value()
            position += len(piece)
    assert reader.value() == [value]
    assert all(text[event.start : event.end] == event.text for event in events)
    assert exact_decimals(text, Shape()) == text


def test_decimals_are_quoted_where_they_are_decimals() -> None:
    from ramify.lang.type_shape import shape_of

    text = '{"sku": "1.5", "prices": [1.50, "2", -3e2]}'
    assert exact_decimals(text, shape_of(Item)) == '{"sku": "1.5", "prices": ["1.50", "2", "-3e2"]}'


def test_the_work_grows_with_the_text() -> None:
    def seconds(count: int) -> float:
        text = json.dumps([{"name": "n" * 20, "value": index} for index in range(count)])
        reader = PartialJson(Shape())
        start = time.process_time()
        for position in range(0, len(text), 4):
            reader.feed(text[position : position + 4])
        return time.process_time() - start

    # four times the text; a reader that parsed again at every token would take sixteen times as long
    assert min(seconds(800) for _ in range(3)) < 9 * min(seconds(200) for _ in range(3))
