"""Every grammar plugin accepts exactly the right texts; plugins agree with each other, with `re` and `jsonschema`."""

from __future__ import annotations

import importlib.util
import itertools
import json
import random
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from ramify.backend import registry
from ramify.backend.api import constraint_kind
from ramify.backend.engine.grammar.api import GrammarCompiler
from ramify.backend.engine.grammar.conformance import awkward_vocabulary, check_case, check_plugin, compile_case
from ramify.backend.engine.grammar.conformance_cases import JSON_TEXT, REGEX, SCHEMA, Case, cases
from ramify.lang.constraints import Choices, Constraint, JsonSchema, Regex

NEEDS_EXTRA = pytest.mark.skipif(
    importlib.util.find_spec("xgrammar") is None, reason="the extra ramify[xgrammar] is not installed"
)
PLUGINS = [pytest.param(name, marks=[NEEDS_EXTRA] if name == "xgrammar" else []) for name in registry.names("grammars")]
CASES = cases()
FORMATS = jsonschema.Draft202012Validator.FORMAT_CHECKER

# What a plugin refuses of the cases of its kinds, by what stands in the schema; anything else it must take.
REFUSES = {
    "llguidance": (),
    "lark": (),
    "outlines": (
        *("multipleOf", "patternProperties", "oneOf", "allOf", "email", "ipv4", "#/$defs/node", "true", "number"),
        *('"additionalProperties": {', '{"type": "object", "properties": {"a": {"type": "null"}}}'),
    ),
    "xgrammar": (
        *("multipleOf", "patternProperties", "oneOf", "allOf", "email", "ipv4"),
        *(
            '"a": {"type": "null"}}, "additionalProperties": {',
            '{"type": "object", "properties": {"a": {"type": "null"}}}',
        ),
    ),
}


@pytest.fixture(scope="module")
def compiler_of(request: pytest.FixtureRequest) -> Iterator[Any]:
    made: dict[str, GrammarCompiler] = {}

    def compiler_of(name: str) -> GrammarCompiler:
        if name not in made:
            made[name] = registry.load("grammars", name)(awkward_vocabulary())
        return made[name]

    yield compiler_of
    for compiler in made.values():
        compiler.close()


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_plugin_keeps_the_contract_on_every_case(plugin: str, compiler_of: Any) -> None:
    kinds, vocabulary = registry.load("grammars", plugin).kinds, awkward_vocabulary()
    complaints, num_taken = [], 0
    for case in CASES:
        if constraint_kind(case.constraint) not in kinds:
            continue
        grammar = compile_case(compiler_of(plugin), case)
        text = case.constraint.schema if isinstance(case.constraint, JsonSchema) else ""
        if grammar is None:
            expected = any(part == text or (part != "true" and part in text) for part in REFUSES[plugin])
            complaints += [] if expected else [f"{case.constraint}: refused"]
            continue
        num_taken += 1
        complaints += [f"{case.constraint}: {what}" for what in check_case(grammar, vocabulary, case)]
    assert not complaints, "\n".join(complaints)
    assert num_taken


def test_the_suite_finds_a_plugin_that_breaks_its_promises() -> None:
    class Careless:
        """Every token is always legal, nothing is ever over."""

        kinds = frozenset({"regex"})
        num_bytes, can_stop, is_terminated = 0, True, False

        def __init__(self, vocabulary: Any) -> None: ...
        def compile(self, constraint: Constraint, *, timeout: float) -> Any:
            return self

        def close(self) -> None: ...
        def matcher(self) -> Any:
            return self

        def fill_mask(self, row: Any) -> None:
            row[:] = 0
            row[:8] = -1  # all single bytes

        def accept(self, token_id: int) -> bool:
            return True

        def forced(self) -> Any:
            return ()

        def rollback(self, num_tokens: int) -> None: ...
        def fork(self) -> Any:
            return self

    complaints = "\n".join(check_plugin(Careless))
    for what in (
        "although it is not of the plugin's kinds",
        "accepts 'abb'",
        "illegal token",
        "end-of-sequence is legal where",
        "does not end the output",
    ):
        assert what in complaints


@pytest.mark.parametrize(("pattern", "accepts", "rejects"), REGEX)
def test_the_cases_agree_with_re(pattern: str, accepts: list[str], rejects: list[str]) -> None:
    assert all(re.fullmatch(pattern, text) for text in accepts)
    assert not any(re.fullmatch(pattern, text) for text in rejects)


@pytest.mark.parametrize(("schema", "accepts", "rejects"), SCHEMA)
def test_the_cases_agree_with_jsonschema(schema: Any, accepts: list[Any], rejects: list[Any]) -> None:
    check = jsonschema.Draft202012Validator(schema, format_checker=FORMATS)
    known = not isinstance(schema, dict) or schema.get("format") not in ("time", "date-time", "email")
    assert all(check.is_valid(value) for value in accepts)
    assert not known or not any(
        check.is_valid(value) for value in rejects
    )  # it has no checker for times, and a lenient one for addresses


AGREEING = [(Regex(pattern), ("outlines", "llguidance")) for pattern, _, _ in REGEX] + [
    (JsonSchema(json.dumps(schema)), ("outlines", "llguidance")) for schema, _, _ in (*SCHEMA, *JSON_TEXT)
]


@pytest.mark.parametrize(("constraint", "names"), AGREEING, ids=lambda value: repr(value)[:60])
def test_plugins_agree_token_by_token(
    constraint: Constraint, names: tuple[str, str], compiler_of: Any, tools: Any
) -> None:
    grammars = [compile_case(compiler_of(name), Case(constraint, (), ())) for name in names]
    if None in grammars:
        assert isinstance(constraint, JsonSchema), "every regex is taken by both"
        return
    for seed in range(3):
        agree(*grammars, tools, random.Random(seed))


@pytest.mark.parametrize(
    "schema", [schema for schema, _, _ in (*SCHEMA, *JSON_TEXT)], ids=lambda value: str(value)[:60]
)
def test_a_schema_forces_the_same_runs_in_both_plugins(schema: Any, bpe_compilers: Any, bpe_tools: Any) -> None:
    """The service goes from one to the other where a schema is used often: no output may depend on when."""
    grammars = [
        compile_case(bpe_compilers[name], Case(JsonSchema(json.dumps(schema)), (), ()))
        for name in ("outlines", "llguidance")
    ]
    if None not in grammars:
        for seed in range(3):
            agree(*grammars, bpe_tools, random.Random(seed))


@NEEDS_EXTRA
def test_xgrammar_agrees_token_by_token(compiler_of: Any, tools: Any) -> None:
    for constraint in (*(Regex(pattern) for pattern, _, _ in REGEX), Choices(("a", "ab", "漢字", '"\\'))):
        grammars = [compile_case(compiler_of(name), Case(constraint, (), ())) for name in ("outlines", "xgrammar")]
        assert None not in grammars
        agree(*grammars, tools, random.Random(0))


def agree(first: Any, second: Any, tools: Any, rng: random.Random) -> None:
    """Walk two grammars side by side, mostly towards the end of the value, comparing every mask."""
    one, other = first.matcher(), second.matcher()
    for _ in range(30):
        legal = tools.legal_tokens(one)
        assert legal == tools.legal_tokens(other)
        assert (one.can_stop, one.is_terminated) == (other.can_stop, other.is_terminated)
        assert one.forced() == other.forced()
        if one.is_terminated:
            break
        closing = [token for token in legal if tools.vocabulary.token_bytes[token][:1] in b'"},]']
        token = rng.choice(sorted(closing if closing and rng.random() < 0.4 else legal))
        assert one.accept(token) and other.accept(token)


@pytest.mark.parametrize("plugin", ["llguidance", "outlines"])
@pytest.mark.parametrize("schema", [schema for schema, _, _ in SCHEMA], ids=lambda value: str(value)[:60])
def test_generated_json_satisfies_its_schema(schema: Any, plugin: str, compiler_of: Any, tools: Any) -> None:
    grammar = compile_case(compiler_of(plugin), Case(JsonSchema(json.dumps(schema)), (), ()))
    if grammar is None:
        assert any(part in json.dumps(schema) for part in REFUSES[plugin])
        return
    check = jsonschema.Draft202012Validator(schema, format_checker=FORMATS)
    for seed in range(8):
        text = tools.generate(grammar.matcher(), random.Random(seed), max_tokens=150)
        assert text is None or check.is_valid(json.loads(text)), text


def test_every_keyword_of_a_schema_is_tried() -> None:
    seen = set(
        itertools.chain.from_iterable(re.findall(r'"([a-zA-Z$]+)":', json.dumps(schema)) for schema, _, _ in SCHEMA)
    )
    wanted = (
        "type enum const minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minLength maxLength pattern "
        "format items prefixItems minItems maxItems properties required additionalProperties patternProperties "
        "anyOf oneOf allOf $ref $defs"
    )
    assert set(wanted.split()) <= seen
