"""`type_spec`: what `type=` on a gen means: the constraint that holds the text, and how the value is read back.

Scalars are plain text; every other type is JSON, described and validated by pydantic, which is imported only then.
Knows nothing of grammar engines. The gen expression calls it, so that what cannot be held is refused there.
"""

from __future__ import annotations

import decimal
import enum
import re
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from .constraints import Choices, Constraint, Regex
from .errors import ConstraintError, ParseError
from .partial_json import Partial, PartialJson, PartialText

# Digits are bounded so that generation ends; no leading zeros and no exponent, as people write numbers.
INTEGER_PATTERN = r"-?(?:0|[1-9][0-9]{0,17})"
FLOAT_PATTERN = r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,9})?"
BOOLEAN_TEXTS = ("True", "False", "true", "false")

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_INTEGER = re.compile(r"[+-]?[0-9]{1,4000}")  # int() itself refuses more digits


@dataclass(frozen=True, slots=True)
class TypeSpec:
    """One type of a gen: `constraint` for the backend (None: any text); called with the text, it returns the value.

    `is_json`: the text is JSON, of which `partial` reads what is there.
    """

    name: str
    constraint: Constraint | None
    annotation: Any = field(compare=False)
    read: Callable[[str], Any] = field(compare=False, repr=False)
    is_json: bool = field(default=False, compare=False)

    def __call__(self, text: str) -> Any:
        """Return the value that `text` spells, of the type; `ParseError` when it spells none.

        >>> type_spec(int)("42")
        42
        """
        try:
            return self.read(text)
        except ValueError as error:
            shown = text if len(text) <= 80 else text[:77] + "..."
            raise ParseError(f"{shown!r} is not a value of type {self.name}: {error}", partial=text) from error

    def partial(self, *, open_strings: bool = False) -> Partial:
        """Return what reads the value as its text comes."""
        if not self.is_json:
            return PartialText(is_open=open_strings and self.annotation is str)
        from .type_shape import shape_of

        return PartialJson(shape_of(self.annotation), open_strings=open_strings)


def type_spec(annotation: Any, *, strict: bool = True) -> TypeSpec:
    """Return how a gen of this type is held and read. `ConstraintError` names what of it cannot be held, and where.

    - Plain text: `str` (any text), `int`, `float`, `bool`; `Literal` and `Enum` (by value); `Decimal`, dates, times,
      `timedelta`, `UUID`, and whatever else is one string in JSON.
    - JSON: dataclass, TypedDict, NamedTuple, pydantic model, `list`, `tuple`, `dict`, `Optional`, unions, `Any`.
      Objects hold their declared fields only, unless told otherwise.
    - `strict=False` admits what no mask can hold (`set[str]`, a date with a bound): the finished value is validated.

    >>> type_spec(Literal["low", "high"]).constraint
    Choices(choices=('low', 'high'))
    """
    name, plain = type_name(annotation), _unwrapped(annotation)
    if plain is str:
        return TypeSpec(name, None, plain, str)
    if plain is int:
        return TypeSpec(name, Regex(INTEGER_PATTERN), plain, _read_int)
    if plain is float:
        return TypeSpec(name, Regex(FLOAT_PATTERN), plain, _read_float)
    if plain is decimal.Decimal:
        return TypeSpec(name, Regex(FLOAT_PATTERN), plain, _read_decimal)
    if plain is bool:
        return TypeSpec(name, Choices(BOOLEAN_TEXTS), plain, _read_bool)
    if typing.get_origin(plain) is Literal:
        members = [(_member_text(member, name), member) for member in typing.get_args(plain)]
        return _choices_spec(name, plain, members)
    if isinstance(plain, type) and issubclass(plain, enum.Enum):
        return _choices_spec(name, plain, [(_member_text(member, name), member) for member in plain])
    from .json_types import json_spec  # pydantic is heavy: only programs with such types pay for it

    return json_spec(name, annotation, strict=strict)


def type_name(annotation: Any) -> str:
    """Return the name of a type as its user writes it.

    >>> type_name(dict[str, Annotated[int, "at least 3"]] | None)
    'dict[str, int] | None'
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is None or annotation is type(None):
        return "None"
    if origin is Annotated:
        return type_name(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return " | ".join(map(type_name, arguments))
    if origin is not None and origin is not Literal and arguments:
        inner = ", ".join("..." if argument is ... else type_name(argument) for argument in arguments)
        return f"{type_name(origin)}[{inner}]"
    if isinstance(annotation, type) or hasattr(annotation, "__supertype__"):
        return str(annotation.__name__)
    return repr(annotation).replace("typing.", "")


def _unwrapped(annotation: Any) -> Any:
    """Look through `NewType` and type aliases."""
    while not isinstance(annotation, type):
        inner = getattr(annotation, "__supertype__", None) or getattr(annotation, "__value__", None)
        if inner is None:
            return annotation
        annotation = inner
    return annotation


def _read_int(text: str) -> int:
    if not _INTEGER.fullmatch(text.strip()):
        raise ValueError("an integer is written with decimal digits")
    return int(text)


def _read_float(text: str) -> float:
    if not _NUMBER.fullmatch(text.strip()):
        raise ValueError("a number is written with decimal digits")
    return float(text)


def _read_decimal(text: str) -> decimal.Decimal:
    if not _NUMBER.fullmatch(text.strip()):
        raise ValueError("a number is written with decimal digits")
    return decimal.Decimal(text.strip())


def _read_bool(text: str) -> bool:
    match text.strip().lower():
        case "true":
            return True
        case "false":
            return False
        case _:
            raise ValueError("expected True or False")


def _member_text(member: Any, name: str) -> str:
    value = member.value if isinstance(member, enum.Enum) else member
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, int):
        return str(value)
    if isinstance(member, enum.Enum):
        return member.name
    raise ConstraintError(f"type {name} has the member {member!r}, which has no plain text; use str, int, bool or None")


def _choices_spec(name: str, annotation: Any, members: Iterable[tuple[str, Any]]) -> TypeSpec:
    by_text: dict[str, Any] = {}
    for text, member in members:
        if not text:
            raise ConstraintError(f"type {name} has a member whose text is empty; every member needs a character")
        if text in by_text:
            raise ConstraintError(f"type {name} has two members that are both written {text!r}")
        by_text[text] = member
    if not by_text:
        raise ConstraintError(f"type {name} has no members, so no text can be one")

    def read(text: str) -> Any:
        found = by_text.get(text, by_text.get(text.strip(), _MISSING))
        if found is _MISSING:
            raise ValueError(f"expected one of {', '.join(map(repr, by_text))}")
        return found

    return TypeSpec(name, Choices(tuple(by_text)), annotation, read)


_MISSING = object()
