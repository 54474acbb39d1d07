"""The table of docs/structured.md says what each grammar plugin holds; here every cell of it is tried."""

from __future__ import annotations

import importlib.util
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ramify.backend import registry
from ramify.backend.engine.grammar.api import GrammarCompiler
from ramify.lang.constraints import Choices, Constraint, Grammar, JsonSchema, Regex
from ramify.lang.errors import ConstraintError

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "structured.md"
PLUGINS = ("outlines", "llguidance", "lark", "xgrammar")
INSTALLED = [name for name in PLUGINS if name != "xgrammar" or importlib.util.find_spec("xgrammar") is not None]

Probe = tuple[Constraint, list[str], list[str]]


def schema(document: Any, accepts: list[Any], rejects: list[Any]) -> Probe:
    texts = [[json.dumps(value, ensure_ascii=False) for value in values] for values in (accepts, rejects)]
    return JsonSchema(json.dumps(document)), *texts


def of_format(name: str, good: str, bad: str) -> Probe:
    return schema({"type": "string", "format": name}, [good], [bad, ""])


_CLOSED: dict[str, Any] = {"type": "object", "additionalProperties": False}
_TAGGED = [
    {**_CLOSED, "properties": {"kind": {"const": name}, name: {"type": "integer"}}, "required": ["kind", name]}
    for name in ("a", "b")
]
_NODE = {**_CLOSED, "properties": {"kids": {"type": "array", "items": {"$ref": "#/$defs/n"}}}, "required": ["kids"]}

ROWS: dict[str, list[Probe]] = {
    "`choices=`": [(Choices(("yes", "no", "yes, please", "漢")), ["yes", "yes, please", "漢"], ["ye", "yesno", ""])],
    "`regex=`": [
        (Regex(r"a|ab"), ["a", "ab"], ["b", "abb"]),
        (Regex(r"\w+ \d{2}"), ["é漢 12", "a ٣1"], ["! 12", "a 1"]),
        (Regex(r"(?i)k[^a-c]"), ["K\n", "kd"], ["kA"]),
    ],
    "`regex=` with large counts": [(Regex(r"\w{0,1500}"), ["", "aé" * 20], ["a b"])],
    "`grammar=`": [
        (
            Grammar('start: "a" start "b" |\n%import common.WS_INLINE\n%ignore WS_INLINE'),
            ["", "ab", "aabb", "a ab b"],
            ["aab", "ba"],
        )
    ],
    "`type`, `enum`, `const`": [
        schema({"type": ["integer", "null"]}, [3, None], ["", 1.5]),
        schema({"enum": [1, "a", None, {"x": [True]}]}, [1, "a", None, {"x": [True]}], [2, "b", {}]),
        schema({"const": 'a"é\n'}, ['a"é\n'], ["a"]),
    ],
    "`properties`, `required`, `additionalProperties`": [
        schema(
            {**_CLOSED, "properties": {"a": {"type": "integer"}, "b": {"type": "boolean"}}, "required": ["a"]},
            [{"a": 1}, {"a": 1, "b": True}],
            [{}, {"b": True}, {"a": 1, "c": 2}],
        ),
        schema({"type": "object", "additionalProperties": {"type": "integer"}}, [{}, {"x": 1}], [{"x": ""}]),
    ],
    "`patternProperties`": [
        schema({**_CLOSED, "patternProperties": {"^x_": {"type": "null"}}}, [{"x_1": None}], [{"y": None}])
    ],
    "`minProperties`, `maxProperties`": [
        schema(
            {"type": "object", "additionalProperties": {"type": "null"}, "minProperties": 1, "maxProperties": 1},
            [{"a": None}],
            [{}, {"a": None, "b": None}],
        ),
        schema(
            {"type": "object", "additionalProperties": {"type": "null"}, "minProperties": 2},
            [{"a": None, "b": None}],
            [{"a": None}],
        ),
    ],
    "`items`, `prefixItems`, `minItems`, `maxItems`": [
        schema({"type": "array", "items": {"type": "null"}, "minItems": 1, "maxItems": 2}, [[None]], [[], [None] * 3]),
        schema(
            {"type": "array", "prefixItems": [{"type": "integer"}], "items": {"type": "string"}, "minItems": 1},
            [[1], [1, "a"]],
            [[], ["a"], [1, 2]],
        ),
    ],
    "`minLength`, `maxLength`": [
        schema({"type": "string", "minLength": 1, "maxLength": 2}, ["a", "漢字"], ["", "abc"])
    ],
    "`pattern`": [
        schema({"type": "string", "pattern": "^a[0-9]+$"}, ["a12"], ["a", "ba1"]),
        schema({"type": "string", "pattern": r"^\D$"}, ["a"], ["1"]),
    ],
    "bounds of integers": [schema({"type": "integer", "minimum": -3, "exclusiveMaximum": 12}, [-3, 0, 11], [-4, 12])],
    "bounds of numbers": [schema({"type": "number", "minimum": 0, "exclusiveMaximum": 2.5}, [0, 2.25], [-1, 2.5, 3])],
    "`multipleOf`": [schema({"type": "integer", "multipleOf": 5}, [0, 35], [3])],
    "`anyOf`": [schema({"anyOf": [{"type": "integer"}, {"type": "null"}]}, [1, None], ["", True])],
    "`oneOf`, alternatives told apart by a `const`": [
        schema({"oneOf": _TAGGED}, [{"kind": "a", "a": 1}, {"kind": "b", "b": 2}], [{"kind": "a", "b": 1}])
    ],
    "`allOf`": [schema({"allOf": [{"type": "integer", "minimum": 2}, {"maximum": 3}]}, [2, 3], [1, 4])],
    "`$ref` into `$defs`": [
        schema({"$defs": {"n": {"type": "null"}}, "type": "array", "items": {"$ref": "#/$defs/n"}}, [[None]], [[1]])
    ],
    "`$ref` to itself (recursion)": [
        schema({"$defs": {"n": _NODE}, "$ref": "#/$defs/n"}, [{"kids": [{"kids": []}]}], [{"kids": [1]}])
    ],
    "`format`: `date`, `time`, `date-time`, `uuid`": [
        of_format("date", "2024-02-29", "2023-02-29"),
        of_format("time", "23:59:59Z", "24:00:00Z"),
        of_format("date-time", "2024-02-29T23:59:59+01:00", "2024-02-29 23:59"),
        of_format("uuid", "123e4567-e89b-12d3-a456-426614174000", "123e4567"),
    ],
    "`format`: `email`, `hostname`, `ipv4`, `ipv6`, `uri`, `duration`": [
        of_format("email", "ada@example.org", "ada"),
        of_format("hostname", "example.org", "a b"),
        of_format("ipv4", "127.0.0.1", "127.0.0.256"),
        of_format("ipv6", "2001:db8::1", "2001:xyz::1"),
        of_format("uri", "https://example.org/a", "no uri"),
        of_format("duration", "P1DT2H", "1 day"),
    ],
    "`uniqueItems`, `contains`, `not`, `if`, `propertyNames`, `dependent…`, `unevaluated…`": [
        schema({"type": "array", "uniqueItems": True}, [[1]], [[1, 1]]),
        schema({"type": "array", "contains": {"const": 1}}, [[1]], [[]]),
        schema({"not": {"type": "null"}}, [1], [None]),
        schema({"if": {"type": "null"}, "then": False}, [1], [None]),
        schema({"type": "object", "propertyNames": {"maxLength": 1}}, [{"a": 1}], [{"ab": 1}]),
        schema({"dependentRequired": {"a": ["b"]}}, [{}], [{"a": 1}]),
        schema({"type": "object", "unevaluatedProperties": False}, [{}], [{"a": 1}]),
    ],
}


@pytest.fixture(scope="module")
def made(tools: Any) -> Iterator[dict[str, GrammarCompiler]]:
    compilers = {name: registry.load("grammars", name)(tools.vocabulary) for name in INSTALLED}
    yield compilers
    for compiler in compilers.values():
        compiler.close()


def cell(compiler: GrammarCompiler, probes: list[Probe], tools: Any) -> str:
    """What the table says: held, held in part, or refused. What a plugin compiles it must hold exactly."""
    compiled = []
    for constraint, accepts, rejects in probes:
        try:
            grammar = compiler.compile(constraint, timeout=10)
        except ConstraintError:
            continue
        compiled.append(constraint)
        for texts, wanted in ((accepts, True), (rejects, False)):
            for text in texts:
                is_held = tools.walk(grammar.matcher(), text.encode(), random.Random(0))
                assert is_held is wanted, f"{text} under {constraint}"
    return "yes" if len(compiled) == len(probes) else "in part" if compiled else "–"


@pytest.mark.parametrize("row", ROWS)
def test_the_table_says_what_is_held(row: str, made: dict[str, GrammarCompiler], tools: Any) -> None:
    found = [cell(made[name], ROWS[row], tools) for name in INSTALLED]
    shown = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| {row} |")]
    assert [part.strip() for line in shown for part in line.strip("|").split("|")][1 : 1 + len(found)] == found


def test_the_table_has_a_row_for_each_and_a_column_for_each_plugin() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("| held |"))
    assert [part.strip(" `") for part in lines[start].strip("|").split("|")][1:] == list(PLUGINS)
    rows = [line.split(" | ")[0].removeprefix("| ") for line in lines[start + 2 : start + 2 + len(ROWS)]]
    assert rows == list(ROWS)
    assert set(PLUGINS) == set(registry.names("grammars"))
