"""What every grammar plugin must do: the masks accept exactly the right texts, however these are split into tokens."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import jsonschema
import pytest

from ramify.lang.constraints import Choices, Constraint, JsonSchema, Regex

REGEX: list[tuple[str, list[str], list[str]]] = [
    (r"a|ab", ["a", "ab"], ["", "b", "abb"]),
    (r"a*?", ["", "a", "aaaaaa"], ["b", "ab"]),
    (r"foo|foobar|food", ["foo", "foobar", "food"], ["foob", "fooda", "fo"]),
    (r"^[a-c]{2,3}$", ["ab", "ccc"], ["a", "abcd", "ad"]),
    (r"(^a|b$)", ["a", "b"], ["ab", ""]),
    (r"\Aa+\Z", ["a", "aa"], ["", "b"]),
    (r"-?(0|[1-9][0-9]*)(\.[0-9]+)?", ["0", "-12.50", "123"], ["01", "1.", ".5", "--1", "+1"]),
    (r"\d+", ["12", "٣", "1２"], ["", "½", "a"]),
    (r"\w+", ["aé漢_1", "²"], ["a b", "", "e\u0301"]),
    (r"\s", [" ", "\n", "\x1c", "\u2003"], ["a", "\u200b", ""]),
    (r"\D\W\S", ["a!b", "é x"], ["1!b", "a  ", "abc"]),
    (r"(?a)\w\d", ["a1"], ["é1", "a٣"]),
    (r".", ["a", "漢", "\r", "\u2028"], ["\n", "", "ab"]),
    (r"(?s).", ["\n", "漢"], ["", "ab"]),
    (r"(?i)k+é", ["K\u212aÉ", "ké"], ["k", "c"]),
    (r"(?i)[^a-c]", ["d", "É"], ["A", "b"]),
    (r"[^é]{2}", ["漢a", "è漢"], ["éa", "a", "aé"]),
    (r"(?x) a  b # comment", ["ab"], ["a b"]),
    (r"(?P<year>\d{4})-(?:0[1-9]|1[0-2])", ["2024-05"], ["2024-13", "2024-5", "24-05"]),
    (r"a{,2}", ["", "a", "aa"], ["aaa"]),
    (r"a{2,}b", ["aab", "aaaaab"], ["ab", "aa"]),
    (r"(a|b)*abb", ["abb", "ababb"], ["ab", "abba"]),
    (r"[]^-]+", ["]", "^-]"], ["[", ""]),
    (r"\x41\u00e9\.", ["Aé."], ["Aéx"]),
    (r"", [""], ["a", " "]),
    (r"(|a)(|b)", ["", "a", "b", "ab"], ["ba", "aa"]),
    (r"(- [^\n]{1,9}\n){1,2}", ["- a\n", "- dog no\n- 漢\n"], ["- \n", "- a", "- 0123456789\n"]),
    (r"\x00?\x7f", ["\x00\x7f", "\x7f"], ["\x00", ""]),
    (r"😀[\U0001F600-\U0001F603]", ["😀😁"], ["😀😄", "😀"]),
]
CHOICES: list[tuple[tuple[str, ...], list[str], list[str]]] = [
    (("yes", "no", "yes, please"), ["yes", "no", "yes, please"], ["", "ye", "yes,", "yesno", "noo"]),
    (("a", "aa", "aaaa"), ["a", "aa", "aaaa"], ["aaa", "aaaaa", ""]),
    (("é", "è", "漢字"), ["é", "漢字"], ["漢", "e"]),
    ((".*", "a|b", "\\d", "\n"), [".*", "a|b", "\\d", "\n"], ["a", "b", "5", "x"]),
]
SCHEMA: list[tuple[Any, list[Any], list[Any]]] = [
    ({"type": "integer"}, [0, -12, 123456], [1.5, "1", True, None]),
    ({"type": "integer", "minimum": 3, "exclusiveMaximum": 12}, [3, 11], [2, 12, 30]),
    ({"type": "number", "minimum": 0, "maximum": 2.5}, [0, 2.5, 1.25], [-1, 2.6, 30]),
    ({"type": "boolean"}, [True, False], [None, 0]),
    ({"type": "string", "minLength": 1, "maxLength": 2}, ["a", "漢字"], ["", "abc"]),
    ({"type": "string", "pattern": "^a[0-9]+$"}, ["a12"], ["a", "ba1"]),
    ({"enum": [1, "a", None, {"x": [1]}]}, [1, "a", None, {"x": [1]}], [2, "b", {"x": []}]),
    ({"const": {"a": "é"}}, [{"a": "é"}], [{"a": "e"}, {}]),
    (
        {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2},
        [[True], [True, False]],
        [[], [1], [True] * 3],
    ),
    (
        {"prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False, "minItems": 2, "type": "array"},
        [[1, "a"]],
        [[1], ["a", 1], [1, "a", 2]],
    ),
    (
        {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "string"}},
            "required": ["a"],
            "additionalProperties": False,
        },
        [{"a": 1}, {"a": 1, "b": "x"}],
        [{}, {"b": "x"}, {"a": 1, "c": 2}, {"a": "1"}],
    ),
    ({"type": "object", "additionalProperties": {"type": "integer"}}, [{}, {"é": 1, "x": 2}], [{"a": "b"}, []]),
    (
        {
            "properties": {"a": {"type": "integer"}},
            "patternProperties": {"^x_": {"type": "string"}},
            "additionalProperties": False,
            "type": "object",
        },
        [{"a": 1}, {"x_1": "s"}],
        [{"x_1": 1}, {"y": 1}],
    ),
    (
        {
            "$defs": {
                "node": {
                    "type": "object",
                    "properties": {"kids": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
                    "required": ["kids"],
                    "additionalProperties": False,
                }
            },
            "$ref": "#/$defs/node",
        },
        [{"kids": []}, {"kids": [{"kids": []}]}],
        [{}, {"kids": [1]}],
    ),
    ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, [1, None], ["", True]),
    ({"allOf": [{"minimum": 2}, {"type": "integer", "maximum": 3}]}, [2, 3], [1, 4]),
    ({"type": "string", "format": "date"}, ["2024-02-28"], ["2024-13-01", "x"]),
    ({"type": "string", "format": "uuid"}, ["123e4567-e89b-12d3-a456-426614174000"], ["123e4567"]),
    (True, [1, "a", [], {"b": None}], []),
]
RAW_JSON: list[tuple[Any, list[str], list[str]]] = [
    ({"type": "number"}, ["1e5", "-0.5E-3", "1.0"], ["01", ".5", "1.", "+1", "NaN"]),
    ({"type": "string"}, [r'"\""', r'"\n"', r'"\\"', '"é"'], ['"\n"', '"', r'"\x"', "'a'", "a"]),
    (
        {"type": "array", "items": {"type": "integer"}},
        ["[]", "[1]", "[1, 2]"],
        ["[1,2]", "[1,  2]", "[1,\n2]", "[1\t]", " [1]", "[1]\n", "[1,]", "[ ]"],
    ),
]

CASES: list[tuple[Constraint, list[str], list[str]]] = [
    *((Regex(pattern), accepts, rejects) for pattern, accepts, rejects in REGEX),
    *((Choices(choices), accepts, rejects) for choices, accepts, rejects in CHOICES),
    *((JsonSchema(json.dumps(schema)), accepts, rejects) for schema, accepts, rejects in RAW_JSON),
    *(
        (
            JsonSchema(json.dumps(schema)),
            [json.dumps(value, ensure_ascii=False) for value in accepts],
            [json.dumps(value, ensure_ascii=False) for value in rejects],
        )
        for schema, accepts, rejects in SCHEMA
    ),
]
TAKES = {"outlines": (Regex, Choices), "llguidance": (Regex, JsonSchema)}


@pytest.mark.parametrize(
    ("plugin", "constraint", "accepts", "rejects"),
    [(plugin, *case) for plugin, kinds in TAKES.items() for case in CASES if isinstance(case[0], kinds)],
    ids=lambda value: repr(value)[:60] if not isinstance(value, (str, list)) else "",
)
def test_the_masks_accept_exactly_the_right_texts(
    plugin: str, constraint: Constraint, accepts: list[str], rejects: list[str], compilers: Any, tools: Any
) -> None:
    grammar = compilers[plugin].compile(constraint, timeout=5)
    rng = random.Random(0)
    for text in accepts:
        for _ in range(3):
            assert tools.walk(grammar.matcher(), text.encode(), rng), f"rejects {text!r}"
    for text in rejects:
        assert not tools.walk(grammar.matcher(), text.encode(), rng), f"accepts {text!r}"


@pytest.mark.parametrize(("pattern", "accepts", "rejects"), REGEX)
def test_the_table_agrees_with_re(pattern: str, accepts: list[str], rejects: list[str]) -> None:
    assert all(re.fullmatch(pattern, text) for text in accepts)
    assert not any(re.fullmatch(pattern, text) for text in rejects)


@pytest.mark.parametrize(("schema", "accepts", "rejects"), SCHEMA)
def test_the_table_agrees_with_jsonschema(schema: Any, accepts: list[Any], rejects: list[Any]) -> None:
    check = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    assert all(check.is_valid(value) for value in accepts)
    assert not any(check.is_valid(value) for value in rejects)


@pytest.mark.parametrize(("pattern", "accepts", "rejects"), REGEX)
def test_the_plugins_agree_token_by_token(
    pattern: str, accepts: list[str], rejects: list[str], compilers: Any, tools: Any
) -> None:
    rng = random.Random(1)
    grammars = [compiler.compile(Regex(pattern), timeout=5) for compiler in compilers.values()]
    for _ in range(3):
        first, second = (grammar.matcher() for grammar in grammars)
        for _ in range(12):
            legal = tools.legal_tokens(first)
            assert legal == tools.legal_tokens(second)
            token = rng.choice(sorted(legal))
            assert first.accept(token) and second.accept(token)
            assert (first.can_stop, first.is_terminated) == (second.can_stop, second.is_terminated)
            if first.is_terminated:
                break


@pytest.mark.parametrize(("schema", "accepts", "rejects"), SCHEMA)
def test_generated_json_satisfies_its_schema(
    schema: Any, accepts: list[Any], rejects: list[Any], compilers: Any, tools: Any
) -> None:
    grammar = compilers["llguidance"].compile(JsonSchema(json.dumps(schema)), timeout=5)
    check = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    texts = [tools.generate(grammar.matcher(), random.Random(seed), max_tokens=150) for seed in range(8)]
    for text in texts:
        assert text is None or check.is_valid(json.loads(text)), text
    assert any(text is not None for text in texts)
