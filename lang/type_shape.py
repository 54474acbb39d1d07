"""`shape_of`: how the parts of a type's JSON become values one by one, while the rest is still being written.

A shape says which shape each field and item has, and reads a part once its text is closed. Parts whose type cannot be
told yet (an open union) are plain JSON until they close. Used for partial values and for exact decimals.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import functools
import json
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Self, Union

import typing_extensions
from pydantic import AliasChoices, AliasPath, BaseModel, RootModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from .json_shape import ANY, Shape
from .partial_json import exact_decimals
from .typed_dicts import adapter_of

_PLAIN = (str, int, bool, type(None), None, Any, object)  # read as JSON has them
_SCALARS = (str, int, float, bool, type(None), decimal.Decimal, enum.Enum, datetime.date, datetime.time)
_MAKERS: dict[Any, Callable[[list[Any]], Any] | None] = {
    list: lambda items: items,
    tuple: tuple,
    set: None,
    frozenset: None,
}


class Leaf(Shape):
    """A value that is read as a whole, by pydantic. What does not validate yet is shown as it is; the end tells."""

    shows_open_string = False

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation

    @functools.cached_property
    def adapter(self) -> TypeAdapter[Any]:
        """What reads the type."""
        return adapter_of(self.annotation)

    def scalar(self, text: str) -> Any:
        """Read a string, number, true, false or null."""
        return self._validated(exact_decimals(text, self), json.loads(text))

    def closed(self, container: Any, text: Callable[[], str]) -> Any:
        """Read an object or array."""
        return self._validated(text(), container)

    def checked(self, annotation: Any) -> Self:
        """Read by the rules of `annotation` from now on."""
        self.annotation = annotation
        return self

    def _validated(self, text: str, otherwise: Any) -> Any:
        try:
            return self.adapter.validate_json(text)
        except ValidationError:
            return otherwise


class Number(Leaf):
    """A Decimal, which pydantic would read as a float where JSON has a number."""

    quotes_numbers = True


class Object(Leaf):
    """A model, dataclass or TypedDict: `fields` maps JSON keys to (field name, type)."""

    def __init__(self, annotation: Any, fields: Mapping[str, tuple[str, Any]]) -> None:
        super().__init__(annotation)
        self._fields = fields
        self._shapes: dict[str, Shape] = {}

    def field(self, key: str) -> tuple[str, Shape]:
        """The name and shape of a field; a key without a field is any JSON."""
        if key not in self._fields:
            return key, ANY
        name, annotation = self._fields[key]
        if key not in self._shapes:
            self._shapes[key] = shape_of(annotation)
        return name, self._shapes[key]


class Map(Leaf):
    """A dict with values of one type."""

    def __init__(self, annotation: Any, value: Any) -> None:
        super().__init__(annotation)
        self._value = value

    @functools.cached_property
    def _shape(self) -> Shape:
        return shape_of(self._value)

    def field(self, key: str) -> tuple[str, Shape]:
        """Every key has the same shape of value."""
        return key, self._shape


class Items(Leaf):
    """A list, tuple or set: `prefix` types of the first items, `rest` the type of the others.

    `make` builds the value from values that are read already; None: pydantic reads the whole.
    """

    def __init__(
        self, annotation: Any, prefix: Sequence[Any], rest: Any, make: Callable[[list[Any]], Any] | None
    ) -> None:
        super().__init__(annotation)
        self._types = (*prefix, rest)
        self._shapes: dict[int, Shape] = {}
        self._make = make

    def item(self, index: int) -> Shape:
        """The shape of an item."""
        place = min(index, len(self._types) - 1)
        if place not in self._shapes:
            self._shapes[place] = shape_of(self._types[place])
        return self._shapes[place]

    def checked(self, annotation: Any) -> Self:
        """Read by the rules of `annotation` from now on."""
        self._make = None
        return super().checked(annotation)

    def closed(self, container: Any, text: Callable[[], str]) -> Any:
        """Build the value."""
        return super().closed(container, text) if self._make is None else self._make(container)


class Choice(Leaf):
    """A union: where the bracket tells which member it is, its parts are known at once."""

    def __init__(self, annotation: Any, members: Sequence[Any]) -> None:
        super().__init__(annotation)
        self._members = members
        self.shows_open_string = str in members
        self.quotes_numbers = decimal.Decimal in members and not {int, float} & set(members)

    def inside(self, bracket: str) -> Shape:
        """The one member that begins with this bracket, or the union as a whole."""
        shapes = [shape_of(member) for member in self._members if not _is_scalar(member)]
        fitting = [shape for shape in shapes if not isinstance(shape, Items if bracket == "{" else Object | Map)]
        return fitting[0] if len(fitting) == 1 and isinstance(fitting[0], Object | Map | Items) else self


def shape_of(annotation: Any) -> Shape:
    """Return the shape of a type."""
    if any(annotation is plain for plain in _PLAIN):
        return ANY
    if annotation is decimal.Decimal:
        return Number(annotation)
    if not isinstance(annotation, type) and (inner := _aliased(annotation)) is not None:
        return shape_of(inner)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return shape_of(arguments[0]).checked(annotation)
    if origin in (Union, types.UnionType):
        return Choice(annotation, arguments)
    if origin in (typing.Required, typing.NotRequired, typing_extensions.ReadOnly):
        return shape_of(arguments[0])
    fields = fields_of(annotation)
    return _container(annotation, origin or annotation, arguments) if fields is None else Object(annotation, fields)


def fields_of(annotation: Any) -> dict[str, tuple[str, Any]] | None:
    """Return JSON key -> (field name, type) of a model, dataclass or TypedDict; None for other types."""
    cls = typing.get_origin(annotation) or annotation
    if not isinstance(cls, type) or issubclass(cls, RootModel):
        return None
    if issubclass(cls, BaseModel) or hasattr(cls, "__pydantic_fields__"):
        return {_key(name, info): (name, _annotated(info)) for name, info in cls.__pydantic_fields__.items()}
    if not dataclasses.is_dataclass(cls) and not typing_extensions.is_typeddict(cls):
        return None
    hints = typing_extensions.get_type_hints(cls, include_extras=True)
    names = [item.name for item in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else list(hints)
    return {name: (name, hints[name]) for name in names}


def parts_of(annotation: Any) -> Iterator[tuple[str, Any]]:
    """Yield (step of the path, type) of what a type is made of."""
    fields = fields_of(annotation)
    if fields is not None:
        yield from ((f".{name}", part) for name, part in fields.values())
        return
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        yield "", arguments[0]
    elif origin in (Union, types.UnionType, typing.Required, typing.NotRequired):
        yield from (("", part) for part in arguments)
    elif origin is tuple and arguments[-1:] != (...,):
        yield from ((f"[{index}]", part) for index, part in enumerate(arguments))
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        yield from (("{}", part) for part in arguments[1:])
    elif isinstance(origin, type) and issubclass(origin, Iterable):
        yield from (("[]", part) for part in arguments[:1])


def _container(annotation: Any, origin: Any, arguments: Sequence[Any]) -> Shape:
    """Return the shape of a list, tuple, set, dict or NamedTuple; of any other type, one that is read as a whole."""
    if not isinstance(origin, type):
        return Leaf(annotation)
    if issubclass(origin, tuple) and hasattr(origin, "_fields"):
        hints = typing_extensions.get_type_hints(origin, include_extras=True)
        return Items(annotation, [hints.get(name, Any) for name in origin._fields], Any, None)
    if origin is tuple and arguments and arguments[-1] is not ...:
        return Items(annotation, arguments, Any, tuple)
    if origin in _MAKERS:
        return Items(annotation, (), arguments[0] if arguments else Any, _MAKERS[origin])
    if issubclass(origin, Mapping):
        return Map(annotation, arguments[1] if len(arguments) == 2 else Any)
    if issubclass(origin, Sequence) and not issubclass(origin, str | bytes):
        return Items(annotation, (), arguments[0] if arguments else Any, None)
    return Leaf(annotation)


def _aliased(annotation: Any) -> Any:
    """The type behind a `NewType` or a type alias."""
    return getattr(annotation, "__supertype__", None) or getattr(annotation, "__value__", None)


def _is_scalar(annotation: Any) -> bool:
    """True for types whose JSON never begins with a bracket."""
    if typing.get_origin(annotation) is Literal:
        return True
    return isinstance(annotation, type) and issubclass(annotation, _SCALARS)


def _key(name: str, info: FieldInfo) -> str:
    """The JSON key of a field."""
    alias = info.validation_alias or info.alias
    for choice in alias.choices if isinstance(alias, AliasChoices) else (alias,):
        match choice:
            case str():
                return choice
            case AliasPath(path=[str(only)]):
                return only
    return name


def _annotated(info: FieldInfo) -> Any:
    return Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation
