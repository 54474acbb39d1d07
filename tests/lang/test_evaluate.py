"""Values computed from other values: what scripts and traced f-strings compile to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import pytest

from ramify.lang.errors import ProgramError
from ramify.lang.evaluate import FUNCTIONS, evaluate, text_of
from ramify.lang.ir import Apply, Argument, Reference, Value, is_constant


class Size(Enum):
    SMALL = "small"


@dataclass
class Point:
    x: int
    size: Size


VALUES = {"n": 3, "names": ("a", "b"), "points": ({"x": 1}, {"x": 2}), "point": Point(4, Size.SMALL), "nothing": None}


def value_of(value: Value) -> object:
    return evaluate(value, lambda wanted: VALUES[wanted.name])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", "text"),
        (("a", Argument("n")), ("a", 3)),
        (Argument("names", (1,)), "b"),
        (Argument("points", ("x",)), (1, 2)),
        (Reference(0, "point", ("x",)), 4),
        (Apply("and", (Apply(">", (Argument("n"), 2)), Apply("in", ("a", Argument("names"))))), True),
        (Apply("join", (Argument("names"), "-")), "a-b"),
        (Apply("range", (1, Argument("n"))), (1, 2)),
        (Apply("majority", (("x", "y", "y"),)), "y"),
        (Apply("majority", (("x", None, None),)), "x"),
        (Apply("format", (Argument("n"), "03d")), "003"),
        (Apply("concat", ("a", Argument("n"))), "a3"),
    ],
)
def test_values(value: Value, expected: object) -> None:
    assert value_of(value) == expected


@pytest.mark.parametrize(
    ("value", "text"),
    [("é\n", "é\n"), (1.5, "1.5"), (True, "true"), (None, "null"), (("é", 1), '["é", 1]'), (Size.SMALL, '"small"')],
)
def test_texts(value: object, text: str) -> None:
    assert text_of(value) == text


def test_records_are_json() -> None:
    assert text_of(Point(1, Size.SMALL)) == '{"x": 1, "size": "small"}'


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Apply("len", (3,)), "len cannot be computed of int"),
        (Apply("<", ("a", 3)), "< cannot be computed of str, int"),
        (Argument("names", (2,)), "no item 2"),
        (Argument("point", ("y",)), "no field 'y'"),
        (Argument("point", ("__class__",)), "no field '__class__'"),
        (Argument("nothing", ("x",)), "not there"),
        (Apply("range", (10**9,)), "at most 10000"),
        (Apply("majority", ((),)), "no values"),
        (Apply("format", ("a", ">2000000000")), "wider than 10000"),
        (Apply("format", (1.5, ".99999999f")), "wider than 10000"),
        (Apply("format", ("a", "0" * 120 + "9")), "longer than 100"),
        (Apply("concat", ("a" * 1_000_000,) * 40), "more than 16000000 characters"),
    ],
)
def test_what_cannot_be_computed(value: Value, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        value_of(value)


def test_constants() -> None:
    assert is_constant(("a", 1, (None,)))
    assert not is_constant(("a", (Argument("n"),)))
    assert not is_constant(Apply("+", (1, 2)))


def test_repetition_is_no_function() -> None:
    assert "*" not in FUNCTIONS  # a script cannot make a text of any size
