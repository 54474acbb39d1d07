"""Translate a pattern of Python's `re` into the dialect of Rust's regex engines, keeping the meaning of `re.fullmatch`.

Every class is spelled out as code points, so nothing depends on the engine's own Unicode tables or flags. What a finite
automaton cannot do is refused by name. Knows nothing of tokens. Called by the plugins that compile regexes.
"""

from __future__ import annotations

import re
import re._constants as sre  # type: ignore[import-not-found]  # private, but the only exact parser of `re`'s syntax
import re._parser as sre_parser  # type: ignore[import-not-found]
from dataclasses import dataclass
from typing import Any

from ....lang.errors import ConstraintError
from ....lang.unheld_regex import UNHELD_SYNTAX
from .character_set import Ranges, complement, ignoring_case, normalise, of_class

MAX_PATTERN_LEN = 4096  # characters
MAX_REPEAT = 100_000  # of one quantifier
MAX_POSITIONS = 200_000  # character classes once every quantifier is unrolled
MAX_TRANSLATED_LEN = 1 << 20  # one Unicode `\w` spelled out takes 13,000 characters

_NEWLINE: Ranges = ((10, 10),)
_CLASSES = {
    sre.CATEGORY_DIGIT: r"\d",
    sre.CATEGORY_SPACE: r"\s",
    sre.CATEGORY_WORD: r"\w",
}
_NEGATED_CLASSES = {
    sre.CATEGORY_NOT_DIGIT: r"\d",
    sre.CATEGORY_NOT_SPACE: r"\s",
    sre.CATEGORY_NOT_WORD: r"\w",
}
_START_ANCHORS = {sre.AT_BEGINNING, sre.AT_BEGINNING_STRING}
_END_ANCHORS = {sre.AT_END, sre.AT_END_STRING}


@dataclass(frozen=True, slots=True)
class RegexSource:
    """A translated pattern. `weight` estimates the states of its byte automaton while nothing overlaps."""

    pattern: str
    weight: int


@dataclass(frozen=True, slots=True)
class _Part:
    """Translation of one node; `pattern` None: it matches nothing at all."""

    pattern: str | None
    positions: int = 0
    weight: int = 0


@dataclass(frozen=True, slots=True)
class _Scope:
    """Flags in force, and whether the node begins or ends the whole pattern (where anchors say nothing)."""

    flags: int
    at_start: bool
    at_end: bool


_EMPTY = _Part("")
_NOTHING = _Part(None)


def translate(pattern: str, *, max_len: int = MAX_PATTERN_LEN) -> RegexSource:
    r"""Return `pattern` in Rust's dialect, or raise `ConstraintError` saying what in it cannot be held, and where.

    >>> translate(r"[a-c]x*?")
    RegexSource(pattern='[\\x{61}-\\x{63}](?:x){0,}', weight=2)
    """
    if len(pattern) > max_len:
        raise ConstraintError(f"regex is {len(pattern)} characters long; at most {max_len} are allowed")
    try:
        tree = sre_parser.parse(pattern)
    except re.error as error:
        where = "" if error.pos is None else f" at position {error.pos}"
        raise ConstraintError(f"regex {_shown(pattern)} is not valid: {error.msg}{where}") from error
    except (RecursionError, OverflowError) as error:
        raise ConstraintError(f"regex {_shown(pattern)} is nested too deeply or counts too far") from error
    try:
        part = _sequence(tree, _Scope(tree.state.flags, at_start=True, at_end=True))
    except _RefusedError as refused:
        raise ConstraintError(f"regex {_shown(pattern)} {refused}") from None
    if part.pattern is None:
        raise ConstraintError(f"regex {_shown(pattern)} matches no text at all")
    return RegexSource(part.pattern, part.weight)


def _shown(pattern: str) -> str:
    return repr(pattern if len(pattern) <= 80 else pattern[:77] + "...")


class _RefusedError(Exception):
    """A construct that cannot be translated; the message continues "regex ... "."""


def _sequence(nodes: Any, scope: _Scope) -> _Part:
    """Concatenate: one node that matches nothing makes the whole match nothing."""
    widths = [sre_parser.SubPattern(nodes.state, [node]).getwidth()[1] for node in nodes]
    parts: list[_Part] = []
    length = 0
    for index, node in enumerate(nodes):
        here = _Scope(
            scope.flags,
            at_start=scope.at_start and not any(widths[:index]),
            at_end=scope.at_end and not any(widths[index + 1 :]),
        )
        parts.append(_node(node, here))
        length += len(parts[-1].pattern or "")
        if length > MAX_TRANSLATED_LEN:
            raise _RefusedError("has too many Unicode classes; write \\w as [A-Za-z0-9_], or use the flag (?a)")
    if any(part.pattern is None for part in parts):
        return _NOTHING
    return _bounded("".join(part.pattern or "" for part in parts), parts)


def _bounded(pattern: str, parts: list[_Part], times: int = 1) -> _Part:
    positions = times * sum(part.positions for part in parts)
    if positions > MAX_POSITIONS:
        raise _RefusedError(f"unrolls to {positions} characters; at most {MAX_POSITIONS} are allowed")
    return _Part(pattern, positions, times * sum(part.weight for part in parts))


def _node(node: Any, scope: _Scope) -> _Part:
    operation, argument = node
    if operation in UNHELD_SYNTAX:
        raise _RefusedError(f"contains {UNHELD_SYNTAX[operation]}, which no automaton can hold")
    if operation in (sre.MAX_REPEAT, sre.MIN_REPEAT):  # lazy or not, the same texts match in full
        low, high, nodes = argument
        return _repeat(low, high, nodes, scope)
    if operation is sre.BRANCH:
        parts = [part for option in argument[1] if (part := _sequence(option, scope)).pattern is not None]
        return _bounded(f"(?:{'|'.join(part.pattern or '' for part in parts)})", parts) if parts else _NOTHING
    if operation is sre.SUBPATTERN:
        _, added, removed, nodes = argument
        inner = _sequence(nodes, _Scope((scope.flags | added) & ~removed, scope.at_start, scope.at_end))
        return inner if inner.pattern is None else _bounded(f"(?:{inner.pattern})", [inner])
    if operation is sre.AT:
        return _anchor(argument, scope)
    if operation is sre.FAILURE:
        return _NOTHING
    return _character(ranges_of(operation, argument, scope.flags))


def _repeat(low: int, high: int, nodes: Any, scope: _Scope) -> _Part:
    unbounded = high == sre.MAXREPEAT
    if low > MAX_REPEAT or (high > MAX_REPEAT and not unbounded):
        raise _RefusedError(f"repeats up to {max(low, 0 if unbounded else high)} times; at most {MAX_REPEAT}")
    once = high <= 1
    inner = _sequence(nodes, _Scope(scope.flags, scope.at_start and once, scope.at_end and once))
    if inner.pattern is None:
        return _EMPTY if low == 0 else _NOTHING
    if high == 0 or not inner.pattern:
        return _EMPTY
    bounds = f"{{{low},}}" if unbounded else f"{{{low},{high}}}"
    return _bounded(f"(?:{inner.pattern}){bounds}", [inner], max(low, 1) if unbounded else high)


def _anchor(kind: Any, scope: _Scope) -> _Part:
    if (kind in _START_ANCHORS and scope.at_start) or (kind in _END_ANCHORS and scope.at_end):
        return _EMPTY
    if kind in _START_ANCHORS | _END_ANCHORS:
        raise _RefusedError("has an anchor (^, $, \\A or \\Z) inside; only the edges of the whole pattern can have one")
    raise _RefusedError("contains a word boundary (\\b or \\B), which is not supported")


def ranges_of(operation: Any, argument: Any, flags: int) -> Ranges:
    """Return the characters that a single-character node of the parsed pattern matches under `flags`."""
    if operation is sre.ANY:
        return complement(() if flags & re.DOTALL else _NEWLINE)
    if operation in (sre.LITERAL, sre.NOT_LITERAL):
        members, negated = [(sre.LITERAL, argument)], operation is sre.NOT_LITERAL
    else:
        members, negated = argument, argument[0][0] is sre.NEGATE
    class_flags = flags & re.ASCII
    pairs: list[tuple[int, int]] = []
    for kind, value in members:
        if kind is sre.LITERAL:
            pairs.append((value, value))
        elif kind is sre.RANGE:
            pairs.append(value)
        elif kind is sre.CATEGORY and value in _CLASSES:
            pairs += of_class(_CLASSES[value], class_flags)
        elif kind is sre.CATEGORY:
            pairs += complement(of_class(_NEGATED_CLASSES[value], class_flags))
    ranges = normalise(pairs)
    if flags & re.IGNORECASE:
        ranges = ignoring_case(ranges, class_flags)
    return complement(ranges) if negated else ranges


def _character(ranges: Ranges) -> _Part:
    if not ranges:
        return _NOTHING
    # UTF-8 states of a class: one per byte for ASCII; measured 19 for `.`, 310 for `\w` with its 734 ranges
    weight = 1 if ranges[-1][1] < 0x80 else 8 + len(ranges) // 2
    first, last = ranges[0]
    if len(ranges) == 1 and first == last:
        character = chr(first)
        literal = character.isascii() and character.isalnum()
        return _Part(character if literal else f"\\x{{{first:x}}}", 1, weight)
    return _Part("[" + "".join(f"\\x{{{low:x}}}-\\x{{{high:x}}}" for low, high in ranges) + "]", 1, weight)
