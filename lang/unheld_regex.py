"""`unheld_syntax`: what of a schema's pattern no mask can hold, or not in one meaning. Facts; compiles nothing."""

from __future__ import annotations

import functools
import re._constants as sre  # type: ignore[import-not-found]  # private, but the only exact parser of `re`'s syntax
import re._parser as sre_parser  # type: ignore[import-not-found]
from collections.abc import Iterator
from re import error as RegexError
from typing import Any, Final

UNHELD_SYNTAX: Final = {
    sre.ASSERT: "look-ahead or look-behind",
    sre.ASSERT_NOT: "negative look-ahead or look-behind",
    sre.GROUPREF: "a back-reference",
    sre.GROUPREF_EXISTS: "a conditional group",
    sre.ATOMIC_GROUP: "an atomic group",
    sre.POSSESSIVE_REPEAT: "a possessive quantifier",
}

# JSON Schema reads `\d` and `\w` as ASCII, Python's validators do not. What both take is held: digits and letters of
# ASCII. A class that leaves them out would let through what one of the two refuses.
_AMBIGUOUS: Final = "a class without \\d or \\w, of which validators have different ideas (write out what is meant)"
_NOT_ASCII: Final = {sre.CATEGORY_NOT_DIGIT, sre.CATEGORY_NOT_WORD}
_ASCII: Final = {sre.CATEGORY_DIGIT, sre.CATEGORY_WORD}


@functools.lru_cache(maxsize=1024)
def unheld_syntax(pattern: str) -> str | None:
    r"""Return what of a schema's pattern no mask holds, None when there is nothing or the pattern is none of Python's.

    >>> unheld_syntax(r"(a)\1")
    'a back-reference'
    """
    try:
        tree = sre_parser.parse(pattern)
    except (RegexError, OverflowError, RecursionError):
        return None
    found = next((UNHELD_SYNTAX[op] for op, _ in _operations(tree) if op in UNHELD_SYNTAX), None)
    if found is None and any(op is sre.IN and _is_ambiguous(items) for op, items in _operations(tree)):
        return _AMBIGUOUS
    return found


def _is_ambiguous(items: list[tuple[Any, Any]]) -> bool:
    r"""Whether a class leaves out what `\d` or `\w` stand for."""
    left_out = _ASCII if items[0][0] is sre.NEGATE else _NOT_ASCII
    return any(op is sre.CATEGORY and category in left_out for op, category in items)


def _operations(node: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every operator of a parsed pattern, and what it is applied to."""
    if isinstance(node, sre_parser.SubPattern | list | tuple):
        if isinstance(node, tuple) and node and isinstance(node[0], type(sre.ASSERT)):
            yield node[0], node[1] if len(node) > 1 else None
        for part in node:
            yield from _operations(part)
