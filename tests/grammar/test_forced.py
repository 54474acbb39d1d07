"""Forced text: the runs are what the tokeniser would write, and output is the same with them and without."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramify.backend.engine.grammar.forced_text import MAX_RUN_LEN, ForcedText
from ramify.lang.constraints import Choices, Constraint, JsonSchema, Regex
from ramify.lang.errors import ConstraintError

SCHEMA = JsonSchema(
    json.dumps(
        {
            "type": "object",
            "properties": {
                "name": {"type": "string", "maxLength": 6},
                "country_code": {"const": "Zoë 漢字 \\ a long constant"},
                "age": {"type": "integer", "minimum": 0, "maximum": 130},
                "list": {"type": "array", "items": {"enum": ["never", "never in my life", None]}, "maxItems": 3},
            },
            "required": ["name", "country_code", "age", "list"],
            "additionalProperties": False,
        }
    )
)
CASES: list[tuple[str, Constraint, str]] = [
    (
        "llguidance",
        SCHEMA,
        '{"name": "Zoë", "country_code": "Zoë 漢字 \\\\ a long constant", "age": 12, "list": []}',
    ),
    ("llguidance", Regex("ID: [0-9]{2} the end( of line)?"), "ID: 17 the end of line"),
    ("outlines", Regex("ID: [0-9]{2} the end( of line)?"), "ID: 17 the end"),
    ("outlines", Choices(("yes, in my life", "no, never", "no", "漢字 never", "漢漢 never")), "漢字 never"),
    ("outlines", Choices(("yes, in my life", "no, never", "no")), "no, never"),
    ("outlines", Regex("(é|è|ê) the end\n"), "è the end\n"),
]
PIECES = ['"', '": ', " ", "  ", "\n", "name", "n", "a", "12", "é", "漢字", "{", "}", ",", "true", "_code", "ye", "s"]
_texts = st.lists(st.sampled_from(PIECES), max_size=6).map("".join)


@settings(max_examples=300)
@given(text=_texts, rest=_texts)
def test_no_continuation_changes_a_run(text: str, rest: str, bpe_tools: Any) -> None:
    tokenize = bpe_tools.vocabulary.tokenize
    forced = ForcedText(bpe_tools.vocabulary)
    anything = forced.run(text.encode(), lambda byte: True)
    assert tuple(tokenize(text + rest)[: len(anything)]) == anything
    following = rest.encode()[:1]
    told = forced.run(text.encode(), following.__contains__)
    assert tuple(tokenize(text + rest)[: len(told)]) == told
    assert told[: len(anything)] == anything, "knowing what follows never forces less"
    if not rest:
        assert told == tuple(tokenize(text)), "nothing can follow: all of it is forced"


@pytest.mark.parametrize(("plugin", "constraint", "text"), CASES)
def test_the_tokenisers_own_tokens_are_legal_and_runs_are_among_them(
    plugin: str, constraint: Constraint, text: str, bpe_compilers: Any, bpe_tools: Any
) -> None:
    matcher = bpe_compilers[plugin].compile(constraint, timeout=5).matcher()
    ids = list(bpe_tools.vocabulary.tokenize(text))
    num_forced = 0
    for index, token in enumerate(ids):
        run = matcher.forced()
        assert tuple(ids[index : index + len(run)]) == run
        num_forced += bool(run)
        assert token in bpe_tools.legal_tokens(matcher)
        assert matcher.accept(token)
    assert matcher.can_stop
    assert num_forced


@pytest.mark.parametrize(("plugin", "constraint", "text"), CASES)
@pytest.mark.parametrize("seed", range(5))
def test_output_is_the_same_with_runs_and_without(
    plugin: str, constraint: Constraint, text: str, seed: int, bpe_compilers: Any, bpe_tools: Any
) -> None:
    grammar = bpe_compilers[plugin].compile(constraint, timeout=5)
    outputs = []
    for use_runs in (False, True):
        matcher, rng = grammar.matcher(), random.Random(seed)
        output: list[int] = []
        while not matcher.is_terminated:
            run = matcher.forced() if use_runs else ()
            if not run:
                legal = sorted(bpe_tools.legal_tokens(matcher))
                # drawing from one token takes nothing from the generator, as a sampler's draw is tied to its position
                run = (legal[0] if len(legal) == 1 else rng.choice(legal),)
            assert not bpe_tools.vocabulary.eos_ids & set(run) or len(run) == 1
            for token in run:
                assert matcher.accept(token)
            output += run
        outputs.append(output)
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize(("plugin", "constraint", "text"), CASES)
def test_inside_a_run_only_its_next_token_is_legal_and_rollback_and_fork_keep_the_rest(
    plugin: str, constraint: Constraint, text: str, bpe_compilers: Any, bpe_tools: Any
) -> None:
    matcher = bpe_compilers[plugin].compile(constraint, timeout=5).matcher()
    for token in bpe_tools.vocabulary.tokenize(text):
        run = matcher.forced()
        for index, forced in enumerate(run):
            assert bpe_tools.legal_tokens(matcher) == {forced}
            assert matcher.forced() == run[index:]
            assert not any(matcher.accept(other) for other in range(bpe_tools.vocabulary.size) if other != forced)
            fork = matcher.fork()
            assert fork.forced() == run[index:]
            assert matcher.accept(forced)
            assert fork.forced() == run[index:] and bpe_tools.legal_tokens(fork) == {forced}
        matcher.rollback(len(run))
        assert matcher.forced() == run
        assert matcher.accept(token)


@pytest.mark.parametrize(("plugin", "constraint", "text"), CASES)
def test_without_a_tokeniser_nothing_is_forced(
    plugin: str, constraint: Constraint, text: str, compilers: Any, tools: Any
) -> None:
    matcher = compilers[plugin].compile(constraint, timeout=5).matcher()
    for byte in text.encode():
        assert matcher.forced() == ()
        assert matcher.accept(byte)


def test_a_long_text_comes_in_bounded_runs(bpe_compilers: Any, bpe_tools: Any) -> None:
    text = "never in my life " * 400
    matcher = bpe_compilers["outlines"].compile(Choices((text,)), timeout=5).matcher()
    output: list[int] = []
    while not matcher.is_terminated:
        run = matcher.forced()
        assert 0 < len(run) <= MAX_RUN_LEN
        output += run
        assert all(matcher.accept(token) for token in run)
    assert output == bpe_tools.vocabulary.tokenize(text)


def test_a_tokeniser_that_changes_text_forces_nothing(bpe_tools: Any) -> None:
    upper = replace(bpe_tools.vocabulary, tokenize=lambda text: bpe_tools.vocabulary.tokenize(text.upper()))
    assert ForcedText(upper).run(b"never in", lambda byte: False) == ()
    assert ForcedText(upper).run(b"12 34", lambda byte: False) != ()


def test_half_a_character_is_left_to_the_model(bpe_tools: Any) -> None:
    forced = ForcedText(bpe_tools.vocabulary)
    whole, half = b"yes, ", "漢".encode()[:2]
    spelled = [bpe_tools.vocabulary.token_bytes[token] for token in forced.run(whole + half, lambda byte: True)]
    assert whole.startswith(b"".join(spelled)) and spelled
    assert forced.run(half[1:] + whole, lambda byte: True) == ()


def test_the_text_of_a_run_is_what_the_constraint_forces(bpe_compilers: Any, bpe_tools: Any) -> None:
    matcher = bpe_compilers["llguidance"].compile(SCHEMA, timeout=5).matcher()
    run = matcher.forced()
    spelled = b"".join(bpe_tools.vocabulary.token_bytes[token] for token in run).decode()
    assert re.fullmatch(r'\{"name":? ?', spelled), spelled


def test_forced_text_beyond_the_library_s_limits_is_refused_not_written(bpe_compilers: Any, bpe_tools: Any) -> None:
    """The library stops at its limit without a word, and takes no token from there on."""
    compile, nulls = bpe_compilers["llguidance"].compile, {"type": "array", "items": {"type": "null"}}
    with pytest.raises(ConstraintError, match="too large"):
        compile(JsonSchema(json.dumps({**nulls, "minItems": 1_000_000})), timeout=5)
    either = {"anyOf": [{"type": "integer"}, {**nulls, "minItems": 1_000_000}]}
    matcher = compile(JsonSchema(json.dumps(either)), timeout=5).matcher()
    assert matcher.accept(bpe_tools.vocabulary.token_bytes.index(b"["))
    assert matcher.forced() == () and bpe_tools.legal_tokens(matcher) == set()
    long = compile(JsonSchema(json.dumps({**nulls, "minItems": 3_000, "maxItems": 3_000})), timeout=5).matcher()
    assert bpe_tools.generate(long, random.Random(0), max_tokens=20_000) == json.dumps([None] * 3_000)
