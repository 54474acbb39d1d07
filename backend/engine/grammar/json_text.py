"""How text stands inside a JSON string: regexes over characters become regexes over their spelling.

Control characters, the quotation mark and the backslash are escaped, everything else stands for itself. Knows nothing
of schemas. Called by the translation of schemas to regexes.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from ....lang.errors import ConstraintError
from .character_set import normalise
from .regex_syntax import translate

_ESCAPES: Final = {8: "b", 9: "t", 10: "n", 12: "f", 13: "r", 34: '"', 92: r"\\"}
_ESCAPED: Final = frozenset({*range(0x20), 0x22, 0x5C, 0x7F})
CHARACTER: Final = r'(?:[^\x00-\x1f"\\\x7f]|\\(?:["\\bfnrt]|u00(?:[01][0-9a-fA-F]|7[fF])))'
"""Any one character."""

# What a translated pattern consists of besides grouping and quantifiers: one character, or a class.
_CHARACTERS = re.compile(
    r"\(\?:|\\x\{(?P<one>[0-9a-f]+)\}|\[(?P<class>[^\]]+)\]|\{[0-9,]+\}|[()|]|(?P<letter>[0-9A-Za-z])"
)
_PAIR = re.compile(r"\\x\{([0-9a-f]+)\}-\\x\{([0-9a-f]+)\}")


def text_regex(pattern: str) -> str:
    r"""Return the regex of the JSON spellings of the texts in which `pattern` is found, quotation marks left out.

    As in JSON Schema: found anywhere unless anchored; `\d` and `\w` are ASCII. `\s`, which is not, is refused.

    >>> text_regex('^a"$')
    'a\\\\"'
    """
    at_start, at_end = pattern.startswith("^"), bool(re.search(r"(?<!\\)(?:\\\\)*\$\Z", pattern))
    if (at_start or at_end) and _has_bar(pattern):
        raise ConstraintError(f"pattern {pattern!r}: an anchor that belongs to one alternative only cannot be held")
    if re.search(r"(?<!\\)(?:\\\\)*\\[sS]", pattern):
        raise ConstraintError(rf"pattern {pattern!r}: \s and \S, white space of all of Unicode, cannot be held")
    inner = pattern[at_start : len(pattern) - at_end]
    whole = f"(?a){'' if at_start else '(?s:.*)'}(?:{inner}){'' if at_end else '(?s:.*)'}"
    return _CHARACTERS.sub(_spelled, translate(whole).pattern)


def _has_bar(pattern: str) -> bool:
    """Return whether the pattern consists of alternatives, seen from outside."""
    outside = re.sub(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", "", pattern, flags=re.DOTALL)  # escapes and classes gone
    depth = 0
    for character in outside:
        depth += (character == "(") - (character == ")")
        if character == "|" and depth == 0:
            return True
    return False


def constant_regex(value: Any) -> str:
    """Return the regex of the spellings of one JSON value; its objects keep the order of their keys."""
    match value:
        case str():
            return '"' + "".join(_class([(ord(character), ord(character))]) for character in value) + '"'
        case float() if value.is_integer() and abs(value) < 2**53:
            return str(int(value))
        case list():
            return rf"\[{', '.join(map(constant_regex, value))}\]"
        case dict():
            members = (f"{constant_regex(key)}: {constant_regex(part)}" for key, part in value.items())
            return rf"\{{{', '.join(members)}\}}"
        case _:
            return re.escape(json.dumps(value))


def _spelled(found: re.Match[str]) -> str:
    if found["one"] or found["letter"]:
        code = int(found["one"], 16) if found["one"] else ord(found["letter"])
        return _class([(code, code)])
    if found["class"]:
        return _class([(int(first, 16), int(last, 16)) for first, last in _PAIR.findall(found["class"])])
    return found[0]


def _class(ranges: list[tuple[int, int]]) -> str:
    """Return the regex of one character out of `ranges`."""
    if len(ranges) == 1 and ranges[0][0] == ranges[0][1] and ranges[0][0] not in _ESCAPED:
        return re.escape(chr(ranges[0][0]))
    escaped = [code for code in sorted(_ESCAPED) if any(first <= code <= last for first, last in ranges)]
    parts = [spelling for code in escaped for spelling in _escapes(code)]
    plain = _without(ranges, escaped)
    if plain:
        parts.insert(0, "[" + "".join(f"{_code(first)}-{_code(last)}" for first, last in plain) + "]")
    return parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})"


def _without(ranges: list[tuple[int, int]], codes: list[int]) -> tuple[tuple[int, int], ...]:
    pieces = ranges
    for code in codes:
        pieces = [
            part
            for first, last in pieces
            for part in ([(first, code - 1), (code + 1, last)] if first <= code <= last else [(first, last)])
            if part[0] <= part[1]
        ]
    return normalise(pieces)


def _escapes(code: int) -> list[str]:
    spellings = [rf"\\{_ESCAPES[code]}"] if code in _ESCAPES else []
    if code not in (0x22, 0x5C):
        digits = "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in f"{code:02x}")
        spellings.append(rf"\\u00{digits}")
    return spellings


def _code(code: int) -> str:
    return f"\\U{code:08x}"
