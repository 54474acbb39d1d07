"""Terminals of lark grammars: their automata end a match where Python's `re` does, and refuse what they cannot hold."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramify.backend.engine.grammar.lark.characters import DONE, CharacterAutomata
from ramify.backend.engine.grammar.lark.terminal import TerminalAutomaton, build_terminal
from ramify.lang.errors import ConstraintError

ESCAPED_STRING = r"\".*?(?<!\\)(\\\\)*?\""


def build(pattern: str) -> TerminalAutomaton:
    return build_terminal(pattern, CharacterAutomata(), lambda: None)


def match_len(automaton: TerminalAutomaton, text: bytes) -> int | None:
    """Length of the match at the start of `text`: that of the last accepting state."""
    state, best = automaton.start, None
    for place, byte in enumerate(text, start=1):
        state = next((target for first, last, target in automaton.arcs[state] if first <= byte <= last), 0)
        if automaton.accepting[state]:
            best = place
    return best


def assert_like_re(pattern: str, texts: list[str]) -> None:
    automaton = build(pattern)
    for text in texts:
        match = re.match(pattern, text)
        expected = len(match[0].encode()) if match and match[0] else None
        found = match_len(automaton, text.encode())
        # a terminal never matches nothing: where `re` would, there is no question to answer
        assert found == expected or (match and not match[0]), (pattern, text)


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        ("a|ab", ["ab", "a", "b"]),
        ("ab|a", ["ab", "ac"]),
        (r"a+?b?", ["aab", "ab"]),
        (r"\/\*(.|\n)*?\*\/", ["/* a */ b */", "/***/*/", "/* \n*", "/*/"]),
        (ESCAPED_STRING, ['"a" "b"', r'"a\"b" c"', r'"a\\" b"', '"a\n"', '"é漢" x', r'"\"', '""']),
        (r"/(?!/)(\\/|\\\\|[^/])*?/[imslux]*", ["/a/i b", "//", r"/a\/b/x", "/a"]),
        (r'"(?!""|x).+?(?<!\\)(\\\\)*?"', ['""', '"a"', '"""a"', '"""', '"x"', '""a"']),
        (r"x(?!ab|c)[abc]*(?=b)b", ["xab", "xb", "xaab", "xcb", "xbab"]),
        (r"(?i:select)", ["SeLeCt", "selec", "selects"]),
        (r"(?i:k)+", ["kK\u212a"]),
        (r"(?s:.)+", ["a\nb"]),
        (r".+", ["a\nb", "é漢😀\n"]),
        (r"(?x: a b # comment" "\n)", ["ab", "a b"]),
        (r"[^\W\d]\w*", ["été1 x", "1a", "_漢字²", "e\u0301"]),
        (r"(?a:\w)+", ["aé"]),
        (r"(?:(?:a)*|(?:b)+){0,2}a", ["baaa", "bba", "ab"]),
        (r"x(?:|a){0,3}b", ["xaab", "xb"]),
        (r"(?:a?b?)*c", ["abbac", "c", "ba"]),
    ],
)
def test_a_match_ends_where_that_of_re_does(pattern: str, texts: list[str]) -> None:
    assert_like_re(pattern, texts)


_ATOMS = "a b é . [ab] [^a] (?<!a) (?<=b) (?!b) (?=[ab]) (?!ab) (?=ab) (?!a|bb)".split()
_PATTERNS = st.recursive(
    st.sampled_from([*_ATOMS, ""]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("(?:{0[0]}|{0[1]})".format),
        st.tuples(inner, st.sampled_from("* + ? *? +? ?? {0,2} {1,3} {2} {0,2}? {1,}".split())).map(
            "(?:{0[0]}){0[1]}".format
        ),
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(_PATTERNS, st.lists(st.text("abé", max_size=7), min_size=1, max_size=20))
def test_matches_of_generated_patterns_end_where_those_of_re_do(pattern: str, texts: list[str]) -> None:
    pattern = "a" + pattern  # what is looked behind at lies within the terminal
    try:
        re.compile(pattern)
        build(pattern)
    except (re.error, ConstraintError):
        return
    assert_like_re(pattern, ["a" + text for text in texts])


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (r"a\b", "anchor"),
        ("^a", "anchor"),
        ("a$", "anchor"),
        (r"(a)\1", "back-reference"),
        ("(?>a*)a", "atomic"),
        ("a*+b", "possessive"),
        ("(?<!a)b", "behind its start"),
        ("a(?!b)", "ahead at its end"),
        ('"(?!"").*?"', "ahead at its end"),
        ("(?<=ab)c", "behind at more than one"),
        ("a(?=b*c)b*c", "ahead at more than a row"),
        ("(a{1,200}){1,200}", "counts are too high"),
        ("[ab]*a[ab]{20}", "more than 10000 states"),
        (r"\w{1,300}", "more than 10000 states"),
    ],
)
def test_what_cannot_be_held_is_refused_by_name(pattern: str, reason: str) -> None:
    with pytest.raises(ConstraintError, match=reason):
        build(pattern)


@given(st.lists(st.tuples(st.integers(0, 0x10FFFF), st.integers(0, 3000)), min_size=1, max_size=5))
def test_a_set_of_characters_is_read_as_its_utf8(pairs: list[tuple[int, int]]) -> None:
    from ramify.backend.engine.grammar.character_set import normalise

    ranges = normalise((first, min(first + extent, 0x10FFFF)) for first, extent in pairs)
    if not ranges:
        return
    automata = CharacterAutomata()
    start = automata.state(ranges)
    for edge in {edge for first, last in ranges for edge in (first - 1, first, last, last + 1)}:
        if not 0 <= edge <= 0x10FFFF or 0xD800 <= edge <= 0xDFFF:
            continue
        state: int | None = start
        for byte in chr(edge).encode():
            state = next((to for first, last, to in automata.arcs[state or 0] if first <= byte <= last), None)
        assert (state == DONE) == any(first <= edge <= last for first, last in ranges)
