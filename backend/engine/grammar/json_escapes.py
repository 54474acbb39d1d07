r"""`EscapeMasks`: the tokens that spell JSON strings as `json.dumps` does, each character in one way.

A name that may not be written could be written all the same as `"\u006eame"`, if a library compares spellings. So where
names are told apart, only escapes are let through that a character needs. Called by the plugins.
"""

from __future__ import annotations

import threading
from typing import Any, Final

import numpy as np

from ....lang.errors import ConstraintError
from ....lang.schema_keywords import Schema, subschemas
from ..vocabulary import Vocabulary
from .api import MaskRow
from .automaton import DEAD
from .token_trie import build_token_trie

PLAIN: Final = 1  # the state outside of escapes
_CONTROL: Final = frozenset(map(chr, (*range(32), 127)))


def tells_names_apart(schema: Schema) -> bool:
    """Whether an object of `schema` treats names that it lists otherwise than others, which may be there too.

    `ConstraintError` when such a name has a control character in it, for which there are several escapes.
    """
    found = False
    for pointer, node in subschemas(schema):
        named = {"properties", "patternProperties", "required"} & node.keys()
        if named and node.get("additionalProperties") is not False:
            found = True
            names = [*_strings(node.get("properties")), *_strings(node.get("required"))]
            if any(not _CONTROL.isdisjoint(name) for name in names):
                raise ConstraintError(
                    f"the JSON schema names a property with a control character at {pointer or '/'}, which is held "
                    "only beside additionalProperties: false"
                )
    return found


class EscapeMasks:
    r"""Masks by how far an escape has come at the end of the text: `\`, `\u`, ... Made once per vocabulary."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._token_bytes = vocabulary.token_bytes
        self._trie = build_token_trie(vocabulary)
        self._table, self._class_of_byte = _automaton()
        self._masks: dict[int, MaskRow] = {}
        self._lock = threading.Lock()

    def mask(self, state: int) -> MaskRow:
        """Return the tokens that may stand at `state`; never write to it."""
        with self._lock:
            if state not in self._masks:
                self._masks[state] = self._trie.mask(self._table, self._class_of_byte, state)
            return self._masks[state]

    def after(self, state: int, token_id: int) -> int:
        """Return the state behind a token; `DEAD` if it has another escape in it."""
        text = self._token_bytes[token_id]
        if state == PLAIN and b"\\" not in text:
            return PLAIN
        for byte in text:
            state = int(self._table[state, self._class_of_byte[byte]])
        return state


def _automaton() -> tuple[Any, Any]:
    r"""Return table (states, 256) and byte classes: `\"`, `\\`, `\b` and kin, `\u00..` of control characters."""
    escape, u, zero, high, control, last = range(2, 8)
    table = np.zeros((8, 256), dtype=np.int32)
    table[PLAIN] = PLAIN
    table[PLAIN, ord("\\")] = escape
    table[escape, list(b'"\\bfnrt')] = PLAIN
    table[escape, ord("u")] = u
    table[u, ord("0")] = zero
    table[zero, ord("0")] = high
    table[high, list(b"01")] = control
    table[high, ord("7")] = last
    table[control, list(b"0123456789abcdefABCDEF")] = PLAIN
    table[last, list(b"fF")] = PLAIN
    assert not table[DEAD].any()
    return table, np.arange(256, dtype=np.uint8)


def _strings(value: object) -> list[str]:
    """The strings in a list, or among a dict's keys; none in what is neither."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, dict | list) else []
