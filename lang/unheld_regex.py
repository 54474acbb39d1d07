"""`unheld_syntax`: what of Python's `re` no finite automaton, and so no mask, can hold. Facts; compiles nothing."""

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


@functools.lru_cache(maxsize=1024)
def unheld_syntax(pattern: str) -> str | None:
    r"""Return what of a pattern no mask holds, None when there is nothing or the pattern is none of Python's.

    >>> unheld_syntax(r"(a)\1")
    'a back-reference'
    """
    try:
        tree = sre_parser.parse(pattern)
    except (RegexError, OverflowError, RecursionError):
        return None
    return next((UNHELD_SYNTAX[op] for op in _operators(tree) if op in UNHELD_SYNTAX), None)


def _operators(node: Any) -> Iterator[Any]:
    """Yield every operator of a parsed pattern."""
    if isinstance(node, sre_parser.SubPattern | list | tuple):
        if isinstance(node, tuple) and node and isinstance(node[0], type(sre.ASSERT)):
            yield node[0]
        for part in node:
            yield from _operators(part)
