"""Whole masks against brute force, and what matchers promise: end of sequence, dead ends, rollback, fork."""

from __future__ import annotations

import itertools
import json
import random
import re
from typing import Any

import pytest

from ramify.backend import registry
from ramify.lang.constraints import Choices, Constraint, Grammar, JsonSchema, Regex
from ramify.lang.errors import ConstraintError, DeadEndError

# Constraints with a finite language, and all its texts: then a token is legal exactly where some text goes on with it.
FINITE: list[tuple[str, Constraint, list[str]]] = [
    (
        "outlines",
        Choices(("yes", "no", "yes, please", "é", "è", "漢字x")),
        ["yes", "no", "yes, please", "é", "è", "漢字x"],
    ),
    (
        "outlines",
        Regex("(a|ab|b){0,3}é?"),
        [*{"".join(p) + e for n in range(4) for p in itertools.product(("a", "ab", "b"), repeat=n) for e in ("", "é")}],
    ),
    (
        "llguidance",
        Regex("(a|ab|b){0,3}é?"),
        [*{"".join(p) + e for n in range(4) for p in itertools.product(("a", "ab", "b"), repeat=n) for e in ("", "é")}],
    ),
    ("outlines", Regex("[漢字é]{2}|a"), ["a", *("".join(p) for p in itertools.product("漢字é", repeat=2))]),
    (
        "llguidance",
        JsonSchema('{"enum": [true, "a", "ab", 12, null, "é\\""]}'),
        ["true", '"a"', '"ab"', "12", "null", '"é\\""'],
    ),
    ("llguidance", JsonSchema('{"type": "boolean"}'), ["true", "false"]),
]
PLUGIN_OF = {
    "outlines": Regex("(yes|no)[0-9]{1,2}"),
    "llguidance": JsonSchema('{"type": "array", "items": {"type": "boolean"}}'),
}


@pytest.mark.parametrize(("plugin", "constraint", "texts"), FINITE, ids=lambda value: repr(value)[:40])
def test_masks_equal_brute_force_over_every_token(
    plugin: str, constraint: Constraint, texts: list[str], compilers: Any, tools: Any
) -> None:
    vocabulary = tools.vocabulary
    language = [text.encode() for text in texts]
    plain = [t for t, text in enumerate(vocabulary.token_bytes) if text and t not in vocabulary.special_ids]
    grammar = compilers[plugin].compile(constraint, timeout=5)
    seen: set[bytes] = set()
    pending = [(b"", grammar.matcher())]
    while pending:
        prefix, matcher = pending.pop()
        rests = [text[len(prefix) :] for text in language if text.startswith(prefix)]
        expected = {t for t in plain if any(rest.startswith(vocabulary.token_bytes[t]) for rest in rests)}
        assert matcher.can_stop == (b"" in rests)
        if matcher.can_stop:
            expected |= vocabulary.eos_ids
        assert tools.legal_tokens(matcher) == expected, prefix
        assert not prefix or matcher.is_terminated == (rests == [b""])
        for token in expected - vocabulary.eos_ids:
            further = prefix + vocabulary.token_bytes[token]
            if further not in seen:
                seen.add(further)
                successor = matcher.fork()
                assert successor.accept(token)
                pending.append((further, successor))
    assert set(language) <= seen | {b""}


@pytest.mark.parametrize("plugin", PLUGIN_OF)
def test_only_legal_tokens_are_accepted_and_a_refusal_changes_nothing(plugin: str, compilers: Any, tools: Any) -> None:
    vocabulary, rng = tools.vocabulary, random.Random(3)
    matcher = compilers[plugin].compile(PLUGIN_OF[plugin], timeout=5).matcher()
    for _ in range(4):
        legal = tools.legal_tokens(matcher)
        for token in set(range(vocabulary.size)) - legal:
            assert not matcher.accept(token)
        assert tools.legal_tokens(matcher) == legal
        if legal <= vocabulary.eos_ids:
            break
        assert matcher.accept(rng.choice(sorted(legal - vocabulary.eos_ids)))


@pytest.mark.parametrize("plugin", PLUGIN_OF)
def test_special_and_empty_tokens_are_never_legal(plugin: str, compilers: Any, tools: Any) -> None:
    vocabulary = tools.vocabulary
    anything = {"outlines": Regex("(?s).*"), "llguidance": Regex("(?s).*")}[plugin]
    matcher = compilers[plugin].compile(anything, timeout=5).matcher()
    legal = tools.legal_tokens(matcher)
    assert vocabulary.eos_ids <= legal
    assert not legal & (vocabulary.special_ids - vocabulary.eos_ids)
    assert not any(not vocabulary.token_bytes[token] for token in legal)
    # every other token is legal, but those that begin with a byte in the middle of a character
    begins_well = {t for t, text in enumerate(vocabulary.token_bytes) if text and t not in vocabulary.special_ids}
    begins_well = {t for t in begins_well if _may_begin_text(vocabulary.token_bytes[t])}
    assert legal - vocabulary.eos_ids == begins_well


def _may_begin_text(text: bytes) -> bool:
    for length in range(4):
        for tail in itertools.product((0x80, 0x90, 0xBF), repeat=length):
            try:
                decoded = (text + bytes(tail)).decode("utf-8")
            except UnicodeDecodeError:
                continue
            return not any(ord(character) > 0x10FFFD for character in decoded)
    return False


@pytest.mark.parametrize("plugin", PLUGIN_OF)
def test_end_of_sequence_is_accepted_only_where_complete_and_ends_everything(
    plugin: str, compilers: Any, tools: Any
) -> None:
    vocabulary = tools.vocabulary
    text = {"outlines": b"yes1", "llguidance": b"[true]"}[plugin]
    matcher = compilers[plugin].compile(PLUGIN_OF[plugin], timeout=5).matcher()
    eos = min(vocabulary.eos_ids)
    for byte in text:
        assert not matcher.can_stop and not matcher.accept(eos)
        assert matcher.accept(byte)
    assert matcher.can_stop and matcher.accept(eos)
    assert matcher.is_terminated and matcher.can_stop
    assert not matcher.accept(eos) and not matcher.accept(text[0])
    assert tools.legal_tokens(matcher) == set()
    matcher.rollback(1)
    assert matcher.can_stop and vocabulary.eos_ids <= tools.legal_tokens(matcher)


@pytest.mark.parametrize("plugin", PLUGIN_OF)
def test_rollback_and_fork_restore_and_separate_states(plugin: str, compilers: Any, tools: Any) -> None:
    rng = random.Random(5)
    for _ in range(10):
        matcher = compilers[plugin].compile(PLUGIN_OF[plugin], timeout=5).matcher()
        history = [tools.legal_tokens(matcher)]
        while len(history) < 9 and not matcher.is_terminated:
            assert matcher.accept(rng.choice(sorted(history[-1])))
            if matcher.is_terminated:
                break
            history.append(tools.legal_tokens(matcher))
        accepted = len(history) - 1 + matcher.is_terminated
        back = rng.randint(0, accepted)
        fork = matcher.fork()
        before = (matcher.can_stop, matcher.is_terminated)
        fork.rollback(back)
        if back or not fork.is_terminated:
            assert tools.legal_tokens(fork) == history[accepted - back]
        assert (matcher.can_stop, matcher.is_terminated) == before


@pytest.mark.parametrize("plugin", PLUGIN_OF)
def test_a_vocabulary_without_the_needed_bytes_is_a_dead_end(plugin: str, tools_of: Any) -> None:
    tools = tools_of(b'yesno[]tru ,"')
    constraint = {"outlines": Regex("(yes|no)[0-9]"), "llguidance": JsonSchema('{"const": "yes~"}')}[plugin]
    compiler = registry.load("grammars", plugin)(tools.vocabulary)
    try:
        matcher = compiler.compile(constraint, timeout=5).matcher()
        for byte in {"outlines": b"yes", "llguidance": b'"yes'}[plugin]:
            assert matcher.accept(tools.vocabulary.token_bytes.index(bytes([byte])))
        with pytest.raises(DeadEndError):
            matcher.fill_mask(tools_row(tools))
    finally:
        compiler.close()


def tools_row(tools: Any) -> Any:
    import numpy as np

    return np.zeros(-(-tools.vocabulary.size // 32), dtype=np.int32)


def test_masks_are_forgotten_when_they_hold_too_much(compilers: Any, tools: Any, monkeypatch: Any) -> None:
    from ramify.backend.engine.grammar import automaton_grammar

    monkeypatch.setattr(automaton_grammar, "MAX_MASK_BYTES", 200)
    grammar = compilers["outlines"].compile(Regex("[0-9]{1,30}"), timeout=5)
    empty = grammar.num_bytes
    first = tools.generate(grammar.matcher(), random.Random(1))
    assert grammar.num_bytes <= empty + 200
    assert tools.generate(grammar.matcher(), random.Random(1)) == first


def test_json_with_many_branches_stays_right_over_long_texts(compilers: Any, tools: Any) -> None:
    schema = {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}}
    grammar = compilers["llguidance"].compile(JsonSchema(json.dumps(schema)), timeout=5)
    value = {f"key {i}": ["é漢", 'quo"te', "\\"] * (i % 3) for i in range(30)}
    assert tools.walk(grammar.matcher(), json.dumps(value, ensure_ascii=False).encode(), random.Random(0))


@pytest.mark.parametrize("plugin", PLUGIN_OF)
def test_a_kind_that_a_plugin_does_not_take_is_refused(plugin: str, compilers: Any) -> None:
    other = {"outlines": Grammar('start: "a"'), "llguidance": Choices(("a",))}[plugin]
    with pytest.raises(ConstraintError, match=re.escape(plugin)):
        compilers[plugin].compile(other, timeout=5)
