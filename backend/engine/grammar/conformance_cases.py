"""What grammar plugins are tried on: constraints, texts that they must accept, texts that they must reject.

Facts only. Read by `conformance`, and by tests that check the cases themselves against `re` and `jsonschema`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from ....lang.constraints import Choices, Constraint, Grammar, JsonSchema, Regex


@dataclass(frozen=True, slots=True)
class Case:
    """A constraint, whole texts that hold it, and texts that do not."""

    constraint: Constraint
    accepts: tuple[str, ...]
    rejects: tuple[str, ...]


REGEX: Final[tuple[tuple[str, list[str], list[str]], ...]] = (
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
    (r"yes(, please)?", ["yes", "yes, please"], ["yes,", "yes, ", "ye"]),
    (r"[^\W\d_]+", ["aé漢"], ["a1", "_", ""]),
    (r"a.{3}b", ["a漢字éb", "abbbb"], ["ab", "aa\nab"]),
)
CHOICES: Final[tuple[tuple[tuple[str, ...], list[str], list[str]], ...]] = (
    (("yes", "no", "yes, please"), ["yes", "no", "yes, please"], ["", "ye", "yes,", "yesno", "noo"]),
    (("a", "aa", "aaaa"), ["a", "aa", "aaaa"], ["aaa", "aaaaa", ""]),
    (("é", "è", "漢字"), ["é", "漢字"], ["漢", "e"]),
    ((".*", "a|b", "\\d", "\n", '"', "\\"), [".*", "a|b", "\\d", "\n", '"', "\\"], ["a", "b", "5", "x"]),
)
_CLOSED: Final = {"type": "object", "additionalProperties": False}
_NODE: Final = {
    **_CLOSED,
    "properties": {"kids": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
    "required": ["kids"],
}
SCHEMA: Final[tuple[tuple[Any, list[Any], list[Any]], ...]] = (
    ({"type": "integer"}, [0, -12, 123456], [1.5, "1", True, None]),
    ({"type": "integer", "minimum": 3, "exclusiveMaximum": 12}, [3, 11], [2, 12, 30]),
    ({"type": "integer", "minimum": -12.5, "maximum": 7}, [-12, 0, 7, -9], [-13, 8, 10]),
    ({"type": "integer", "exclusiveMinimum": 99}, [100, 1000], [99, 9, -100]),
    ({"type": "integer", "maximum": -5}, [-5, -10, -99], [-4, 5, 0]),
    ({"type": "number", "minimum": 0, "maximum": 2.5}, [0, 2.5, 1.25], [-1, 2.6, 30]),
    ({"type": "number", "exclusiveMinimum": 0}, [0.5, 3], [0, -1]),
    ({"type": "integer", "multipleOf": 5}, [0, 10, 35], [3, 12]),
    ({"type": "boolean"}, [True, False], [None, 0]),
    ({"type": ["integer", "null"]}, [3, None], ["", True]),
    ({"type": "string", "minLength": 1, "maxLength": 2}, ["a", "漢字", "😀é"], ["", "abc"]),
    ({"type": "string", "maxLength": 2}, ["", '"\\', "\n\t"], ["abc", '"""']),
    ({"type": "string", "pattern": "^a[0-9]+$"}, ["a12"], ["a", "ba1"]),
    ({"type": "string", "pattern": "b"}, ["b", "abc", '"b'], ["", "ac"]),
    ({"type": "string", "pattern": '^["\\\\a]+$'}, ['"', "a\\"], ["", "b"]),
    ({"enum": [1, "a", None, {"x": [1]}]}, [1, "a", None, {"x": [1]}], [2, "b", {"x": []}]),
    ({"enum": [1, "1", True, "true", None]}, [1, "1", True, "true", None], [0, "", False, "null"]),
    ({"enum": ["é", "漢", "a b"], "type": "string"}, ["é", "漢", "a b"], ["a", "b"]),
    ({"const": {"a": "é"}}, [{"a": "é"}], [{"a": "e"}, {}]),
    ({"const": 'a "quoted" \\ text\n'}, ['a "quoted" \\ text\n'], ["a"]),
    (
        {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2},
        [[True], [True, False]],
        [[], [1], [True] * 3],
    ),
    ({"type": "array", "items": {"type": "null"}, "maxItems": 0}, [[]], [[None]]),
    ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [[1, 2], [1, 2, 3]], [[], [1]]),
    (
        {"prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False, "minItems": 2, "type": "array"},
        [[1, "a"]],
        [[1], ["a", 1], [1, "a", 2]],
    ),
    (
        {"prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False, "type": "array"},
        [[], [1], [1, "a"]],
        [["a"]],
    ),
    (
        {**_CLOSED, "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}, "required": ["a"]},
        [{"a": 1}, {"a": 1, "b": "x"}],
        [{}, {"b": "x"}, {"a": 1, "c": 2}, {"a": "1"}],
    ),
    (
        {**_CLOSED, "properties": {name: {"type": "null"} for name in "abcd"}, "required": ["c"]},
        [{"c": None}, {"a": None, "c": None}, {"b": None, "c": None, "d": None}, dict.fromkeys("abcd")],
        [{}, {"a": None}, {"a": None, "d": None}],
    ),
    (
        {**_CLOSED, "properties": {name: {"type": "null"} for name in "ab"}},
        [{}, {"a": None}, {"b": None}],
        [{"c": None}],
    ),
    (_CLOSED, [{}], [{"a": 1}, []]),
    ({**_CLOSED, "properties": {'"é\\': {"const": 1}}, "required": ['"é\\']}, [{'"é\\': 1}], [{"é": 1}]),
    ({"type": "object", "additionalProperties": {"type": "integer"}}, [{}, {"é": 1, "x": 2}], [{"a": "b"}, []]),
    ({"type": "object", "properties": {"a": {"type": "null"}}}, [{}, {"a": None}, {"a": None, "b": 1}], [{"a": 1}, 3]),
    (
        {**_CLOSED, "properties": {"a": {"type": "integer"}}, "patternProperties": {"^x_": {"type": "string"}}},
        [{"a": 1}, {"x_1": "s"}],
        [{"x_1": 1}, {"y": 1}],
    ),
    ({"$defs": {"node": _NODE}, "$ref": "#/$defs/node"}, [{"kids": []}, {"kids": [{"kids": []}]}], [{}, {"kids": [1]}]),
    ({"$defs": {"a/b": {"type": "null"}}, "$ref": "#/$defs/a~1b"}, [None], [1]),
    ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, [1, None], ["", True]),
    ({"oneOf": [{"type": "integer"}, {"type": "string"}]}, [1, "a"], [None, 1.5]),
    ({"oneOf": [{"const": "a"}, {"enum": [1, 2]}]}, ["a", 1, 2], [3, "b"]),
    ({"allOf": [{"minimum": 2}, {"type": "integer", "maximum": 3}]}, [2, 3], [1, 4]),
    (
        {"type": "string", "format": "date"},
        ["2024-02-29", "0001-12-31"],
        ["2024-13-01", "2023-02-29", "0000-01-01", "x"],
    ),
    ({"type": "string", "format": "time"}, ["23:59:59Z", "00:00:00.25+02:00"], ["24:00:00Z", "12:00", "23:59:60Z"]),
    ({"type": "string", "format": "date-time"}, ["2024-02-28T23:59:59Z"], ["2024-02-30T00:00:00Z", "2024-02-28"]),
    ({"type": "string", "format": "uuid"}, ["123e4567-e89b-12d3-a456-426614174000"], ["123e4567"]),
    ({"type": "string", "format": "email"}, ["ab@c.org"], ["ab", "@c.org", "ab@"]),
    ({"type": "string", "format": "ipv4"}, ["10.0.0.255"], ["10.0.0.256", "10.0.0"]),
    (True, [1, "a", [], {"b": None}], []),
)
# Texts that say something beyond their value.
JSON_TEXT: Final[tuple[tuple[Any, list[str], list[str]], ...]] = (
    ({"type": "number"}, ["1e5", "-0.5E-3", "1.0"], ["01", ".5", "1.", "+1", "NaN"]),
    ({"type": "integer"}, ["7"], ["1.0", "1e2", "007"]),
    ({"type": "integer", "minimum": -3, "maximum": 7}, ["-3", "0", "7"], ["-4", "8", "00", "-03"]),
    ({"type": "string"}, [r'"\""', r'"\n"', r'"\\"', '"é"', '"😀"'], ['"\n"', '"', r'"\x"', "'a'", "a", r'"\ud83d"']),
    (
        {"type": "array", "items": {"type": "integer"}},
        ["[]", "[1]", "[1, 2]"],
        ["[1,2]", "[1,  2]", " [1]", "[1]\n", "[1,]", "[ ]"],
    ),
    (
        {**_CLOSED, "properties": {"a": {"type": "null"}, "b": {"type": "null"}}},
        ['{"a": null, "b": null}', "{}"],
        ['{"b": null, "a": null}', '{"a":null}', '{"a": null,}', '{"a": null, "a": null}', "{ }"],
    ),
    (
        {"type": "object", "properties": {"a": {"type": "null"}}, "additionalProperties": {"type": "integer"}},
        [r'{"a": null, "b\n\u001f": 1}', r'{"\\u0061": 1}', r'{"\\\"": 1}'],
        ['{"a": 1}', r'{"\u0061": 1}', r'{"a": null, "\u0061": 1}', r'{"\/": 1}', r'{"\ud83d": 1}'],
    ),
    (
        {"type": "object", "patternProperties": {"^x": {"type": "null"}}, "additionalProperties": {"type": "integer"}},
        ['{"x": null, "y": 1}'],
        ['{"x": 1}', r'{"\u0078": 1}', r'{"y": 1, "\u0078y": 1}'],
    ),
)
GRAMMAR: Final[tuple[tuple[str, list[str], list[str]], ...]] = (
    ('start: "a" ("b" | "c")+', ["ab", "acb"], ["a", "b", ""]),
    ("start: NAME\nNAME: /[a-z]+/", ["ab", "z"], ["", "A", "1"]),
)


def cases() -> tuple[Case, ...]:
    """Return every case of every kind."""
    return (
        *(Case(Regex(pattern), tuple(accepts), tuple(rejects)) for pattern, accepts, rejects in REGEX),
        *(Case(Choices(choices), tuple(accepts), tuple(rejects)) for choices, accepts, rejects in CHOICES),
        *(
            Case(JsonSchema(json.dumps(schema)), tuple(map(json_text, accepts)), tuple(map(json_text, rejects)))
            for schema, accepts, rejects in SCHEMA
        ),
        *(
            Case(JsonSchema(json.dumps(schema)), tuple(accepts), tuple(rejects))
            for schema, accepts, rejects in JSON_TEXT
        ),
        *(Case(Grammar(grammar), tuple(accepts), tuple(rejects)) for grammar, accepts, rejects in GRAMMAR),
    )


def json_text(value: Any) -> str:
    """Return the text of a JSON value as plugins write it."""
    return json.dumps(value, ensure_ascii=False)
