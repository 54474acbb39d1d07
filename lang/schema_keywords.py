"""Which keywords of JSON Schema a mask holds, where in a schema the others stand, and the schema without them.

Pure facts about schemas: nothing here compiles or validates one. Read where a gen is written, so that what cannot be
held is refused there, and by grammar plugins, which may bring their own lists.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import Any, Final

from .unheld_regex import unheld_syntax

Schema = dict[str, Any] | bool

UNHELD_KEYWORDS: Final = frozenset(
    "not if then else uniqueItems contains minContains maxContains propertyNames dependentRequired dependentSchemas "
    "dependencies unevaluatedItems unevaluatedProperties $dynamicRef $recursiveRef x-guidance".split()
)
HELD_FORMATS: Final = frozenset("date-time time date duration email hostname ipv4 ipv6 uri uuid".split())

# Keywords that hold one schema, a list of schemas, or a map from names to schemas.
_ONE: Final = frozenset(
    "items additionalItems additionalProperties unevaluatedItems unevaluatedProperties contains propertyNames not if "
    "then else".split()
)
_LIST: Final = frozenset("allOf anyOf oneOf prefixItems items".split())
_MAP: Final = frozenset("properties patternProperties $defs definitions dependentSchemas".split())

# What would forbid more than it was meant to, once the keyword on the left is gone.
_LEAN_ON: Final[dict[str, tuple[str, ...]]] = {
    "properties": ("additionalProperties", "unevaluatedProperties"),
    "patternProperties": ("additionalProperties", "unevaluatedProperties"),
    "prefixItems": ("items", "additionalItems", "unevaluatedItems"),
    "items": ("additionalItems", "unevaluatedItems"),
    "contains": ("minContains", "maxContains", "unevaluatedItems"),
    "if": ("then", "else"),
    "then": ("if", "else"),
    "else": ("if", "then"),
}
# Keywords under which a schema that accepts more makes the whole accept less.
_INVERTED: Final = ("not", "if", "then", "else", "contains")


@dataclass(frozen=True, slots=True)
class Unheld:
    """A keyword that no mask holds and the JSON pointer of the schema it stands in."""

    keyword: str
    pointer: str

    def __str__(self) -> str:
        return f"{self.keyword} at {self.pointer or '/'}"


def find_unheld(
    schema: Schema, *, refused: Set[str] = UNHELD_KEYWORDS, formats: Set[str] = HELD_FORMATS
) -> list[Unheld]:
    """Return the keywords of `schema` that are in `refused`, and the formats of strings that are not in `formats`.

    >>> [str(found) for found in find_unheld({"items": {"type": "array", "uniqueItems": True}})]
    ['uniqueItems at /items']
    """
    return [
        Unheld(keyword, pointer)
        for pointer, node in subschemas(schema)
        for keyword in _unheld_here(node, refused, formats)
    ]


def loosened(schema: Schema, *, refused: Set[str] = UNHELD_KEYWORDS, formats: Set[str] = HELD_FORMATS) -> Schema:
    """Return a schema that accepts whatever `schema` accepts, and more, without the keywords that are not held.

    The value has to be validated against `schema` itself afterwards. `oneOf` becomes `anyOf`.

    >>> loosened({"type": "array", "items": {"oneOf": [{"type": "null"}]}, "uniqueItems": True})
    {'type': 'array', 'items': {'anyOf': [{'type': 'null'}]}}
    """
    if not isinstance(schema, dict):
        return schema
    parts = {keyword: _loosened_part(keyword, value, refused, formats) for keyword, value in schema.items()}
    gone = {word.partition(" ")[0] for word in _unheld_here(schema, refused, formats)} | (refused & parts.keys())
    gone |= {word for word in _INVERTED if word in parts and parts[word] != schema[word]}
    gone |= {word for keyword in gone for word in _LEAN_ON.get(keyword, ())}
    result = {keyword: part for keyword, part in parts.items() if keyword not in gone}
    if "oneOf" in result:  # a looser alternative may match together with another one
        choice = {"anyOf": result.pop("oneOf")}
        result = {**result, "allOf": [*result.get("allOf", ()), choice]} if "anyOf" in result else {**result, **choice}
    return result


def subschemas(schema: object, pointer: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (JSON pointer, schema) of every object schema inside `schema`, itself included."""
    if not isinstance(schema, dict):
        return
    yield pointer, schema
    for keyword, value in schema.items():
        if keyword in _LIST and isinstance(value, list):
            for index, part in enumerate(value):
                yield from subschemas(part, f"{pointer}/{keyword}/{index}")
        elif keyword in _ONE:
            yield from subschemas(value, f"{pointer}/{keyword}")
        elif keyword in _MAP and isinstance(value, dict):
            for name, part in value.items():
                yield from subschemas(part, f"{pointer}/{keyword}/{name}")


def _unheld_here(node: dict[str, Any], refused: Set[str], formats: Set[str]) -> Iterator[str]:
    """Yield the keywords of one schema that are not held; a format with its value, a pattern with the reason."""
    types = node.get("type", "string")
    is_text = "string" in (types if isinstance(types, list) else [types])  # elsewhere (OpenAPI's int32) it is a remark
    if is_text and "format" in node and str(node["format"]) not in formats:
        yield f"format {node['format']!r}"
    patterns = {"pattern": node.get("pattern"), "patternProperties": node.get("patternProperties")}
    for keyword, value in patterns.items():
        for pattern in value if isinstance(value, dict) else (value,):
            syntax = unheld_syntax(pattern) if isinstance(pattern, str) else None
            if syntax is not None:
                yield f"{keyword} {pattern!r} with {syntax}"
    yield from _unheld_counts(node)
    for keyword in node:
        if keyword in refused and not (keyword == "uniqueItems" and node[keyword] is False):  # asks for nothing
            yield keyword


def _unheld_counts(node: dict[str, Any]) -> Iterator[str]:
    """Yield the bounds on an object's size that are not held: names may be left out, and free ones come twice."""
    names, required = node.get("properties"), node.get("required")
    known = set(required) if isinstance(required, list) else set()
    is_open = isinstance(names, dict) and not known.issuperset(names)
    least = node.get("minProperties", 0)
    for keyword in ("minProperties", "maxProperties"):
        repeats = keyword == "minProperties" and isinstance(least, int) and least > max(1, len(known))
        if keyword in node and (is_open or repeats):
            yield keyword


def _loosened_part(keyword: str, value: Any, refused: Set[str], formats: Set[str]) -> Any:
    """Return the value of a keyword with the schemas in it loosened."""
    if keyword in _LIST and isinstance(value, list):
        return [loosened(part, refused=refused, formats=formats) for part in value]
    if keyword in _ONE:
        return loosened(value, refused=refused, formats=formats)
    if keyword in _MAP and isinstance(value, dict):
        return {name: loosened(part, refused=refused, formats=formats) for name, part in value.items()}
    return value
