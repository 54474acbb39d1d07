"""The compile service: which plugin, one compile for many, deadlines, bounds, failures that poison nothing."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from ramify.backend import registry
from ramify.backend.engine.grammar import service as service_module
from ramify.backend.engine.grammar.service import GrammarService
from ramify.lang.constraints import Choices, Constraint, Grammar, JsonSchema, Regex
from ramify.lang.errors import ClosedError, ConstraintError, ParameterError, PluginError


@pytest.fixture
def service(tools: Any) -> Iterator[GrammarService]:
    made = GrammarService(tools.vocabulary)
    yield made
    made.close()


class Compiled:
    """A grammar that does nothing and claims to hold `num_bytes`."""

    def __init__(self, num_bytes: int = 0) -> None:
        self.num_bytes = num_bytes


class Plugin:
    """Runs `behaviour` instead of compiling; its own factory."""

    kinds = frozenset({"regex"})

    def __init__(self, behaviour: Callable[[str], Any]) -> None:
        self.behaviour = behaviour
        self.calls: list[str] = []
        self.closed = False

    def __call__(self, vocabulary: Any) -> Plugin:
        return self

    def compile(self, constraint: Regex, *, timeout: float) -> Any:
        self.calls.append(constraint.pattern)
        return self.behaviour(constraint.pattern)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch, tools: Any) -> Iterator[Callable[..., GrammarService]]:
    """Make a service over one fake plugin."""
    made: list[GrammarService] = []

    def serve(plugin: Plugin, timeout: float = 5.0) -> GrammarService:
        monkeypatch.setattr(registry, "load", lambda group, name: plugin)
        monkeypatch.setattr(service_module, "_GRACE", 0.0)
        made.append(GrammarService(tools.vocabulary, "fake", timeout=timeout))
        return made[-1]

    yield serve
    for service in made:
        service.close()


@pytest.mark.parametrize(
    ("constraint", "grammar"),
    [
        (Regex("[0-9]+"), "AutomatonGrammar"),
        (Choices(("a", "b")), "AutomatonGrammar"),
        (JsonSchema('{"type": "integer"}'), "LlguidanceGrammar"),
        (Regex(r"\w{0,500}"), "LlguidanceGrammar"),  # 190,000 states as an automaton
    ],
    ids=str,
)
def test_auto_picks_the_engine_by_kind_and_size(constraint: Constraint, grammar: str, service: GrammarService) -> None:
    assert type(service.compile(constraint).result(10)).__name__ == grammar


def test_an_exploding_regex_goes_to_lazy_derivatives(tools: Any) -> None:
    service = GrammarService(tools.vocabulary, timeout=0.6)
    try:
        grammar = service.compile(Regex("(?:a|b)*a(?:a|b){22}")).result(10)
        assert type(grammar).__name__ == "LlguidanceGrammar"
    finally:
        service.close()


def test_auto_takes_every_kind(service: GrammarService) -> None:
    assert service.kinds == {"regex", "choices", "json_schema", "grammar"}


def test_a_named_plugin_serves_its_own_kinds_only_and_is_named_for_the_rest(tools: Any) -> None:
    service = GrammarService(tools.vocabulary, "outlines")
    try:
        assert service.kinds == {"regex", "choices", "json_schema"}
        service.compile(Regex("a")).result(5)
        with pytest.raises(ConstraintError, match=r"kind 'grammar' \(outlines: choices, json_schema, regex\)"):
            service.compile(Grammar('start: "a"')).result(5)
    finally:
        service.close()
    with pytest.raises(PluginError, match="did you mean 'outlines'"):
        GrammarService(tools.vocabulary, "outline")


@pytest.mark.parametrize(
    ("constraint", "reason"),
    [
        (Regex("a("), "position 1"),
        (Regex("\ud800"), "lone surrogate"),
        (Choices(tuple(f"choice {i}" for i in range(10_001))), "10001 choices; at most 10000"),
        (Choices(tuple(chr(0x4E00 + i) * 3000 for i in range(100))), "too long together"),
        (JsonSchema("{"), "not JSON: .*line 1 column 2"),
        (JsonSchema("[1]"), "an object or a boolean, got list"),
        (JsonSchema('{"type": "strin"}'), "Invalid type: strin"),
        (JsonSchema('{"$ref": "#/$defs/missing"}'), "does not exist"),
        (JsonSchema('{"$ref": "https://example.com/schema"}'), "cannot be compiled"),
        (JsonSchema('{"$ref": "#"}'), "nothing satisfies it"),
        (JsonSchema(r'{"const": "\ud800"}'), "cannot be compiled"),
        (JsonSchema("false"), "Unsatisfiable"),
        (JsonSchema('{"enum": []}'), "Unsatisfiable"),
        (JsonSchema('{"type": "integer", "minimum": 3, "maximum": 2}'), "Unsatisfiable"),
        (JsonSchema('{"type": "string", "pattern": "("}'), "unclosed group"),
        (
            JsonSchema('{"type": "string", "pattern": "a(?=b)"}'),
            r"pattern .a\(\?=b\). with look-ahead or look-behind at /",
        ),
        (JsonSchema('{"oneOf": [{"type": "integer"}, {"minimum": 2}]}'), "oneOf"),
        (
            JsonSchema('{"properties": {"a": {"not": {}}}, "uniqueItems": true}'),
            "uniqueItems at /, not at /properties/a",
        ),
        (JsonSchema('{"anyOf": [{"items": {"contains": {}}}]}'), "contains at /anyOf/0/items"),
        (JsonSchema('{"$defs": {"x": {"x-guidance": {"lenient": true}}}}'), r"x-guidance at /\$defs/x"),
        (JsonSchema('{"type": "string", "format": "iri"}'), "format 'iri' at /"),
        (JsonSchema('{"type": ["string", "null"], "format": "unknown"}'), "format 'unknown' at /"),
        (JsonSchema('{"properties": {"\\u0001": {}}}'), "a property with a control character at /"),
        (JsonSchema('{"type": "object", "minProperties": 2}'), "minProperties at /"),
        (JsonSchema('{"items": {"properties": {"a": {}}, "maxProperties": 3}}'), "maxProperties at /items"),
        (JsonSchema('{"items":' * 70 + "{}" + "}" * 70), "nested too deeply; at most 64"),
        (JsonSchema("[" * 30_000 + "]" * 30_000), "nested too deeply"),
        (JsonSchema(json.dumps({"enum": list(range(10_001))})), "an enum of 10001 values"),
        (JsonSchema('{"description": "' + "x" * 70_000 + '"}'), "characters long; at most 65536"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_what_cannot_be_enforced_fails_with_the_reason(
    constraint: Constraint, reason: str, service: GrammarService
) -> None:
    with pytest.raises(ConstraintError, match=f"(?s){reason}"):
        service.compile(constraint).result(10)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), True, "5"])
def test_a_deadline_is_a_positive_number_of_seconds(timeout: Any, tools: Any) -> None:
    with pytest.raises(ParameterError, match="compile_timeout must be a positive number of seconds"):
        GrammarService(tools.vocabulary, timeout=timeout)


def test_names_and_data_that_look_like_keywords_are_left_alone(service: GrammarService) -> None:
    schema = {
        "type": "object",
        "properties": {"not": {"const": {"contains": 1}}, "if": {"enum": [{"not": 1}], "default": {"not": 2}}},
        "uniqueItems": False,
    }
    service.compile(JsonSchema(json.dumps(schema))).result(5)


def test_equal_constraints_share_one_compile_and_its_result(serve: Any) -> None:
    gate = threading.Event()
    plugin = Plugin(lambda pattern: (gate.wait(5), Compiled())[1])
    service = serve(plugin)
    futures = [service.compile(Regex("a")) for _ in range(5)]
    gate.set()
    (grammar,) = {future.result(5) for future in futures}
    assert service.compile(Regex("a")).result(0) is grammar
    assert plugin.calls == ["a"]


def grammar_after(service: GrammarService, constraint: Constraint, calls: int, plugin: str | None = None) -> str:
    """The type of the grammar once it has been asked for `calls` times and the workers are idle."""
    for _ in range(calls):
        grammar = service.compile(constraint, plugin).result(10)
    deadline = time.monotonic() + 10
    while service._num_workers and time.monotonic() < deadline:
        time.sleep(0.005)
    with service._lock:
        grammar = service._cache[constraint, plugin].grammar
    return type(grammar).__name__


def test_a_schema_that_is_asked_for_often_becomes_an_automaton(service: GrammarService, tools: Any) -> None:
    schema = JsonSchema('{"type": "array", "items": {"type": "integer"}}')
    hits = service_module.HITS_BEFORE_UPGRADE
    assert grammar_after(service, schema, calls=hits) == "LlguidanceGrammar"
    before = tools.legal_tokens(service.compile(schema).result(0).matcher())  # one more: it is upgraded aside
    assert grammar_after(service, schema, calls=1) == "AutomatonGrammar"
    assert tools.legal_tokens(service.compile(schema).result(0).matcher()) == before


@pytest.mark.parametrize(
    ("constraint", "plugin", "grammar"),
    [
        (JsonSchema('{"anyOf": [{"type": "array", "items": {"$ref": "#"}}, {"const": 1}]}'), None, "LlguidanceGrammar"),
        (JsonSchema('{"type": "integer"}'), "llguidance", "LlguidanceGrammar"),
    ],
)
def test_what_no_automaton_holds_or_a_plugin_was_named_for_stays(
    constraint: Constraint, plugin: str | None, grammar: str, service: GrammarService
) -> None:
    assert grammar_after(service, constraint, service_module.HITS_BEFORE_UPGRADE + 3, plugin) == grammar
    other = JsonSchema('{"type": "boolean"}')  # the next upgrade is not held up
    assert grammar_after(service, other, service_module.HITS_BEFORE_UPGRADE + 1) == "AutomatonGrammar"


def test_one_cancelled_waiter_does_not_cancel_the_others(serve: Any) -> None:
    gate = threading.Event()
    service = serve(Plugin(lambda pattern: (gate.wait(5), Compiled())[1]))

    async def main() -> None:
        first, second = (asyncio.ensure_future(asyncio.wrap_future(service.compile(Regex("a")))) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        gate.set()
        assert isinstance(await second, Compiled)

    asyncio.run(main())


def test_a_compile_past_its_deadline_fails_and_others_go_on(serve: Any) -> None:
    gate = threading.Event()
    plugin = Plugin(lambda pattern: (gate.wait(10) if pattern.startswith("slow") else None, Compiled())[1])
    service = serve(plugin, timeout=0.1)
    slow = [service.compile(Regex(f"slow{i}")) for i in range(2)]  # both workers
    start = time.monotonic()
    for future in slow:
        with pytest.raises(ConstraintError, match=r"longer than 0\.1 s"):
            future.result(5)
    assert time.monotonic() - start < 3
    assert service.compile(Regex("fast")).result(5)
    gate.set()
    assert service.compile(Regex("slow0")).result(5)  # the failure was not kept


def test_compiles_that_never_return_do_not_pile_up(serve: Any) -> None:
    gate = threading.Event()
    service = serve(Plugin(lambda pattern: (gate.wait(20), Compiled())[1]), timeout=0.02)
    for i in range(service_module.MAX_ABANDONED):
        with pytest.raises(ConstraintError, match="longer than"):
            service.compile(Regex(f"slow{i}")).result(5)
    with pytest.raises(ConstraintError, match="still compiling"):
        service.compile(Regex("another")).result(5)
    gate.set()
    deadline = time.monotonic() + 5
    while True:  # the workers return in their own time
        try:
            assert service.compile(Regex("another")).result(5)
            break
        except ConstraintError:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_plugin_that_crashes_fails_only_its_own_constraint(serve: Any) -> None:
    def behave(pattern: str) -> Any:
        if pattern == "bad":
            raise ZeroDivisionError("inside the plugin")
        return Compiled()

    service = serve(Plugin(behave))
    with pytest.raises(PluginError, match="ZeroDivisionError: inside the plugin"):
        service.compile(Regex("bad")).result(5)
    assert service.compile(Regex("good")).result(5)


def test_the_cache_is_bounded_by_bytes_and_keeps_what_was_used_last(serve: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(service_module, "CACHE_BYTES", 100)
    plugin = Plugin(lambda pattern: Compiled(40))
    service = serve(plugin)
    for pattern in ("a", "b", "a", "c", "a", "b"):
        service.compile(Regex(pattern)).result(5)
    assert plugin.calls == ["a", "b", "c", "b"]


def test_grammars_that_grow_are_dropped_in_time(serve: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(service_module, "CACHE_BYTES", 100)
    service = serve(Plugin(lambda pattern: Compiled(10)))
    grammars = [service.compile(Regex(pattern)).result(5) for pattern in "abc"]
    grammars[0].num_bytes = 95  # its masks
    for _ in range(service_module._HITS_BETWEEN_CHECKS):
        assert service.compile(Regex("c")).result(5) is grammars[2]
    assert service.compile(Regex("b")).result(5) is grammars[1]
    assert service.compile(Regex("a")).result(5) is not grammars[0]


def test_the_cache_is_bounded_by_number(serve: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(service_module, "MAX_CACHED", 2)
    plugin = Plugin(lambda pattern: Compiled())
    service = serve(plugin)
    for pattern in ("a", "b", "c", "a"):
        service.compile(Regex(pattern)).result(5)
    assert plugin.calls == ["a", "b", "c", "a"]


def test_closing_fails_what_is_under_way_and_refuses_the_rest(serve: Any) -> None:
    gate = threading.Event()
    plugin = Plugin(lambda pattern: (gate.wait(5), Compiled())[1])
    service = serve(plugin)
    futures = [service.compile(Regex(pattern)) for pattern in "abc"]
    service.close()
    for future in futures:
        with pytest.raises(ClosedError):
            future.result(5)
    with pytest.raises(ClosedError):
        service.compile(Regex("d"))
    gate.set()


def test_many_threads_compile_and_match_at_once(service: GrammarService, tools: Any) -> None:
    constraints = [
        Regex("(yes|no)+[0-9]{2}"),
        Choices(("a", "ab")),
        JsonSchema('{"type": "array", "items": {"type": "integer"}}'),
    ]
    expected = {}
    for constraint in constraints:
        expected[constraint] = tools.legal_tokens(service.compile(constraint).result(10).matcher())
    wrong: list[Constraint] = []

    def use() -> None:
        for constraint in constraints * 10:
            matcher = service.compile(constraint).result(10).matcher()
            row = np.zeros(-(-tools.vocabulary.size // 32), dtype=np.int32)
            matcher.fill_mask(row)
            if tools.legal_tokens(matcher) != expected[constraint]:
                wrong.append(constraint)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
