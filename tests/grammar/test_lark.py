"""The lark plugin holds exactly the texts that lark's own parser takes, however they are split into tokens."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator
from typing import Any

import lark
import pytest

from ramify.backend import registry
from ramify.backend.engine.grammar.api import CompiledGrammar, GrammarCompiler, Matcher
from ramify.lang.constraints import Grammar, Regex
from ramify.lang.errors import ConstraintError

JSON = r"""
start: value
?value: object | array | ESCAPED_STRING | SIGNED_NUMBER | "true" | "false" | "null"
array: "[" [value ("," value)*] "]"
object: "{" [pair ("," pair)*] "}"
pair: ESCAPED_STRING ":" value
%import common (ESCAPED_STRING, SIGNED_NUMBER, WS)
%ignore WS
"""
ARITHMETIC = r"""
start: sum
?sum: product | sum ("+" | "-") product
?product: atom | product ("*" | "/") atom
?atom: NUMBER | "-" atom -> negated | NAME | "(" sum ")" | NAME "(" _separated{sum, ","} ")"
_separated{item, mark}: item (mark item)*
NAME: /[^\W\d]\w*/
%import common.NUMBER
%import common.WS_INLINE
%ignore WS_INLINE
"""
SQL = r"""
start: "select"i columns "from"i NAME ("where"i condition)? ("limit"i INT)? ";"?
columns: "*" | column ("," column)*
column: value ("as"i NAME)?
?value: NAME | NUMBER | STRING | FUNCTION "(" ("*" | value) ")"
?condition: condition "or"i test | condition "and"i test | test
test: value OPERATOR value | "not"i test | "(" condition ")"
FUNCTION.2: /count|sum|max/i
OPERATOR: "=" | "<>" | "<=" | "<" | ">=" | ">"
NAME: /[a-z_][a-z_0-9]*/i
STRING: /'([^']|'')*'/
COMMENT: /\/\*(.|\n)*?\*\// | /--[^\n]*/
%import common (INT, NUMBER, WS)
%ignore WS
%ignore COMMENT
"""
PYTHON_LIKE = r"""
start: (statement | _NEWLINE)*
?statement: assignment _NEWLINE | "if" test ":" block ["else" ":" block] | "while" test ":" block | "pass" _NEWLINE
block: "{" (statement | _NEWLINE)+ "}" | statement
assignment: NAME ("=" | "+=" | "**=") test
?test: "not" test | comparison | test "and" comparison | test "or" comparison
?comparison: operand (("<" | "==" | "in" | "is" "not"?) operand)*
?operand: power | operand ("+" | "-" | "//") power
?power: atom ["**" power]
!atom: NAME | NUMBER | "True" | "None" | "(" test ")" | atom "." NAME | atom "(" [test ("," test)*] ")" | "..."
NAME: /[^\W\d]\w*/
NUMBER: /\d+(\.\d*)?([eE][+-]?\d+)?/
COMMENT: /#[^\n]*/
_NEWLINE: /\r?\n/
%ignore /[ \t]+/
%ignore COMMENT
"""
# grammar, texts (accepted or not: lark says which)
GRAMMARS: dict[str, tuple[str, list[str]]] = {
    "json": (
        JSON,
        [
            '{"a": [1, -2.5e3, {"b": null}], "é\\"漢": true}',
            "[ ]",
            '{"a" 1}',
            "[1,]",
            '"a\\"',
            '"a\\\\"',
            "1. 2",
            "-1.",
        ],
    ),
    "arithmetic": (
        ARITHMETIC,
        ["1 + 2*(x - été(3, -y))", "1.5e3/.5", "(1", "1 2", "f(", "1.e", "1.+2", "--1", "x\ty", "²", "f(1,)"],
    ),
    "sql": (
        SQL,
        [
            "SELECT a, COUNT(*) AS n FROM t WHERE (x <= 3 OR NOT y = 'it''s') AND z <> 1.5 LIMIT 10;",
            "select*from t--x\n limit 5",
            "select a from t where select = 1",
            "select count from t",
            "select a from from",
            "SELECTa FROMb",
            "select a /* * / */ from t",
            "select a /* from t",
        ],
    ),
    "python": (
        PYTHON_LIKE,
        [
            "x = 1\nif x in y: {\ny += 2 # é\n}\nelse: pass\n",
            "if x:\n",
            "if x: pass\n",
            "ifx = 3\n",
            "x = is_not is not None\n",
            "x = a.b(1, ...)**-1\n",
            "x **= 1.e5 ** 2.\n",
            "x = 1.e\n",
            "x = 1...\n",
            "x = not_ # no line end",
        ],
    ),
    "keywords": (
        'start: ("if" NAME | NAME "=" NAME)+\nNAME: /[a-z]+/\n%ignore " "',
        ["if x", "if=x", "ifx=y", "if if", "x = if", "x=y if z", "x=yif z"],
    ),
    "keyword flags": ('start: "If"i WORD | WORD "x"\nWORD: /[a-z]+/\n%ignore " "', ["IF a", "if a", "iF x", "if x"]),
    "priorities": (
        'start: (A | B | C)+ "."\nA: /[ab]/\nB.2: /ab?/\nC.-1: /[abc]+/',
        ["ab.", "aab.", "ba.", "c.", "abc.", "cc.", ".", "bab."],
    ),
    "order not length": ('start: (A | "b")+\nA: /a|ab/', ["ab", "aab", "a", "c", "abac"]),
    "longest first": ('start: ("a" | "ab" | "abc" | "c")+ "!"', ["abcab!", "abc!", "ac!", "abb!", "a!"]),
    "backing off": (
        'start: (NUM | ".." | "." NAME)+\nNUM: /\\d+\\.\\d+/ | /\\d+/\nNAME: /[a-z]+/',
        ["1..2", "1.5", "1.a", "1.5.", "1...2"],
    ),
    "two watches": (
        'start: ("a" | "ab" C | "abab" D | "b")+\nC: "!"\nD: "?"',
        ["abab", "abab?", "ababa", "ab!b", "aba"],
    ),
    "no separators": ('start: A "ab" | "x" A "b"\nA: /a+/', ["aab", "xaab", "xb", "ab"]),
    "lazy": ('start: (BLOCK | "x")+\nBLOCK: /<.*?>/', ["<a>x<b>", "<<>", "<>>", "<x"]),
    "ignored in between": ('start: "a" "b"+\n%ignore /_+/\n%ignore "-"', ["a__b-b", "_a_b_", "a-", "", "-ab-"]),
    "ignored is used": ('start: "a" WS "b" | "a" "b"\nWS: " "\n%ignore WS', ["a b", "ab", " ab ", "a"]),
    "keyword is ignored": ('start: (W | "z")+\nW: /[a-z]/\n%ignore "q"', ["aqz", "q", "qz", "az"]),
    "flags": ('start: A "\\n" B\nA: /a.b/s\nB: /x y #\n z/x', ["a\nb\nxyz", "a\nb\nx y z", "aéb\nxyz"]),
    "strings with case": ('start: "Straße"i ("ſ"i | "K"i)*', ["strasse", "STRAßE", "straßeK\u212as", "strassek"]),
    "surrogate pairs": (r'start: "\U0001F600" | "\u6f22"+ /\uff0e/', ["😀", "漢漢．", "漢．．", "\ufffd"]),
    "repeats": ('start: a~2..3 "b"~0..1 "c"~2\na: "x" | "y"', ["xycc", "xxxbcc", "xcc", "xyxycc", "xybc"]),
    "maybe nothing": ('start: [x] "."?\nx: "a"+', ["", ".", "aa", "aa.", ".a"]),
    "dangling else": (
        'start: s\n?s: "if" s | "if" s "else" s | "x"\n%ignore " "',
        ["if if x else x else x", "if x else", "x", "if else x"],
    ),
    "epsilon and left recursion": (
        'start: l "."\nl: | l "a" | l m\nm: "b" m | "c"',
        [".", "abca.", "b.", "bbc.", "aabbc."],
    ),
    "rules and priorities": ('start: a | b\na.2: "x"\nb: "x" | "y"', ["x", "y", "xy"]),
    "unicode library": (
        "start: (WORD | NUMBER | WS)*\n%import common (WORD, NUMBER)\n%import common.WS -> WS",
        ["ab 12", "é", "", "1.5e3\n"],
    ),
    "extended": ("%import common.DIGIT\n%extend DIGIT: /[٠-٩]/\nstart: DIGIT+", ["01", "٣2", "x"]),
    "counted": ('start: "a"~30 "b"~0..500', ["a" * 30, "a" * 29, "a" * 30 + "b" * 499]),
}


@pytest.fixture(scope="module")
def compiler(tools: Any) -> Iterator[GrammarCompiler]:
    made = registry.load("grammars", "lark")(tools.vocabulary)
    yield made
    made.close()


@pytest.fixture(scope="module")
def compiled(compiler: GrammarCompiler) -> Any:
    return functools.cache(lambda name: compiler.compile(Grammar(GRAMMARS[name][0]), timeout=10))


@functools.cache
def reference(name: str) -> lark.Lark:
    return lark.Lark(GRAMMARS[name][0], parser="lalr", lexer="contextual")


def is_sentence(parser: lark.Lark, text: str) -> bool:
    try:
        parser.parse(text)
    except lark.exceptions.LarkError:
        return False
    return True


def accepts(grammar: CompiledGrammar, text: bytes, rng: random.Random, spelled: tuple[bytes, ...]) -> bool:
    """Whether some random tokenisation of `text` is accepted to its end."""
    matcher = grammar.matcher()
    by_first: dict[int, list[int]] = {}
    for token, spelling in enumerate(spelled):
        if spelling:
            by_first.setdefault(spelling[0], []).append(token)
    while text:
        token = rng.choice([t for t in by_first[text[0]] if text.startswith(spelled[t])])
        if not matcher.accept(token):
            return False
        text = text[len(spelled[token]) :]
    return matcher.can_stop


@pytest.mark.parametrize("name", GRAMMARS)
def test_the_masks_accept_what_lark_parses(name: str, compiled: Any, tools: Any) -> None:
    rng = random.Random(name)
    verdicts = set()
    for text in GRAMMARS[name][1]:
        expected = is_sentence(reference(name), text)
        verdicts.add(expected)
        for _ in range(3):
            assert tools.walk(compiled(name).matcher(), text.encode(), rng) == expected, text
    assert verdicts == {True, False}, "a case needs texts of both kinds"


@pytest.mark.parametrize("name", GRAMMARS)
def test_texts_generated_under_masks_parse(name: str, compiled: Any, tools: Any) -> None:
    texts = [tools.generate(compiled(name).matcher(), random.Random(seed), max_tokens=60) for seed in range(25)]
    for text in texts:
        assert text is None or is_sentence(reference(name), text), text
    assert any(text is not None for text in texts)


@pytest.mark.parametrize("name", ["json", "arithmetic", "sql", "python", "backing off", "two watches", "keywords"])
def test_mutated_sentences_are_accepted_exactly_where_lark_does(name: str, compiled: Any, tools: Any) -> None:
    rng = random.Random(name)
    plain = tuple(
        b"" if token in tools.vocabulary.special_ids else text
        for token, text in enumerate(tools.vocabulary.token_bytes)
    )
    seeds = [text for text in GRAMMARS[name][1] if is_sentence(reference(name), text)]
    pool = "".join(GRAMMARS[name][1])
    verdicts = []
    for _ in range(150):
        text = list(rng.choice(seeds))
        for _ in range(rng.randint(1, 2)):
            place = rng.randrange(len(text) + 1)
            text[place : place + rng.randint(0, 1)] = rng.choice(["", rng.choice(pool), rng.choice(pool)])
        mutated = "".join(text)
        verdicts.append(is_sentence(reference(name), mutated))
        assert accepts(compiled(name), mutated.encode(), rng, plain) == verdicts[-1], mutated
    assert set(verdicts) == {True, False}


@pytest.mark.parametrize("name", GRAMMARS)
def test_masks_hold_the_tokens_that_are_accepted(name: str, compiled: Any, tools: Any) -> None:
    """Masks come from walks over the trie, pieced together and kept; acceptance goes byte by byte from where it is."""
    rng = random.Random(name)
    for _ in range(3):
        matcher: Matcher = compiled(name).matcher()
        for _ in range(12):
            legal = tools.legal_tokens(matcher)
            assert legal == {token for token in range(tools.vocabulary.size) if matcher.fork().accept(token)}
            token = rng.choice(sorted(legal))
            assert matcher.accept(token)
            if matcher.is_terminated:
                break


@pytest.mark.parametrize("name", ["json", "sql", "two watches"])
def test_rollback_and_fork_restore_and_separate_states(name: str, compiled: Any, tools: Any) -> None:
    rng = random.Random(name)
    for _ in range(10):
        matcher = compiled(name).matcher()
        history = []
        while len(history) < 12 and not matcher.is_terminated:
            history.append((tools.legal_tokens(matcher), matcher.can_stop))
            assert matcher.accept(rng.choice(sorted(history[-1][0])))
        fork, back = matcher.fork(), rng.randint(1, len(history))
        before = (matcher.can_stop, matcher.is_terminated)
        fork.rollback(back)
        assert (tools.legal_tokens(fork), fork.can_stop) == history[-back]
        assert (matcher.can_stop, matcher.is_terminated) == before


def test_another_start_rule(compiler: GrammarCompiler, tools: Any) -> None:
    grammar = compiler.compile(Grammar('start: item+\nitem: "a"', start="item"), timeout=10)
    matcher = grammar.matcher()
    assert matcher.accept(ord("a")) and matcher.can_stop and matcher.is_terminated


def test_only_what_can_be_completed_is_begun(compiler: GrammarCompiler, tools: Any) -> None:
    """No comment where its line cannot end, no rule without an end, no word that must run into the next."""
    commented = compiler.compile(
        Grammar('start: "(" "x" ")" _NL\n_NL: "\\n"\nCOMMENT: /#[^\\n]*/\n%ignore COMMENT\n%ignore " "'), timeout=10
    ).matcher()
    assert not tools.walk(commented.fork(), b"(x #", random.Random(0))
    assert commented.accept(ord("(")) and not commented.accept(ord("#"))
    assert commented.accept(ord("x")) and commented.accept(ord(")")) and commented.accept(ord("#"))
    endless = compiler.compile(Grammar('start: "a" | "b" x\nx: "c" x'), timeout=10).matcher()
    assert not endless.accept(ord("b")) and endless.accept(ord("a"))
    run_in = compiler.compile(Grammar('start: A "ab" | "x"\nA: /a+/'), timeout=10).matcher()
    assert not run_in.accept(ord("a")) and run_in.accept(ord("x"))


@pytest.mark.parametrize(
    ("grammar", "reason"),
    [
        ("start: x %$", "line 1 column 10"),
        ('start: "a" x', "'x' used but not defined"),
        ('begin: "a"', "start"),
        ("start: A\nA: /a*/", "zero-width"),
        ("start: A\nA: /(/", "Cannot compile token A"),
        ('start: a | b\na: "x"\nb: "x"', "Reduce/Reduce"),
        ('start: A\nA: "x" A', "Recursion in terminal 'A'"),
        ("%import .other.X\nstart: X", "imports a file"),
        ("%import other.X\nstart: X", "other"),
        ("start: A\nA: /a(?=b)/", "terminal A of the grammar looks ahead at its end"),
        ("start: A\nA: /^a/", "terminal A of the grammar contains an anchor"),
        ('start: "a" start', "no text satisfies"),
        ('start: x\nx: x "a"', "no text satisfies"),
        ('start: A "ab"\nA: /a+/', "no text satisfies"),
        ("start: X\n%declare X", "no text satisfies"),
        ("start: A\nA: /[ab]*a[ab]{30}/", "terminal A of the grammar takes more than 10000 states"),
        ("start: " + "(" * 3000 + '"a"' + ")" * 3000, "nested too deeply"),
        ("start: " + " ".join('("a" | "b")' for _ in range(26)), "longer than 1 s|memory"),
        ("x{a}: x{x{a}}\nstart: x{start}", "not valid|longer than 1 s|memory"),
        ('start: "a"' + " " * 70_000, "70010 characters long"),
    ],
    ids=lambda value: value[:25],
)
def test_what_cannot_be_held_is_refused(grammar: str, reason: str, compiler: GrammarCompiler) -> None:
    with pytest.raises(ConstraintError, match=reason):
        compiler.compile(Grammar(grammar), timeout=1)


def test_a_compiler_goes_on_after_a_grammar_that_took_too_long(compiler: GrammarCompiler) -> None:
    with pytest.raises(ConstraintError, match=r"longer than 0\.05 s"):
        compiler.compile(Grammar("start: " + " ".join('("a" | "b")' for _ in range(26))), timeout=0.05)
    assert compiler.compile(Grammar('start: "a"'), timeout=10).matcher().accept(ord("a"))


def test_other_kinds_of_constraint_are_refused(compiler: GrammarCompiler) -> None:
    with pytest.raises(ConstraintError, match="lark"):
        compiler.compile(Regex("a"), timeout=10)


def test_a_circle_of_rules_is_no_endless_loop(compiler: GrammarCompiler, tools: Any) -> None:
    """Given "x", lark reduces `a` to `a` and never returns; nothing else begins like a sentence."""
    with pytest.raises(ConstraintError, match="no text satisfies"):
        compiler.compile(Grammar('start: a\na.2: a | "x"'), timeout=10)


def test_memory_stays_bounded(compiler: GrammarCompiler, tools: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from ramify.backend.engine.grammar.lark import grammar as module

    grammar = compiler.compile(Grammar(JSON), timeout=10)
    expected = [tools.generate(grammar.matcher(), random.Random(seed), 60) for seed in range(5)]
    monkeypatch.setattr(module, "MAX_MASK_BYTES", 300)
    monkeypatch.setattr(module, "MAX_WALK_BYTES", 300)
    fresh = compiler.compile(Grammar(JSON), timeout=10)
    empty = fresh.num_bytes
    assert [tools.generate(fresh.matcher(), random.Random(seed), 60) for seed in range(5)] == expected
    assert fresh.num_bytes < empty + 100_000
