"""What of a type no mask can hold, by the path of the field, and the schema of the rest as a mask gets it.

Works on the marked schemas of `type_schema`, following `$ref`s. Called by `type_spec`, where a gen is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from .errors import ConstraintError
from .schema_keywords import find_unheld, subschemas
from .type_schema import DECIMAL, FORMATS, UNHELD, UNSAYABLE

# Words of a schema that say nothing about what may be written.
_REMARKS: Final = frozenset(
    f"title description default examples deprecated readOnly writeOnly discriminator {DECIMAL} {UNHELD}".split()
)
_DATA: Final = ("const", "enum")
_NAMED: Final = ("properties", "patternProperties", "$defs")
_OPEN: Final = ("additionalProperties", "items")
# Any JSON, but without numbers that only infinity can read.
_ANY_NAME: Final = "x-any"
_ANY: Final = {"$ref": f"#/$defs/{_ANY_NAME}"}
_ANY_JSON: Final[dict[str, Any]] = {
    "anyOf": [
        {"type": ["null", "boolean", "string"]},
        {"type": "number", "minimum": -(10**15), "maximum": 10**15},
        {"type": "array", "items": _ANY},
        {"type": "object", "additionalProperties": _ANY},
    ]
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in a type that no mask holds. `is_final`: checking the finished value does not help either."""

    path: str
    reason: str
    is_final: bool


def check_held(schema: dict[str, Any], name: str, *, strict: bool) -> None:
    """Raise `ConstraintError`, naming fields and reasons, for what cannot be held; without `strict`, cannot be said."""
    findings = [found for found in _findings(schema, schema.get("$defs", {}), "", set()) if strict or found.is_final]
    if not findings:
        return
    reasons = "; ".join(dict.fromkeys(_described(name, found) for found in findings))
    if not any(found.is_final for found in findings):
        reasons += ". With strict=False the finished value is checked instead"
    raise ConstraintError(reasons)


def held_schema(schema: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return the schema for the mask, and whether there are decimals in it.

    Objects hold their declared fields only, unless the type says otherwise, so that a value cannot grow forever; the
    tag of a tagged union must be written; marks and remarks are gone.
    """
    for _, node in list(subschemas(schema)):
        if "discriminator" in node:
            for variant in node["anyOf"]:
                _require(variant, node["discriminator"]["propertyName"], schema.get("$defs", {}))
    has_decimals = any(DECIMAL in node for _, node in subschemas(schema))
    result = _held(schema)
    if any(node == _ANY for _, node in subschemas(result)):
        result = {**result, "$defs": {**result.get("$defs", {}), _ANY_NAME: _ANY_JSON}}
    return result, has_decimals


def check_finite(schema: dict[str, Any], name: str) -> None:
    """Raise `ConstraintError` for a type that needs a value of itself inside every value of it."""
    definitions = schema.get("$defs", {})
    finite: set[str] = set()
    while True:
        found = {target for target, part in definitions.items() if _is_finite(part, finite)}
        if found == finite:
            break
        finite = found
    if not _is_finite(schema, finite):
        endless = ", ".join(target for target in definitions if target not in finite)
        raise ConstraintError(f"type {name} has no value that ends: {endless} always holds another one of its kind")


def _is_finite(node: Any, finite: set[str]) -> bool:
    """True when a value can be written with references to the definitions in `finite` only."""
    if not isinstance(node, dict):
        return True
    if "$ref" in node:
        return node["$ref"].removeprefix("#/$defs/") in finite
    needed = [node["properties"][key] for key in node.get("required", ()) if key in node.get("properties", {})]
    if node.get("minItems", 0) > 0:
        prefix = node.get("prefixItems", ())
        needed += prefix[: node["minItems"]] if prefix else [node.get("items")]
    if "anyOf" in node and not any(_is_finite(part, finite) for part in node["anyOf"]):
        return False
    return all(_is_finite(part, finite) for part in needed)


def _described(name: str, found: Finding) -> str:
    if not found.path:
        return f"type {found.reason}" if found.reason.startswith(name) else f"type {name}: {found.reason}"
    place = f"{name}{found.path}" if name.isidentifier() else f"type {name}, at {found.path.removeprefix('.')}"
    return f"{place}: {found.reason}"


def _findings(node: Any, definitions: dict[str, Any], path: str, seen: set[str]) -> Iterator[Finding]:
    if not isinstance(node, dict):
        return
    if "$ref" in node:
        target = str(node["$ref"]).removeprefix("#/$defs/")
        if target in seen or target not in definitions:
            return
        seen.add(target)
        yield from _findings(definitions[target], definitions, path, seen)
        return
    if UNSAYABLE in node:
        yield Finding(path, node[UNSAYABLE], is_final=True)
        return
    if UNHELD in node:
        yield Finding(path, node[UNHELD], is_final=False)
    else:
        for found in find_unheld(node):
            if not found.pointer and str(node.get("format")) not in FORMATS:
                yield Finding(path, f"the keyword {found.keyword} of its JSON schema is not enforced", is_final=False)
    for step, part in _parts(node):
        yield from _findings(part, definitions, path + step, seen)


def _parts(node: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield (step of the path, schema) of what a schema is made of."""
    for name, part in node.get("properties", {}).items():
        yield f".{name}", part
    for index, part in enumerate(node.get("prefixItems", ())):
        yield f"[{index}]", part
    yield "[]", node.get("items")
    yield "{}", node.get("additionalProperties")
    for part in node.get("patternProperties", {}).values():
        yield "{}", part
    for keyword in ("anyOf", "oneOf", "allOf"):
        for part in node.get(keyword, ()):
            yield "", part


def _require(variant: dict[str, Any], tag: str, definitions: dict[str, Any]) -> None:
    """Make an alternative of a tagged union write its tag, whether or not the tag has a default."""
    if "$ref" in variant:
        variant = definitions[variant["$ref"].removeprefix("#/$defs/")]
    for part in variant.get("anyOf", ()):
        _require(part, tag, definitions)
    if tag in variant.get("properties", {}) and tag not in variant.get("required", ()):
        variant["required"] = [*variant.get("required", ()), tag]


def _held(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_held(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in _REMARKS:
            continue
        if keyword in _DATA:
            result[keyword] = value
        elif keyword in _NAMED:
            result[keyword] = {name: _held(part) for name, part in value.items()}
        else:
            result[keyword] = _ANY if keyword in _OPEN and value is True else _held(value)
    if "properties" in result and result.get("type") == "object":
        result.setdefault("additionalProperties", False)
    if result.get("type") == "string" and result.get("format") in FORMATS and "pattern" not in result:
        pattern = FORMATS[result.pop("format")]
        result |= {"pattern": f"^(?:{pattern})$"} if pattern else {}
    return result or _ANY
