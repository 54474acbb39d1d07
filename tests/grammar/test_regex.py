"""Regexes mean what Python's `re.fullmatch` says, for patterns and texts that nobody chose."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramify.backend.engine.grammar.automaton import ByteAutomaton
from ramify.backend.engine.grammar.character_set import complement, normalise
from ramify.backend.engine.grammar.dfa_client import DfaProcesses
from ramify.backend.engine.grammar.regex_syntax import translate
from ramify.lang.constraints import Regex
from ramify.lang.errors import ConstraintError

CHARACTERS = "abAé漢1_ \n.-ſK"
_atoms = st.sampled_from(
    r"a b é 漢 1 . \. \d \w \s \D \W \S \n \x20 _ - [ab] [^a] [a-zé] [\d_] [^\w] [^\s1] [^é漢] [.-] K ſ".split()
)
_quantifiers = st.sampled_from(["*", "+", "?", "*?", "+?", "??", "{2}", "{1,3}", "{0,2}?", "{,2}", "{2,}"])
_groups = st.sampled_from(["(", "(?:", "(?i:", "(?s:", "(?a:", "(?-s:"])
PATTERNS = st.recursive(
    st.one_of(_atoms, st.just("")),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(_groups, inner, inner).map(lambda p: f"{p[0]}{p[1]}|{p[2]})"),
        st.tuples(_groups, inner, _quantifiers).map(lambda p: f"{p[0]}{p[1]}){p[2]}"),
    ),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def processes() -> Any:
    made = DfaProcesses()
    yield made
    made.close()


def automaton_of(pattern: str, processes: DfaProcesses) -> ByteAutomaton:
    return processes.build(translate(pattern).pattern, timeout=10)


@settings(max_examples=150)
@given(pattern=PATTERNS, data=st.data())
def test_random_patterns_match_like_re(pattern: str, data: st.DataObject, processes: DfaProcesses) -> None:
    automaton = automaton_of(pattern, processes)
    texts = data.draw(st.lists(st.text(CHARACTERS, max_size=5), max_size=15))
    texts += data.draw(st.lists(st.from_regex(pattern, fullmatch=True), max_size=4))
    for text in ["", *texts]:
        if any(0xD800 <= ord(character) <= 0xDFFF or ord(character) > 0x10FFFD for character in text):
            continue
        assert automaton.matches(text.encode()) == bool(re.fullmatch(pattern, text)), (pattern, text)


@settings(max_examples=40)
@given(pattern=PATTERNS, seed=st.integers(0, 2**32))
def test_random_patterns_never_run_into_a_dead_end(pattern: str, seed: int, processes: DfaProcesses) -> None:
    automaton, rng = automaton_of(pattern, processes), random.Random(seed)
    state, text = automaton.start, b""
    for _ in range(30):
        row = automaton.table[state, automaton.class_of_byte]
        live = [byte for byte in range(256) if row[byte]]
        if automaton.accepting[state] and (not live or rng.random() < 0.2):
            assert re.fullmatch(pattern, text.decode())
            return
        assert live, (pattern, text)
        byte = rng.choice(live)
        state, text = int(row[byte]), text + bytes([byte])


@settings(max_examples=25)
@given(pattern=PATTERNS, seed=st.integers(0, 2**32))
def test_llguidance_generates_only_what_re_matches(pattern: str, seed: int, compilers: Any, tools: Any) -> None:
    grammar = compilers["llguidance"].compile(Regex(pattern), timeout=5)
    text = tools.generate(grammar.matcher(), random.Random(seed), max_tokens=60)
    assert text is None or re.fullmatch(pattern, text), (pattern, text)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("a(", "not valid: missing \\), unterminated subpattern at position 1"),
        ("a**", "not valid: multiple repeat at position 2"),
        ("a(?=b)", "look-ahead"),
        ("(?<!a)b", "look-behind"),
        (r"(a)\1", "back-reference"),
        (r"(a)?(?(1)b|c)", "conditional group"),
        ("(?>a+)b", "atomic group"),
        ("a++b", "possessive"),
        (r"\bword\b", "word boundary"),
        ("a^b", "anchor"),
        ("(a$)+", "anchor"),
        (r"[^\s\S]", "matches no text"),
        ("a{1000000}", "at most 100000"),
        ("((a{1,100}){1,100}){1,100}", "unrolls to 1000000"),
        ("a" * 4097, "4097 characters long"),
        ("(" * 2000 + ")" * 2000, "nested too deeply"),
        (r"\w" * 200, "too many Unicode classes"),
    ],
)
def test_what_cannot_be_held_is_refused_with_the_reason(pattern: str, reason: str) -> None:
    with pytest.raises(ConstraintError, match=reason):
        translate(pattern)


def test_what_nothing_matches_disappears_from_alternatives() -> None:
    assert translate(r"a|[^\s\S]|b[^\s\S]").pattern == "(?:a)"
    assert translate(r"(?:[^\s\S])*").pattern == ""


def test_a_regex_that_outgrows_time_is_ended_and_the_next_one_works(processes: DfaProcesses) -> None:
    with pytest.raises(ConstraintError, match="longer than"):
        processes.build(translate("(?:a|b)*a(?:a|b){25}").pattern, timeout=0.3)
    assert automaton_of("a|ab", processes).matches(b"ab")


def test_a_closed_set_of_processes_refuses_work() -> None:
    processes = DfaProcesses()
    automaton_of("a", processes)
    (process,) = processes._processes._idle
    processes.close()
    assert process.poll() is not None
    with pytest.raises(Exception, match="closed"):
        automaton_of("a", processes)


def test_ranges_never_hold_what_utf8_cannot_spell() -> None:
    everything = complement(())
    assert everything == ((0, 0xD7FF), (0xE000, 0x10FFFD))
    assert normalise([(0xD000, 0xE001), (0x10FFF0, 0x10FFFF)]) == (
        (0xD000, 0xD7FF),
        (0xE000, 0xE001),
        (0x10FFF0, 0x10FFFD),
    )
    assert complement(everything) == ()
