"""`SchemaReader`: how the text of a gen with `json_schema=` becomes a value that fits the schema.

Every value is validated, whatever the mask held: backends may hold less than they say, and `strict=False` less than the
schema. Made by the gen; called when its text is complete.
"""

from __future__ import annotations

import decimal
import functools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from .constraints import JsonSchema
from .errors import ParseError
from .json_shape import Shape
from .partial_json import Partial, PartialJson


@dataclass(frozen=True, slots=True)
class SchemaReader:
    """Reads JSON that is held to `constraint`."""

    constraint: JsonSchema

    def __call__(self, text: str) -> Any:
        """Return the JSON value that `text` spells; `ParseError` when it spells none or none that fits the schema."""
        try:
            value = json.loads(text, parse_constant=_no_constant)
        except ValueError as error:
            raise ParseError(f"{_shortened(text)} is not JSON: {error}", partial=text) from error
        found = _validator(self.constraint.schema).iter_errors(value)
        reasons = [f"{_path(error.absolute_path)}{error.message}" for error in sorted(found, key=_place)]
        if reasons:
            raise ParseError(f"{_shortened(text)} does not fit the JSON schema: {'; '.join(reasons)}", partial=text)
        return value

    def partial(self, *, open_strings: bool = False) -> Partial:
        """Return what reads the text while it comes, as plain JSON."""
        return PartialJson(Shape(), open_strings=open_strings)


@functools.lru_cache(maxsize=256)
def _validator(schema: str) -> Any:
    """Return the validator of a schema, which never fetches anything."""
    from jsonschema import Draft202012Validator, validators
    from referencing import Registry

    made = validators.extend(Draft202012Validator, {"multipleOf": _multiple_of})
    return made(json.loads(schema), registry=Registry(), format_checker=Draft202012Validator.FORMAT_CHECKER)


def _multiple_of(validator: Any, step: Any, value: Any, schema: Any) -> Iterator[Any]:
    """Check `multipleOf` in decimals: in binary fractions 1233.1 is no multiple of 0.1."""
    from jsonschema import ValidationError

    if not validator.is_type(value, "number"):
        return
    try:
        rest = decimal.Decimal(repr(value)) % decimal.Decimal(repr(step))
    except decimal.InvalidOperation:  # more digits than decimals carry, or an infinite number
        rest = decimal.Decimal(1)
    if rest:
        yield ValidationError(f"{value!r} is not a multiple of {step!r}")


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")


def _place(error: Any) -> list[str]:
    return list(map(str, error.absolute_path))


def _path(keys: Iterable[str | int]) -> str:
    path = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")
    return f"{path}: " if path else ""


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
