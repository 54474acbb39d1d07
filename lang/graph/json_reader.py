"""`JsonReader`: one JSON value and the place it stands at, so that what is wrong is refused by its path.

Used by `decode.py`; it knows nothing of graphs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from ..constraints import check_characters
from ..errors import ParameterError, ProgramError, did_you_mean


def read_json(text: str | bytes) -> JsonReader:
    """Return a reader of a JSON text; `ProgramError` when it is none."""
    try:
        return JsonReader(json.loads(text, parse_constant=_refuse_constant), "")
    except (ValueError, RecursionError) as error:
        raise ProgramError(f"this is not the JSON of a graph: {error}") from error


class JsonReader:
    """A value in a JSON document. Every method raises `ProgramError` with the path when it is not what is asked for."""

    def __init__(self, value: Any, path: str) -> None:
        self.value = value
        self.path = path

    def fail(self, what: str) -> NoReturn:
        """Raise `ProgramError` about this place."""
        raise ProgramError(f"{self.path or 'the graph'} {what}")

    def record(self, required: Sequence[str] = (), optional: Sequence[str] = ()) -> dict[str, JsonReader]:
        """Return the fields of an object that holds these names and no others."""
        if not isinstance(self.value, dict):
            self.fail(f"has to be an object, not {_kind(self.value)}")
        known = (*required, *optional)
        for name in self.value:
            if name not in known:
                self.fail(f"has no field {name!r}{did_you_mean(name, known)}; it has {', '.join(known) or 'none'}")
        for name in required:
            if name not in self.value:
                self.fail(f"lacks the field {name!r}")
        return {name: self.field(name) for name in self.value}

    def field(self, name: str) -> JsonReader:
        """Return a field of an object, None where there is none."""
        if not isinstance(self.value, dict):
            self.fail(f"has to be an object, not {_kind(self.value)}")
        return JsonReader(self.value.get(name), f"{self.path}.{name}".removeprefix("."))

    def items(self) -> Iterator[JsonReader]:
        """Yield the items of a list."""
        if not isinstance(self.value, list):
            self.fail(f"has to be a list, not {_kind(self.value)}")
        for index, item in enumerate(self.value):
            yield JsonReader(item, f"{self.path}[{index}]")

    def text(self) -> str:
        """Return a string, one that can be written as UTF-8."""
        if not isinstance(self.value, str):
            self.fail(f"has to be a string, not {_kind(self.value)}")
        try:
            check_characters(self.value)
        except ParameterError as error:
            self.fail(f"is broken: {error}")
        return self.value

    def number(self) -> int:
        """Return an integer."""
        if isinstance(self.value, bool) or not isinstance(self.value, int):
            self.fail(f"has to be an integer, not {_kind(self.value)}")
        return self.value

    def name(self) -> str:
        """Return a string that is not empty."""
        return self.text() or self.fail("has to be a name, not the empty string")

    def number_or_none(self) -> int | None:
        """Return an integer or None."""
        return None if self.value is None else self.number()

    def name_or_none(self) -> str | None:
        """Return a name or None."""
        return None if self.value is None else self.name()


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case _:
            return "an object"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
