"""`SchemaReader`: how the text of a gen with `json_schema=` becomes a value, validated where the mask did not hold it.

The validator is imported for the first value that needs one. Made by the gen; called when its text is complete.
"""

from __future__ import annotations

import json
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
        """Return the JSON value that `text` spells.

        `ParseError` when it spells none and, for a schema with `strict=False`, when it does not fit the schema.
        """
        try:
            value = json.loads(text)
        except ValueError as error:
            raise ParseError(f"{_shortened(text)} is not JSON: {error}", partial=text) from error
        if not self.constraint.strict:
            self._validate(value, text)
        return value

    def partial(self, *, open_strings: bool = False) -> Partial:
        """Return what reads the text while it comes, as plain JSON."""
        return PartialJson(Shape(), open_strings=open_strings)

    def _validate(self, value: Any, text: str) -> None:
        from jsonschema import Draft202012Validator

        validator = Draft202012Validator(json.loads(self.constraint.schema))
        found = sorted(validator.iter_errors(value), key=lambda error: list(map(str, error.absolute_path)))
        if found:
            reasons = (f"{_path(error.absolute_path)}{error.message}" for error in found)
            raise ParseError(f"{_shortened(text)} does not fit the JSON schema: {'; '.join(reasons)}", partial=text)


def _path(keys: Any) -> str:
    path = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")
    return f"{path}: " if path else ""


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
