"""A JSON schema as a regex over JSON text, for schemas where that is exact: no recursion, no overlap, closed objects.

It knows the keywords listed below; anything else is refused by name. White space, key order and escapes are those of
`json.dumps` without `ensure_ascii`, as in the other plugins. Knows nothing of tokens. Called by the outlines plugin.
"""

from __future__ import annotations

import json
from typing import Any, Final

from ....lang.errors import ConstraintError
from ....lang.schema_keywords import UNHELD_KEYWORDS, Schema
from .integer_ranges import integer_regex
from .json_formats import PATTERNS
from .json_text import CHARACTER, constant_regex, text_regex

MAX_LEN: Final = 128 << 10  # characters of the result; a reference is written out at every use
MAX_DEPTH: Final = 64  # of schemas and references inside each other

_REMARKS: Final = frozenset(
    "$schema $id $comment $defs definitions title description default examples deprecated readOnly writeOnly "
    "discriminator".split()
)
_BOUNDS: Final = frozenset("minimum maximum exclusiveMinimum exclusiveMaximum".split())
_OF_TYPE: Final[dict[str, frozenset[str]]] = {
    "null": frozenset(),
    "boolean": frozenset(),
    "integer": _BOUNDS,
    "number": frozenset(),
    "string": frozenset({"minLength", "maxLength", "pattern", "format"}),
    "array": frozenset({"items", "prefixItems", "minItems", "maxItems"}),
    "object": frozenset({"properties", "required", "additionalProperties"}),
}
_FORMATS: Final = {**PATTERNS, "uuid": "[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"}
FORMATS: Final = frozenset(_FORMATS)
REFUSED: Final = UNHELD_KEYWORDS | frozenset(
    "allOf oneOf multipleOf patternProperties minProperties maxProperties additionalItems $anchor".split()
)
"""Keywords that no schema in this form can hold."""
_SHAPES: Final[dict[str, type | tuple[type, ...]]] = {
    "$ref": str,
    "anyOf": list,
    "enum": list,
    "type": (str, list),
    "pattern": str,
    "format": str,
    "minLength": int,
    "maxLength": int,
    "minItems": int,
    "maxItems": int,
    "prefixItems": list,
    "properties": dict,
    "required": list,
}
_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"


def schema_regex(schema: Schema) -> str:
    r"""Return the pattern, in Python's syntax, of the JSON texts that `schema` accepts.

    Raises `ConstraintError` that says what in it cannot be written as a regex, and where.

    >>> schema_regex({"type": "array", "items": {"type": "boolean"}, "minItems": 1})
    '\\[(?:(?:true|false)(?:, (?:true|false)){0,})\\]'
    """
    return _Writer(schema).value(schema, "", ())


class _Writer:
    """Writes the values of one document; `path` is a JSON pointer, `inside` the references being written out."""

    def __init__(self, document: Schema) -> None:
        self._document = document

    def value(self, schema: Any, path: str, inside: tuple[str, ...]) -> str:
        """Return the regex of one schema."""
        if not isinstance(schema, dict):
            raise _refused(f"the schema {json.dumps(schema)}", path)
        if path.count("/") + len(inside) > 2 * MAX_DEPTH:
            raise _refused("schemas inside each other without end", path)
        _check_shape(schema, path)
        kinds = [keyword for keyword in ("$ref", "anyOf", "enum", "const") if keyword in schema]
        if not kinds:
            return self._typed(schema, path, inside)
        allowed = _REMARKS | {kinds[0]} | ({"type"} if kinds[0] in ("enum", "const") else set())
        _check_keywords(schema, allowed, path)
        match kinds[0]:
            case "$ref":
                text = self._referred(schema["$ref"], path, inside)
            case "anyOf":
                parts = [self.value(part, f"{path}/anyOf/{i}", inside) for i, part in enumerate(schema["anyOf"])]
                if not parts:
                    raise _refused("an empty anyOf", path)
                text = f"(?:{'|'.join(parts)})"
            case keyword:
                values = schema["enum"] if keyword == "enum" else [schema["const"]]
                text = _constants(values, schema.get("type"), path)
        if len(text) > MAX_LEN:
            raise ConstraintError(f"the JSON schema takes more than {MAX_LEN} characters as a regex")
        return text

    def _referred(self, reference: str, path: str, inside: tuple[str, ...]) -> str:
        if reference in inside:
            raise _refused(f"the recursion through {reference}", path)
        target: Any = self._document
        names = reference.split("/")
        for name in names[1:]:
            name = name.replace("~1", "/").replace("~0", "~")
            if names[0] != "#" or not isinstance(target, dict) or name not in target:
                raise _refused(f"the reference {reference!r}", path)
            target = target[name]
        return self.value(target, path, (*inside, reference))

    def _typed(self, schema: dict[str, Any], path: str, inside: tuple[str, ...]) -> str:
        names = schema.get("type")
        listed: list[Any] = names if isinstance(names, list) else [names]
        if not listed or any(not isinstance(name, str) or name not in _OF_TYPE for name in listed):
            raise _refused(
                f"a schema of type {json.dumps(names)}" if "type" in schema else "a schema without a type", path
            )
        _check_keywords(schema, _REMARKS.union({"type"}, *(_OF_TYPE[name] for name in listed)), path)
        parts = [self._of_type(name, schema, path, inside) for name in listed]
        return parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})"

    def _of_type(self, name: str, schema: dict[str, Any], path: str, inside: tuple[str, ...]) -> str:
        match name:
            case "null":
                return "null"
            case "boolean":
                return "(?:true|false)"
            case "integer":
                return integer_regex({keyword: schema[keyword] for keyword in _BOUNDS & schema.keys()})
            case "number":
                return _NUMBER
            case "string":
                return _string(schema, path)
            case "array":
                return self._array(schema, path, inside)
            case _:
                return self._object(schema, path, inside)

    def _array(self, schema: dict[str, Any], path: str, inside: tuple[str, ...]) -> str:
        low, high = schema.get("minItems", 0), schema.get("maxItems")
        prefix = schema.get("prefixItems")
        if prefix is None:
            if "items" not in schema:
                raise _refused("an array without items", path)
            if high == 0:
                return r"\[\]"
            item = self.value(schema["items"], f"{path}/items", inside)
            more = f"(?:, {item}){{{max(low - 1, 0)},{'' if high is None else high - 1}}}"
            return rf"\[(?:{item}{more}){'' if low else '?'}\]"
        if schema.get("items") is not False and high != len(prefix):
            raise _refused("an array that goes on after prefixItems", path)
        parts = [self.value(part, f"{path}/prefixItems/{i}", inside) for i, part in enumerate(prefix)]
        text = ""
        for index in range(min(len(parts), len(parts) if high is None else high) - 1, -1, -1):
            text = (", " if index else "") + parts[index] + text
            text = text if index < low else f"(?:{text})?"
        return rf"\[{text}\]"

    def _object(self, schema: dict[str, Any], path: str, inside: tuple[str, ...]) -> str:
        if schema.get("additionalProperties") is not False:
            raise _refused("an object without additionalProperties: false", path)
        required = set(schema.get("required", ()))
        members: list[tuple[str, bool]] = []
        for name, part in schema.get("properties", {}).items():
            if part is False:
                continue
            members.append(
                (f"{constant_regex(name)}: {self.value(part, f'{path}/properties/{name}', inside)}", name in required)
            )
            required.discard(name)
        if required:
            raise _refused(f"required properties that are not allowed ({', '.join(sorted(required))})", path)
        # From the last member to the first: what may follow when something stands before, and when nothing does.
        after, first = "", ""
        for member, is_required in reversed(members):
            first = f"{member}{after}" if is_required else f"(?:{member}{after}|{first})"
            after = f", {member}{after}" if is_required else f"(?:, {member})?{after}"
            if len(first) > MAX_LEN:
                raise ConstraintError(f"the JSON schema takes more than {MAX_LEN} characters as a regex")
        return rf"\{{{first}\}}"


def _string(schema: dict[str, Any], path: str) -> str:
    low, high = schema.get("minLength", 0), schema.get("maxLength")
    given = [keyword for keyword in ("pattern", "format") if keyword in schema]
    if not given:
        return f'"{CHARACTER}{{{low},{"" if high is None else high}}}"'
    if len(given) > 1 or low or high is not None:
        raise _refused(f"{given[0]} together with {', '.join(_OF_TYPE['string'] & schema.keys() - {given[0]})}", path)
    if "pattern" in schema:
        return f'"{text_regex(schema["pattern"])}"'
    if schema["format"] not in _FORMATS:
        raise _refused(f"the format {schema['format']!r}", path)
    return f'"{_FORMATS[schema["format"]]}"'


def _constants(values: list[Any], names: Any, path: str) -> str:
    listed = names if isinstance(names, list) else [names]
    texts = [constant_regex(value) for value in values if names is None or _is_of_type(value, listed)]
    if not texts:
        raise ConstraintError(f"nothing satisfies the JSON schema at {path or '/'}: no constant is of its type")
    return f"(?:{'|'.join(dict.fromkeys(texts))})"


def _is_of_type(value: Any, names: list[Any]) -> bool:
    match value:
        case None:
            return "null" in names
        case bool():
            return "boolean" in names
        case int() | float():
            return "number" in names or ("integer" in names and float(value).is_integer())
        case str():
            return "string" in names
        case list():
            return "array" in names
        case _:
            return "object" in names


def _check_keywords(schema: dict[str, Any], allowed: frozenset[str] | set[str], path: str) -> None:
    others = [keyword for keyword in schema if keyword not in allowed]
    if others:
        raise _refused(f"{', '.join(others)} here", path)


def _check_shape(schema: dict[str, Any], path: str) -> None:
    for keyword, shape in _SHAPES.items():
        value = schema.get(keyword)
        is_count = isinstance(value, int) and value is not True and value >= 0
        if keyword in schema and not (is_count if shape is int else isinstance(value, shape)):
            raise _refused(f"{keyword} with the value {json.dumps(value)[:60]}", path)
    if not all(isinstance(name, str) for name in schema.get("required", ())):
        raise _refused("required with something else than names", path)


def _refused(what: str, path: str) -> ConstraintError:
    return ConstraintError(f"the JSON schema cannot be written as a regex: {what} at {path or '/'}")
