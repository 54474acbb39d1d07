"""`adapter_of`: pydantic's adapter of a type, `typing.TypedDict`s included, which it refuses before Python 3.12.

There a `TypedDict` is replaced by a twin that pydantic takes, wherever it stands in `list[...]`, `dict[...]`, unions
and other `TypedDict`s. Used by whoever reads values of a type.
"""

from __future__ import annotations

import sys
import types
import typing
from typing import Any, Literal, Union

import typing_extensions
from pydantic import TypeAdapter


def adapter_of(annotation: Any) -> TypeAdapter[Any]:
    """Return the adapter; raises what pydantic raises for a type it does not know."""
    return TypeAdapter(annotation if sys.version_info >= (3, 12) else _with_twins(annotation, ()))


def _with_twins(annotation: Any, inside: tuple[Any, ...]) -> Any:
    if typing.is_typeddict(annotation) and type(annotation).__module__ == "typing":
        if annotation in inside:
            raise TypeError(
                f"the TypedDict {annotation.__name__} holds itself; import TypedDict from typing_extensions for that"
            )
        return _twin(annotation, (*inside, annotation))
    arguments = typing.get_args(annotation)
    if not arguments or typing.get_origin(annotation) is Literal:
        return annotation
    if typing.get_origin(annotation) is typing.Annotated:
        inner = _with_twins(arguments[0], inside)
        return annotation if inner is arguments[0] else typing.Annotated[(inner, *arguments[1:])]
    replaced = tuple(_with_twins(argument, inside) for argument in arguments)
    if replaced == arguments:
        return annotation
    if isinstance(annotation, types.UnionType):
        return Union[replaced]  # noqa: UP007  # built from a tuple
    return annotation.copy_with(replaced) if hasattr(annotation, "copy_with") else annotation.__origin__[replaced]


def _twin(typed_dict: Any, inside: tuple[Any, ...]) -> Any:
    fields = {}
    for key, hint in typing_extensions.get_type_hints(typed_dict, include_extras=True).items():
        # under `from __future__ import annotations`, __required_keys__ does not see the marks
        mark: Any = typing.get_origin(hint)
        is_marked = mark in (typing.Required, typing.NotRequired)
        value = _with_twins(typing.get_args(hint)[0] if is_marked else hint, inside)
        required = mark is typing.Required if is_marked else key in typed_dict.__required_keys__
        fields[key] = typing_extensions.Required[value] if required else typing_extensions.NotRequired[value]
    make: Any = typing_extensions.TypedDict  # called as a function, which its stub does not know
    return make(typed_dict.__name__, fields)
