"""Parses one directive or hole and explains what is wrong with it. Lark's errors end here, as diagnostics.

Called by the reader, line by line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from lark import Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from .diagnostics import Report
from .grammar import parser
from .source import Span
from .syntax import Broken, Hole
from .tree_builder import MAX_DEPTH, Builder, Directive, Parsed, depth

# What a terminal is called where it was expected; the others are called by their text.
TERMINALS = {
    "NAME": "a name",
    "INT": "a whole number",
    "COMMA": "','",
    "COLON": "':'",
    "EQUAL": "'='",
    "LPAR": "'('",
    "RPAR": "')'",
    "RSQB": "']'",
    "RBRACE": "'}'",
    "VBAR": "'|'",
    "QMARK": "'?'",
    "_FROM": "'from'",
    "_IN": "'in'",
    "_AS": "'as'",
    "_MAX": "'max'",
    "LSQB": "'['",
    "LBRACE": "'{'",
    "_GEN": "'gen'",
    "_SELECT": "'select'",
}
# Sets of terminals that stand for one thing.
VALUE = frozenset({"NAME", "INT", "FLOAT", "STRING", "WORD", "LSQB", "LPAR"})
TYPE = frozenset({"NAME", "STRING", "INT", "REGEX", "LBRACE", "LPAR"})
OPERATORS = frozenset({"_AND", "_OR", "_NOT", "_IN", "COMPARE", "PLUS", "DOT", "LSQB", "LPAR"})

TOKEN = re.compile(r'"(?:\\.|[^"\\\n])*"|[A-Za-z_][A-Za-z0-9_]*|-?[0-9]+(?:\.[0-9]+)?|==|!=|<=|>=|&&|\|\||->|\S')
FOREIGN = {
    "'": "texts stand in double quotes",
    "=": "two values are compared with '=='",
    "&&": "write 'and'",
    "||": "write 'or'",
    "!": "write 'not'",
    "is": "two values are compared with '=='",
    "-": "there is no subtraction; only '+' computes",
    "*": "there is no multiplication; only '+' computes",
}
DEFINES = re.compile(r"\s*(?:gen|select)\s+([A-Za-z_][A-Za-z0-9_]*)")


def parse_hole(report: Report, text: str, start: int) -> Hole:
    """Parse what stands between `{{` and `}}`; it begins at offset `start`."""
    whole = Span(start - 2, start + len(text) + 2)
    tree = _parse(report, text, start, "hole")
    if tree is None:
        found = DEFINES.match(text)
        return Broken(whole, (found[1],) if found else ())
    return Builder(report, start, whole).hole(tree)


def parse_directive(report: Report, text: str, start: int) -> Directive | Broken:
    """Parse a line from its `@` on, which stands at offset `start`. `Broken` when it was reported."""
    whole = Span(start, start + len(text.rstrip()))
    tree = _parse(report, text, start, "directive")
    return Broken(whole) if tree is None else Builder(report, start, whole).directive(tree)


def _parse(report: Report, text: str, base: int, start: str) -> Parsed | None:
    try:
        tree = parser().parse(text, start=start)
    except UnexpectedInput as error:
        _explain(report, error, text, base, start)
        return None
    if depth(tree) > MAX_DEPTH:
        span = Span(base, base + len(text.rstrip()))
        report.error("E061", span, f"this is nested more than {MAX_DEPTH} deep", "give parts of it a name with @set")
        return None
    assert isinstance(tree, Tree)
    return tree


def _explain(report: Report, error: UnexpectedInput, text: str, base: int, start: str) -> None:
    """Report a syntax error: what stands there, and what could stand there instead."""
    at = error.pos_in_stream if error.pos_in_stream is not None else len(text)
    if isinstance(error, UnexpectedToken) and error.token.type == "$END":
        at = len(text)
    found = TOKEN.match(text, at)
    closing = "'}}'" if start == "hole" else "the end of the line"
    wanted = _wanted(_terminals(error), closing)
    hint = f"expected {wanted}" if wanted else None
    if found is None:
        rest = text.rstrip()
        if not rest:
            report.error("E004", Span(base - 2, base + len(text) + 2), "the hole is empty", hint)
            return
        place = Span(base + len(rest), base + len(rest) + (2 if start == "hole" else 1))
        report.error("E004", place, f"something is missing before {closing}", hint)
        return
    token = found[0]
    place = Span(base + at, base + at + len(token))
    if token == '"':
        report.error("E008", place, "the text is not closed", "close it with another double quote on the same line")
        return
    if token in FOREIGN and (token == "'" or "COMPARE" in _terminals(error)):
        hint = FOREIGN[token]
    report.error("E004", place, f"unexpected {_quoted(token)}", hint)


def _terminals(error: UnexpectedInput) -> frozenset[str]:
    match error:
        case UnexpectedToken():
            return frozenset(error.accepts or error.expected)
        case UnexpectedCharacters():
            return frozenset("$END" if name == "<END-OF-FILE>" else name for name in error.allowed or ())
        case _:
            return frozenset()


def _wanted(terminals: frozenset[str], closing: str) -> str:
    """Say what could have stood there, in a few words; nothing when that is too much."""
    names: list[str] = []
    left = set(terminals)
    if terminals >= TYPE:
        names.append("a type")
        left -= TYPE
    elif terminals >= VALUE:
        names.append("a value")
        left -= VALUE | {"_NOT", "_GEN", "_SELECT"}
    elif "COMPARE" in terminals or "DOT" in terminals:
        left -= OPERATORS
        if not left - {"$END"}:
            names.append("an operator")
    names += [closing if name == "$END" else _called(name) for name in sorted(left)]
    return _listed(names) if len(names) <= 5 else ""


def _called(terminal: str) -> str:
    if terminal in TERMINALS:
        return TERMINALS[terminal]
    return next(f"'{item.pattern.value}'" for item in parser().terminals if item.name == terminal)


def _listed(names: Iterable[str]) -> str:
    *first, last = names or [""]
    return f"{', '.join(first)} or {last}" if first else last


def _quoted(token: str) -> str:
    shown = token if len(token) <= 40 else token[:37] + "..."
    return shown if shown.startswith('"') else f'"{shown}"' if shown == "'" else f"'{shown}'"
