"""What of a type no mask holds is refused where the gen is written, by the field's path, or checked at the end."""

from __future__ import annotations

import datetime
import decimal
import enum
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, Json, WithJsonSchema

from ramify.lang.constraints import JsonSchema
from ramify.lang.errors import ConstraintError, ParseError
from ramify.lang.types import type_spec


class Colour(enum.Enum):
    RED = "red"
    SEVEN = 7


class Line(BaseModel):
    tags: set[str]
    when: Annotated[datetime.date, Field(gt=datetime.date(2020, 1, 1))]


class Invoice(BaseModel):
    lines: list[Line]
    by_name: dict[str, frozenset[int]] = {}
    pair: tuple[int, Json[int]]


class Endless(BaseModel):
    inner: Endless


@dataclass
class Locked:
    lock: threading.Lock


@dataclass
class Holder:
    items: list[Locked]


SOFT = "no mask holds that its items are all different"


@pytest.mark.parametrize(
    ("annotation", "reasons"),
    [
        (set[str], [f"type set[str] cannot be enforced: {SOFT}"]),
        (
            Invoice,
            [
                f"Invoice.lines[].tags: set[str] cannot be enforced: {SOFT}",
                "Invoice.lines[].when: date with gt cannot be enforced",
                f"Invoice.by_name{{}}: frozenset[int] cannot be enforced: {SOFT}",
                "Invoice.pair[1]: JSON inside a string cannot be enforced",
            ],
        ),
        (list[Line], [f"type list[Line], at [].tags: set[str] cannot be enforced: {SOFT}"]),
        (Annotated[dict[str, int], Field(min_length=2)], ["a dict of at least two entries"]),
        (Annotated[str, Field(max_length=3, pattern="a")], ["type str cannot be enforced as plain text"]),
        (Annotated[datetime.datetime, Field(le=datetime.datetime(2020, 1, 1))], ["datetime with le cannot"]),
        (Annotated[decimal.Decimal, Field(max_digits=3)], ["max_digits but without decimal_places"]),
        (Annotated[str, WithJsonSchema({"type": "string", "format": "iri"})], ["format 'iri'"]),
        (dict[Annotated[int, Field(gt=1)], int], ["keys of integer and their bounds"]),
    ],
    ids=str,
)
def test_what_no_mask_holds_is_refused_by_its_path_unless_it_may_be_checked_later(
    annotation: Any, reasons: list[str], compilers: Any
) -> None:
    with pytest.raises(ConstraintError) as raised:
        type_spec(annotation)
    assert all(reason in str(raised.value) for reason in reasons)
    spec = type_spec(annotation, strict=False)
    if isinstance(spec.constraint, JsonSchema):
        assert spec.constraint.strict is False and "x-" not in spec.constraint.schema
        compilers["llguidance"].compile(spec.constraint, timeout=5)


def test_what_was_not_held_is_checked_in_the_finished_value() -> None:
    line = type_spec(Line, strict=False)
    assert line('{"tags": ["a", "a"], "when": "2024-01-01"}') == Line(tags={"a"}, when=datetime.date(2024, 1, 1))
    with pytest.raises(ParseError, match=r"when: Input should be greater than 2020-01-01, got '2019-01-01'"):
        line('{"tags": [], "when": "2019-01-01"}')


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (Endless, "type Endless has no value that ends: Endless always holds"),
        (Holder, r"type Holder cannot be expressed as JSON \(at items\[\]\.lock\): Unable to generate"),
        (dict[Colour, int], r"keys \['red', 7\] cannot be expressed as JSON, where keys are strings"),
        (Iterable[int], "an Iterable cannot be read back as a value; use a list"),
        (dict[str, list[bytes]], r"type dict\[str, list\[bytes\]\], at \{\}\[\]: bytes cannot be expressed"),
    ],
    ids=str,
)
@pytest.mark.parametrize("strict", [True, False])
def test_what_no_text_can_be_is_refused_in_any_case(annotation: Any, message: str, strict: bool) -> None:
    with pytest.raises(ConstraintError, match=message) as raised:
        type_spec(annotation, strict=strict)
    assert "strict=False" not in str(raised.value)
