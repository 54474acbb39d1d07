"""Formats of JSON Schema as regexes, where what libraries take for a format is wider than what its readers accept.

Dates exist in the calendar, years begin at 1, seconds end at 59: what `datetime` reads. Knows nothing of tokens. Called
by the plugins that take schemas, once the schema is checked.
"""

from __future__ import annotations

from typing import Any, Final

from ....lang import text_formats
from ....lang.schema_keywords import Schema, subschemas

PATTERNS: Final[dict[str, str]] = {
    "date": text_formats.DATE,
    "time": text_formats.FULL_TIME,
    "date-time": f"{text_formats.DATE}T{text_formats.FULL_TIME}",
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
