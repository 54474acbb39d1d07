"""Formats of JSON Schema as regexes, where what libraries take for a format is wider than what its readers accept.

Dates exist in the calendar, years begin at 1, seconds end at 59: what `datetime` reads. Knows nothing of tokens. Called
by the plugins that take schemas, once the schema is checked.
"""

from __future__ import annotations

from typing import Any, Final

from ....lang.schema_keywords import Schema, subschemas

_DAY_28 = r"(?:0[1-9]|1[0-9]|2[0-8])"
_DAY_30 = r"(?:0[1-9]|[12][0-9]|30)"
_DAY_31 = r"(?:0[1-9]|[12][0-9]|3[01])"
_YEAR = r"(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"
_FOURTH = r"(?:0[48]|[2468][048]|[13579][26])"
_LEAP_YEAR = rf"(?:[0-9]{{2}}{_FOURTH}|{_FOURTH}00)"
_MONTH_AND_DAY = rf"(?:(?:0[13578]|1[02])-{_DAY_31}|(?:0[469]|11)-{_DAY_30}|02-{_DAY_28})"
_DATE = rf"(?:{_YEAR}-{_MONTH_AND_DAY}|{_LEAP_YEAR}-02-29)"
_HOUR = r"(?:[01][0-9]|2[0-3])"
_TIME = rf"{_HOUR}:[0-5][0-9]:[0-5][0-9](?:\.[0-9]{{1,6}})?(?:Z|[+-]{_HOUR}:[0-5][0-9])"

PATTERNS: Final[dict[str, str]] = {
    "date": _DATE,
    "time": _TIME,
    "date-time": rf"{_DATE}T{_TIME}",
}


def spell_out_formats(schema: Schema) -> Schema:
    """Replace the formats in `PATTERNS` by patterns, in place; a pattern that stood beside one holds as well.

    >>> spell_out_formats({"format": "uuid"})
    {'format': 'uuid'}
    """
    for _, node in list(subschemas(schema)):
        name = node.get("format")
        if isinstance(name, str) and name in PATTERNS:
            del node["format"]
            pattern: dict[str, Any] = {"pattern": f"^(?:{PATTERNS[name]})$"}
            if "pattern" in node:
                node["allOf"] = [*node.get("allOf", []), pattern]
            else:
                node.update(pattern)
    return schema
