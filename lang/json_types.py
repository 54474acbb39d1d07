"""`json_spec`: the spec of a type that pydantic describes and reads: its schema for the mask, its values from text.

What is one string in JSON is written without quotes when it stands alone. Imported by `type_spec` when a program has
such a type.
"""

from __future__ import annotations

import functools
import json
import re
import types
import typing
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import SchemaError

from .constraints import Choices, Constraint, JsonSchema, Regex
from .errors import ConstraintError
from .partial_json import exact_decimals
from .type_refusal import check_finite, check_held, held_schema
from .type_schema import describe
from .type_shape import parts_of, shape_of
from .typed_dicts import adapter_of
from .types import TypeSpec

# escapes and character classes, in which nothing is punctuation, and what is left of groups and alternatives
_PUNCTUATION = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|[()|]", re.DOTALL)
# no schema, not a type, a forward reference that is not found, a package that a type needs
_NOT_DESCRIBED = (PydanticUserError, SchemaError, TypeError, NameError, ImportError)


def json_spec(name: str, annotation: Any, *, strict: bool) -> TypeSpec:
    """Return the spec of a type; `ConstraintError` names what of it cannot be held or said, and where."""
    if isinstance(annotation, (str, types.FunctionType, types.MethodType, types.BuiltinFunctionType)):
        raise ConstraintError(f"type= takes a type, got {annotation!r}")
    try:
        hash(annotation)
    except TypeError:  # the metadata of an Annotated may be of any kind
        return _spec(name, annotation, strict=strict)
    return _cached_spec(name, annotation, strict=strict)


def _spec(name: str, annotation: Any, *, strict: bool) -> TypeSpec:
    try:
        adapter = adapter_of(annotation)
        described = describe(adapter)
    except _NOT_DESCRIBED as error:
        path, _ = _culprit(annotation)
        where = f" (at {path.removeprefix('.')})" if path else ""
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise ConstraintError(f"type {name} cannot be expressed as JSON{where}: {reason}") from error
    check_held(described, name, strict=strict)
    schema, has_decimals = held_schema(described)
    check_finite(schema, name)
    if schema.get("type") == "string":
        return _text_spec(name, annotation, adapter, schema, strict=strict)
    text = json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
    shape = shape_of(annotation) if has_decimals else None

    def read(text: str) -> Any:
        return validated(adapter, text if shape is None else exact_decimals(text, shape))

    return TypeSpec(name, JsonSchema(text, strict), annotation, read, is_json=True)


_cached_spec = functools.lru_cache(maxsize=256, typed=True)(_spec)


def validated(adapter: TypeAdapter[Any], text: str) -> Any:
    """Return the value that a JSON text spells; `ValueError` with the place, the reason and what was found there."""
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
        raise ValueError("; ".join(_reason(item["loc"], item["msg"], item["input"]) for item in found)) from error


def _reason(place: tuple[int | str, ...], message: str, value: object) -> str:
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).removeprefix(".")
    shown = repr(value)
    got = f", got {shown if len(shown) <= 60 else shown[:57] + '...'}" if path and not isinstance(value, dict) else ""
    return f"{path}: {message}{got}" if path else f"{message}{got}"


def _text_spec(
    name: str, annotation: Any, adapter: TypeAdapter[Any], schema: dict[str, Any], *, strict: bool
) -> TypeSpec:
    """Return the spec of a type that is one string in JSON: its text stands without quotes."""
    constraint = _text_constraint(name, schema, strict=strict)
    is_annotated_str = typing.get_origin(annotation) is typing.Annotated and typing.get_args(annotation)[0] is str
    is_verbatim = constraint is None or is_annotated_str  # white space may belong to the value

    def read(text: str) -> Any:
        return validated(adapter, json.dumps(text if is_verbatim else text.strip(), ensure_ascii=False))

    return TypeSpec(name, constraint, annotation, read)


def _text_constraint(name: str, schema: dict[str, Any], *, strict: bool) -> Constraint | None:
    words = {keyword: value for keyword, value in schema.items() if keyword not in ("type", "$defs")}
    if not words:
        return None
    if words.keys() == {"pattern"} or ("pattern" in words and not strict):
        return Regex(_whole(words["pattern"]))
    if words.keys() <= {"minLength", "maxLength"}:
        return Regex(rf"(?:.|\n){{{words.get('minLength', 0)},{words.get('maxLength', '')}}}")
    if "enum" in words or "const" in words:
        return Choices(tuple(words.get("enum") or (words["const"],)))
    if strict:
        raise ConstraintError(
            f"type {name} cannot be enforced as plain text: no mask holds {' together with '.join(words)}"
        )
    return None


def _whole(pattern: str) -> str:
    """Return a pattern that matches a whole text where the schema's pattern matches anywhere in it."""
    is_anchored = pattern.startswith("^") and pattern.endswith("$") and not pattern.endswith("\\$")
    if is_anchored and not _has_open_alternative(pattern):
        return pattern[1:-1]
    return rf"(?:.|\n)*(?:{pattern})(?:.|\n)*"


def _has_open_alternative(pattern: str) -> bool:
    """True for a `|` outside of all groups: an anchor then belongs to one alternative only."""
    depth = 0
    for found in _PUNCTUATION.finditer(pattern):
        match found.group():
            case "(":
                depth += 1
            case ")":
                depth -= 1
            case "|" if depth == 0:
                return True
    return False


def _culprit(annotation: Any, path: str = "") -> tuple[str, Any]:
    """Return the path and type of the innermost part that pydantic cannot describe."""
    try:
        parts = list(parts_of(annotation))
    except (NameError, TypeError):
        return path, annotation
    for step, part in parts:
        try:
            adapter_of(part)
        except _NOT_DESCRIBED:
            return _culprit(part, path + step)
    return path, annotation
