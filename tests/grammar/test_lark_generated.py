"""Generated grammars, full of conflicts, overlapping terminals and rules without an end, against lark's own parser.

Texts are taken as lark takes them, and a token is legal only if a sentence follows: the sentence is looked for.
"""

from __future__ import annotations

import contextlib
import itertools
import signal
from collections import deque
from collections.abc import Iterator
from typing import Any

import lark
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ramify.backend.engine.grammar.api import GrammarCompiler
from ramify.backend.engine.grammar.conformance import legal_tokens
from ramify.backend.engine.grammar.lark import LarkCompiler
from ramify.backend.engine.grammar.lark.grammar import LarkMatcher
from ramify.backend.engine.vocabulary import Vocabulary
from ramify.lang.constraints import Grammar
from ramify.lang.errors import ConstraintError

LETTERS = "abc "
PAIRS = ["ab", "ba", "aa", "bb", "c ", " a", "bc", "abc", "aab", "b a", "cc"]
SPELLED = (*LETTERS, *PAIRS)
VOCABULARY = Vocabulary(
    (*(text.encode() for text in SPELLED), b"<end>"),
    special_ids=frozenset({len(SPELLED)}),
    eos_ids=frozenset({len(SPELLED)}),
)
SHORT_TEXTS = ["".join(letters) for length in range(4) for letters in itertools.product(LETTERS, repeat=length)]
MAX_EXPLORED = 20_000

TERMINALS = ['"a"', '"b"', '"c"', '"ab"', '"aa"', '"abc"', '"ba"', "A", "B", "C"]
PATTERNS = ["/a+/", "/b?a/", "/[ab]/", "/a*b/", "/ab?c?/", "/a+?b/", "/(a|ab)c?/", "/c/", "/[abc]{2}/"]
PATTERNS += ["/(?!ab)[ab]+c/", '"a"|"ab"', '"ab"|"a"', '"a" "b"?', "/b(?<!c)c*/", "/a(bc)?/"]
RULES = ("start", "x", "y", "z")


@st.composite
def grammars(draw: st.DrawFn) -> str:
    rules = RULES[: draw(st.integers(1, 4))]
    symbol = st.one_of(st.sampled_from(TERMINALS), st.sampled_from(TERMINALS), st.sampled_from(rules))
    item = st.tuples(symbol, st.sampled_from(["", "", "", "", "", "?", "*", "+", "~1..2"])).map("".join)
    sequence = st.lists(item, max_size=3).map(" ".join)
    options = st.lists(sequence, min_size=1, max_size=3).map(" | ".join)
    lines = [f"{rule}{draw(st.sampled_from(['', '', '.2']))}: {draw(options)}" for rule in rules]
    lines += [f"{name}{draw(st.sampled_from(['', '.2']))}: {draw(st.sampled_from(PATTERNS))}" for name in "ABC"]
    lines.append(draw(st.sampled_from(["", '%ignore " "', '%ignore " "', "%ignore /c/", "%ignore C"])))
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def compiler() -> Iterator[LarkCompiler]:
    made = LarkCompiler(VOCABULARY)
    yield made
    made.close()


class HangsError(Exception):
    """lark goes in circles."""


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise HangsError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def is_sentence(parser: lark.Lark, text: str) -> bool:
    try:
        with limited(2):
            parser.parse(text)
    except lark.exceptions.LarkError:
        return False
    except HangsError:
        assume(False)
    return True


def is_accepted(matcher: LarkMatcher, text: str) -> bool:
    return all(matcher.accept(LETTERS.index(letter)) for letter in text) and matcher.can_stop


def shortest_completion(matcher: LarkMatcher) -> str | None:
    """Look for a sentence letter by letter, each state of lexer and parser once."""
    pending = deque([(matcher, "")])
    seen = set()
    while pending and len(seen) < MAX_EXPLORED:
        matcher, text = pending.popleft()
        if matcher.can_stop:
            return text
        for token, letter in enumerate(LETTERS):
            further = matcher.fork()
            if further.accept(token):
                state = state_of(further)
                if state not in seen:
                    seen.add(state)
                    pending.append((further, text + letter))
    assume(len(seen) < MAX_EXPLORED)
    return None


def state_of(matcher: LarkMatcher) -> tuple[Any, ...]:
    parts = []
    for stack, state in matcher._places:
        states, below = [], stack
        while below is not None:
            states.append(below.state)
            below = below.below
        parts.append((tuple(states), state))
    return tuple(parts)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(grammars(), st.randoms(use_true_random=False))
def test_generated_grammars_are_held_exactly(compiler: GrammarCompiler, text: str, rng: Any) -> None:
    try:
        parser = lark.Lark(text, parser="lalr", lexer="contextual")
    except lark.exceptions.LarkError:
        with pytest.raises(ConstraintError):
            compiler.compile(Grammar(text), timeout=10)
        return
    longer = ["".join(rng.choices(LETTERS, k=rng.randint(4, 7))) for _ in range(60)]
    try:
        grammar = compiler.compile(Grammar(text), timeout=10)
    except ConstraintError as error:
        if "no text satisfies" in str(error):
            assert not any(is_sentence(parser, sample) for sample in SHORT_TEXTS + longer)
        else:
            assert "looks ahead at its end" in str(error)
        return
    for sample in SHORT_TEXTS + longer:
        assert is_accepted(grammar.matcher(), sample) == is_sentence(parser, sample), sample
    matcher, written = grammar.matcher(), ""
    for _ in range(6):
        legal = legal_tokens(matcher, VOCABULARY)
        assert legal == {token for token in range(VOCABULARY.size) if matcher.fork().accept(token)}
        rest = shortest_completion(matcher)
        assert rest is not None, f"{written!r} leads nowhere"
        assert is_sentence(parser, written + rest)
        choices = sorted(legal - VOCABULARY.eos_ids)
        if not choices:
            break
        token = rng.choice(choices)
        assert matcher.accept(token)
        written += SPELLED[token]
