"""`Shape`: how the parts of a JSON text become values one by one; `Places` says which part has which shape.

Here a shape is any JSON, read as it is; `type_shape` makes those of types. Used for partial values and exact decimals.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from .json_scanner import Event


class Shape:
    """Any JSON. The shapes of types know more about their parts and return values of the type."""

    shows_open_string = True
    """Whether the beginning of a string is worth showing: text, but no date."""
    quotes_numbers = False
    """Whether a number is to be read digit by digit, which JSON does for strings only."""

    def inside(self, bracket: str) -> Shape:
        """The shape of a value that begins with this bracket."""
        return self

    def field(self, key: str) -> tuple[str, Shape]:
        """The name of the field of a JSON key and its shape."""
        return key, ANY

    def item(self, index: int) -> Shape:
        """The shape of an item."""
        return ANY

    def scalar(self, text: str) -> Any:
        """Read a string, number, true, false or null."""
        return json.loads(text)

    def closed(self, container: Any, text: Callable[[], str]) -> Any:
        """Read an object or array: `container` has its values, `text()` is its JSON."""
        return container

    def checked(self, annotation: Any) -> Shape:
        """The shape of `annotation`, an `Annotated` form of this shape's type."""
        return self


ANY: Final = Shape()


@dataclass(slots=True)
class _Place:
    """An open object or array; in an object, `name` and `next` are of the property whose value comes next."""

    shape: Shape
    is_array: bool
    length: int = 0
    name: str = ""
    next: Shape = ANY


class Places:
    """Follows the events of a scanner and knows the shape of each."""

    def __init__(self, root: Shape) -> None:
        self._root = root
        self._open: list[_Place] = []

    @property
    def name(self) -> str:
        """The field name of the property that is open in the innermost object."""
        return self._open[-1].name

    @property
    def next(self) -> Shape:
        """The shape of the value that is open or comes next."""
        if not self._open:
            return self._root
        place = self._open[-1]
        return place.shape.item(place.length) if place.is_array else place.next

    def take(self, event: Event) -> Shape:
        """Take the next event and return the shape of what it opens, closes or is; a key has that of its value."""
        shape = self.next
        match event.kind:
            case "key":
                place = self._open[-1]
                place.name, place.next = place.shape.field(json.loads(event.text))
                return place.next
            case "open":
                shape = shape.inside(event.text)
                self._open.append(_Place(shape, event.text == "["))
                return shape
            case "close":
                shape = self._open.pop().shape
        if self._open:
            self._open[-1].length += 1
        return shape
