"""Schemas as regexes: integer bounds, escapes in strings, patterns, and what has to be refused."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramify.backend.engine.grammar.integer_ranges import integer_regex
from ramify.backend.engine.grammar.json_regex import schema_regex
from ramify.backend.engine.grammar.json_text import CHARACTER, constant_regex, text_regex
from ramify.lang.errors import ConstraintError

_bound = st.one_of(st.none(), st.integers(-1100, 1100), st.integers(-(10**20), 10**20), st.floats(-300, 300, width=16))
BOUNDS = st.fixed_dictionaries({}, optional=dict.fromkeys(("minimum", "maximum"), _bound)).map(
    lambda bounds: {name: bound for name, bound in bounds.items() if bound is not None}
)
# with every kind of character that JSON escapes
CHARACTERS = st.sampled_from('ab"\\/\n\t\x00\x1f\x7fé漢😀')
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-99, 99), st.text(CHARACTERS, max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(CHARACTERS, max_size=2), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=200)
@given(bounds=BOUNDS, numbers=st.lists(st.integers(-1300, 1300)), strict=st.booleans())
def test_integers_between_bounds(bounds: dict[str, Any], numbers: list[int], strict: bool) -> None:
    if strict:
        bounds = {{"minimum": "exclusiveMinimum", "maximum": "exclusiveMaximum"}[name]: b for name, b in bounds.items()}

    def fits(number: int) -> bool:
        low = bounds.get("minimum", bounds.get("exclusiveMinimum"))
        high = bounds.get("maximum", bounds.get("exclusiveMaximum"))
        inside = (low is None or number >= low) and (high is None or number <= high)
        return inside and not (strict and number in (low, high))

    try:
        regex = re.compile(integer_regex(bounds))
    except ConstraintError:
        assert not any(fits(number) for number in numbers)
        return
    edges = [int(bound) + offset for bound in bounds.values() for offset in (-1, 0, 1)]
    for number in [*numbers, *edges, 0, 10**21, -(10**21)]:
        assert bool(regex.fullmatch(str(number))) == fits(number), number
        assert not regex.fullmatch(f"0{number}") and not regex.fullmatch(f"-0{abs(number)}")


@settings(max_examples=200)
@given(value=JSON, other=JSON)
def test_a_constant_is_itself_and_nothing_else(value: Any, other: Any) -> None:
    regex = constant_regex(value)
    spelled = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    assert re.fullmatch(regex, spelled)
    same = json.dumps(value) == json.dumps(other)
    assert bool(re.fullmatch(regex, json.dumps(other, ensure_ascii=False).replace("\x7f", "\\u007f"))) == same


@settings(max_examples=200)
@given(text=st.text(CHARACTERS, max_size=6))
def test_a_string_is_spelled_character_by_character(text: str) -> None:
    spelled = json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
    assert re.fullmatch(f'"{CHARACTER}{{{len(text)}}}"', spelled)
    assert not re.fullmatch(f'"{CHARACTER}{{{len(text) + 1}}}"', spelled)


@settings(max_examples=300)
@given(
    pattern=st.sampled_from(
        [
            "^a+$",
            "a",
            "^a",
            "b$",
            '^["\\\\]+$',
            "^[^a]*$",
            "^(a|b\n)$",
            r"^\w\W$",
            r"^[\x00-\x7f]$",
            "^.$",
            "^a|b",
            "a|b",
            "\\$",
        ]
    ),
    text=st.text(CHARACTERS, max_size=3),
)
def test_a_pattern_holds_for_the_text_and_not_for_its_spelling(pattern: str, text: str) -> None:
    spelled = json.dumps(text, ensure_ascii=False)[1:-1].replace("\x7f", "\\u007f")
    try:
        regex = text_regex(pattern)
    except ConstraintError as error:
        assert pattern == "^a|b" and "one alternative" in str(error)
        return
    ecma = re.sub(r"\$\Z", r"\\Z", pattern) if not pattern.endswith("\\$") else pattern
    assert bool(re.fullmatch(regex, spelled)) == bool(re.search(ecma, text, re.ASCII))


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({}, "a schema without a type at /"),
        (True, "the schema true"),
        ({"type": "strin"}, 'of type "strin"'),
        ({"type": "string", "pattern": r"^\s$"}, "white space of all of Unicode"),
        ({"type": "number", "minimum": 1}, "minimum here"),
        ({"type": "object"}, "without additionalProperties: false"),
        ({"type": "array"}, "an array without items"),
        ({"type": "array", "prefixItems": [{"type": "null"}]}, "goes on after prefixItems"),
        ({"type": "array", "items": {"type": "array"}}, "at /items"),
        ({"anyOf": [{"type": "null"}], "minLength": 1}, "minLength here"),
        (
            {"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"type": "null"}]}}, "$ref": "#/$defs/a"},
            "recursion through",
        ),
        ({"$ref": "#/$defs/b"}, "the reference '#/\\$defs/b'"),
        ({"type": "string", "pattern": "a", "minLength": 2}, "pattern together with minLength"),
        ({"type": "string", "pattern": "a(?=b)"}, "look-ahead"),
        ({"type": "string", "format": "email"}, "the format 'email'"),
        ({"enum": ["a"], "type": "integer"}, "no constant is of its type"),
        (
            {"type": "object", "required": ["a"], "additionalProperties": False},
            "required properties that are not allowed",
        ),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "no integer is at least 3 and at most 2"),
        ({"type": "integer", "minimum": "3"}, "minimum is '3'"),
        ({"$ref": 5}, "\\$ref with the value 5"),
        ({"anyOf": []}, "an empty anyOf"),
        ({"enum": []}, "no constant is of its type"),
        ({"type": [["null"]]}, "of type"),
        ({"type": "string", "maxLength": -1}, "maxLength with the value -1"),
        ({"type": "array", "items": {"type": "null"}, "minItems": True}, "minItems with the value true"),
        ({"type": "object", "properties": [1], "additionalProperties": False}, "properties with the value"),
        ({"type": "object", "required": [1], "additionalProperties": False}, "something else than names"),
        ({"type": "object", "properties": {"a": {"minLength": 2.5, "type": "string"}}}, "without additionalProperties"),
        ({"type": "integer", "minimum": 10**400}, "a number of at most 40 digits"),
    ],
)
def test_what_no_regex_holds_exactly_is_refused(schema: Any, reason: str) -> None:
    with pytest.raises(ConstraintError, match=reason):
        schema_regex(schema)


def test_references_that_double_at_every_level_are_cut_off() -> None:
    levels = {f"a{i}": {"type": "array", "items": {"$ref": f"#/$defs/a{i + 1}"}, "minItems": 1} for i in range(25)}
    with pytest.raises(ConstraintError, match="takes more than 131072 characters"):
        schema_regex({"$defs": {**levels, "a25": {"type": "null"}}, "$ref": "#/$defs/a0"})
