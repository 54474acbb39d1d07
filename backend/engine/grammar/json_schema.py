"""Check a JSON schema before any library sees it: its size, and that every keyword in it will be enforced.

A keyword that is ignored would let invalid values through without a word, so it is an error that names it and where it
stands. Knows nothing of tokens. Called by the plugins that take schemas.
"""

from __future__ import annotations

import json
from collections.abc import Set

from ....lang.errors import ConstraintError
from ....lang.schema_keywords import Schema, find_unheld, loosened, subschemas

MAX_SCHEMA_LEN = 64 << 10  # characters
MAX_DEPTH = 64
MAX_ENUM = 10_000  # values


def parse_schema(text: str, *, refused: Set[str], formats: Set[str], strict: bool = True) -> Schema:
    """Return the schema that `text` holds; `ConstraintError` for one that is malformed, too large or not enforceable.

    `refused`: keywords that the engine does not enforce. `formats`: values of `format` that it does. Without `strict`
    these keywords are left out: whoever reads the value validates it against the whole schema.
    """
    if len(text) > MAX_SCHEMA_LEN:
        raise ConstraintError(f"the JSON schema is {len(text)} characters long; at most {MAX_SCHEMA_LEN} are allowed")
    try:
        schema = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConstraintError(f"the JSON schema is not JSON: {error}") from error
    except RecursionError as error:
        raise ConstraintError(f"the JSON schema is nested too deeply; at most {MAX_DEPTH} levels") from error
    if not isinstance(schema, (dict, bool)):
        raise ConstraintError(f"a JSON schema is an object or a boolean, got {type(schema).__name__}")
    _check_depth(schema)
    if not strict:
        return loosened(schema, refused=refused, formats=formats)
    found = find_unheld(schema, refused=refused, formats=formats)
    if found:
        raise ConstraintError(f"the JSON schema uses keywords that are not enforced: {', '.join(map(str, found))}")
    for _, node in list(subschemas(schema)):
        if node.get("uniqueItems") is False:  # asks for nothing, and engines that lack the keyword stumble over it
            del node["uniqueItems"]
    return schema


def _check_depth(value: object) -> None:
    """Bound the nesting and the lists of values, level by level."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        if not level:
            return
        below: list[object] = []
        for node in level:
            if isinstance(node, dict):
                values = node.get("enum")
                if isinstance(values, list) and len(values) > MAX_ENUM:
                    raise ConstraintError(f"an enum of {len(values)} values; at most {MAX_ENUM} are allowed")
                below.extend(node.values())
            elif isinstance(node, list):
                below.extend(node)
        level = below
    raise ConstraintError(f"the JSON schema is nested too deeply; at most {MAX_DEPTH} levels")
