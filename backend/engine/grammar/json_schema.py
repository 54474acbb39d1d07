"""Check a JSON schema before any library sees it: its size, and that every keyword in it will be enforced.

A keyword that is ignored would let invalid values through without a word, so it is an error that names it and where it
stands. Knows nothing of tokens. Called by the plugins that take schemas.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ....lang.errors import ConstraintError

MAX_SCHEMA_LEN = 64 << 10  # characters
MAX_DEPTH = 64
MAX_ENUM = 10_000  # values

# Keywords that hold one schema, a list of schemas, or a map from names to schemas.
_ONE = {"items", "additionalItems", "additionalProperties", "unevaluatedItems", "unevaluatedProperties", "contains"}
_ONE |= {"propertyNames", "not", "if", "then", "else"}
_LIST = {"allOf", "anyOf", "oneOf", "prefixItems", "items"}
_MAP = {"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"}

Schema = dict[str, Any] | bool


def parse_schema(text: str, *, refused: frozenset[str], formats: frozenset[str]) -> Schema:
    """Return the schema that `text` holds; `ConstraintError` for one that is malformed, too large or not enforceable.

    `refused`: keywords that the engine does not enforce. `formats`: values of `format` that it does.
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
    found = []
    for path, node in list(_schemas(schema, "")):
        if node.get("uniqueItems") is False:  # asks for nothing, and engines that lack the keyword stumble over it
            del node["uniqueItems"]
        if _has_unknown_format(node, formats):
            found.append(f"format {node['format']!r} at {path or '/'}")
        found += [f"{keyword} at {path or '/'}" for keyword in node if keyword in refused]
    if found:
        raise ConstraintError(f"the JSON schema uses keywords that are not enforced: {', '.join(found)}")
    return schema


def _has_unknown_format(node: dict[str, Any], formats: frozenset[str]) -> bool:
    # a format says something about strings only; elsewhere (OpenAPI's int32) it is a remark
    types = node.get("type", "string")
    return (
        "format" in node
        and "string" in (types if isinstance(types, list) else [types])
        and node["format"] not in formats
    )


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


def _schemas(schema: object, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (JSON pointer, schema) of every object schema inside `schema`, itself included."""
    if not isinstance(schema, dict):
        return
    yield path, schema
    for keyword, value in schema.items():
        if keyword in _LIST and isinstance(value, list):
            for index, part in enumerate(value):
                yield from _schemas(part, f"{path}/{keyword}/{index}")
        elif keyword in _ONE:
            yield from _schemas(value, f"{path}/{keyword}")
        elif keyword in _MAP and isinstance(value, dict):
            for name, part in value.items():
                yield from _schemas(part, f"{path}/{keyword}/{name}")
