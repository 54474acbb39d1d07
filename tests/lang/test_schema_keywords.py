"""Which keywords of a schema no mask holds, where they stand, and the schema that is left without them."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from ramify import ConstraintError, ParameterError, gen
from ramify.lang.schema_keywords import UNHELD_KEYWORDS, find_unheld, loosened, subschemas


@pytest.mark.parametrize(
    ("schema", "found"),
    [
        (True, []),
        ({"type": "array", "uniqueItems": True}, ["uniqueItems at /"]),
        ({"uniqueItems": False}, []),
        ({"properties": {"not": {"items": {"contains": {}}}}}, ["contains at /properties/not/items"]),
        ({"anyOf": [{}, {"not": {"format": "x"}}]}, ["not at /anyOf/1", "format 'x' at /anyOf/1/not"]),
        ({"format": "int32", "type": "integer"}, []),
        ({"format": ["x"]}, ["format ['x'] at /"]),
        ({"pattern": "a(?=b)"}, ["pattern 'a(?=b)' with look-ahead or look-behind at /"]),
        ({"pattern": r"^[^\W]+[^\s-]\d$"}, []),
        (
            {"items": {"patternProperties": {r"(a)\1": {}, "(?>b": {}}}},
            [r"patternProperties '(a)\\1' with a back-reference at /items"],
        ),
        ({"const": {"not": 1}, "enum": [{"not": 1}]}, []),
        ({"$defs": {"a": {"if": {}}}}, ["if at /$defs/a"]),
        ({"minProperties": 1, "maxProperties": 3}, []),
        ({"minProperties": 2, "maxProperties": 3}, ["minProperties at /"]),
        ({"properties": {"a": {}}, "required": ["a", "b"], "minProperties": 2}, []),
        ({"properties": {"a": {}}, "minProperties": 1}, ["minProperties at /"]),
        ({"properties": {"a": {}}, "maxProperties": 3}, ["maxProperties at /"]),
    ],
    ids=str,
)
def test_keywords_are_found_by_their_place(schema, found):
    assert [str(item) for item in find_unheld(schema)] == found


@pytest.mark.parametrize("pattern", [r"\D", r"a|\W+", r"[^\w-]", r"([\W_])*"])
def test_a_class_that_validators_read_differently_is_not_held(pattern):
    (found,) = find_unheld({"items": {"pattern": pattern}})
    assert "validators have different ideas" in str(found) and str(found).endswith("at /items")


@pytest.mark.parametrize(
    ("schema", "left"),
    [
        (False, False),
        ({"uniqueItems": False, "items": {"not": {}}}, {"items": {}}),
        ({"oneOf": [{"type": "null"}], "anyOf": [{}]}, {"anyOf": [{}], "allOf": [{"anyOf": [{"type": "null"}]}]}),
        ({"format": "iri", "minLength": 1}, {"minLength": 1}),
        ({"pattern": "(?!a)", "maxLength": 1}, {"maxLength": 1}),
        ({"patternProperties": {"(?!a)": {}}, "additionalProperties": False}, {}),
        ({"if": {}, "then": {}, "else": {}, "type": "null"}, {"type": "null"}),
    ],
    ids=str,
)
def test_what_is_not_held_is_left_out(schema, left):
    assert loosened(schema) == left


def test_a_keyword_that_leans_on_another_one_goes_with_it():
    schema = {"patternProperties": {"^x": {}}, "additionalProperties": False, "properties": {"a": {}}}
    assert loosened(schema, refused={"patternProperties"}) == {"properties": {"a": {}}}
    schema = {"prefixItems": [{}], "items": False, "type": "array"}
    assert loosened(schema, refused={"prefixItems"}) == {"type": "array"}
    # what forbids must not forbid more than before
    assert loosened({"not": {"minimum": 1, "maximum": 2}}, refused={"maximum"}) == {}
    assert loosened({"not": {"minimum": 1}}, refused={"maximum"}) == {"not": {"minimum": 1}}


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.sampled_from(["", "a", "ab"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=6,
)


def _schemas() -> st.SearchStrategy:
    leaf = st.sampled_from(
        [{}, True, {"type": "integer"}, {"type": "string"}, {"const": "a"}, {"minimum": 1}, {"maxLength": 1}]
    )

    def grow(inner):
        part, parts = inner, st.lists(inner, min_size=1, max_size=2)
        names = st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
        one = "items contains additionalProperties propertyNames not if then else unevaluatedItems".split()
        return st.fixed_dictionaries(
            {},
            optional={
                **dict.fromkeys(one, part),
                **dict.fromkeys(("anyOf", "oneOf", "allOf", "prefixItems"), parts),
                **dict.fromkeys(("properties", "patternProperties"), names),
                "uniqueItems": st.booleans(),
            },
        )

    return st.recursive(leaf, grow, max_leaves=5)


_REFUSED = st.sampled_from(
    [
        UNHELD_KEYWORDS,
        *(frozenset({word}) for word in "patternProperties properties prefixItems items maxLength".split()),
    ]
)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(_schemas(), _VALUES, _REFUSED)
def test_the_loosened_schema_takes_whatever_the_whole_one_takes(schema, value, refused):
    left = loosened(schema, refused=refused)
    assert not find_unheld(left, refused=refused - {"uniqueItems"})
    if Draft202012Validator(schema).is_valid(value):
        assert Draft202012Validator(left).is_valid(value)


def test_the_deepest_schema_is_loosened_level_by_level():
    nested: dict = {}
    for _ in range(64):
        nested = {"not": nested}
    assert loosened(nested, refused=frozenset()) == nested
    assert len(list(subschemas(nested))) == 65


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"json_schema": {"type": "strin"}}, "not a JSON schema: 'strin' is not valid .* at /type"),
        ({"json_schema": {"properties": {"a": {"minimum": "3"}}}}, "'3' is not of type 'number' at /properties/a/mini"),
        ({"json_schema": {"items": {"$ref": "#/$defs/a"}}}, "refers to '#/.defs/a' at /items, which does not exist"),
        ({"json_schema": {"$ref": "https://example.com/a"}}, "'https://example.com/a' at /, which lies outside of it"),
        ({"json_schema": {"items": {"uniqueItems": True}}}, "no mask holds: uniqueItems at /items. With strict=False"),
        ({"json_schema": "{"}, "line 1 column 2"),
        ({"json_schema": functools.reduce(lambda inner, _: {"items": inner}, range(5000), {})}, "nested too deeply"),
        ({"grammar": "start: a\na: /x"}, "line 2 column 4 in the grammar"),
        ({"grammar": "a: /x/"}, "no rule 'start' to start with; it has a"),
        ({"grammar": "%import .secret.X\nstart: X"}, "imports from a file"),
        ({"grammar": "%import secret.X\nstart: X"}, "imports from secret"),
        ({"grammar": "start: b"}, "'b' used but not defined"),
        ({"grammar": "// " + "x" * 70_000}, "70003 characters long; at most 65536"),
        ({"regex": "a(b"}, "at position 1"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_what_is_wrong_is_said_where_the_gen_is_written(parameters, message):
    with pytest.raises(ConstraintError, match=message):
        gen("x", **parameters)


def test_keywords_pass_when_somebody_sees_to_them():
    schema = {"type": "array", "uniqueItems": True}
    assert gen("x", json_schema=schema, strict=False).constraint.strict is False
    assert gen("x", json_schema=schema, backend_hint="xgrammar").constraint.strict is True
    assert gen("x", json_schema={"$defs": {"a/b": {}}, "$ref": "#/$defs/a~1b"}).constraint is not None


@pytest.mark.parametrize("parameters", [{"regex": "a"}, {"choices": ["a"]}, {}])
def test_strict_is_for_types_and_schemas(parameters):
    with pytest.raises(ParameterError, match="strict=False says how type= or json_schema= is held"):
        gen("x", strict=False, **parameters)
    with pytest.raises(ParameterError, match="strict must be True or False"):
        gen("x", type=int, strict="no")
