"""`type_spec`: what `type=` on a gen means: the constraint that holds the text, and how the value is read back.

Scalars, `Literal` and `Enum` are plain text; every richer type is JSON, described and validated by pydantic, which is
imported only then. Knows nothing of grammar engines. The recorder calls it once per gen.
"""

from __future__ import annotations

import enum
import functools
import json
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from .constraints import Choices, Constraint, JsonSchema, Regex
from .errors import ConstraintError, ParseError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

# Digits are bounded so that generation ends; no leading zeros and no exponent, as people write numbers.
INTEGER_PATTERN = r"-?(?:0|[1-9][0-9]{0,17})"
FLOAT_PATTERN = r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,9})?"
BOOLEAN_TEXTS = ("True", "False", "true", "false")

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_INTEGER = re.compile(r"[+-]?[0-9]{1,4000}")  # int() itself refuses more digits


@dataclass(frozen=True, slots=True)
class TypeSpec:
    """One type of a gen: `constraint` for the backend (None: any text) and `parse` for the text that came back."""

    name: str
    constraint: Constraint | None
    annotation: Any = field(compare=False)
    read: Callable[[str], Any] = field(compare=False, repr=False)

    def parse(self, text: str) -> Any:
        """Return the value that `text` spells, of the type; `ParseError` when it spells none.

        >>> type_spec(int).parse("42")
        42
        """
        try:
            return self.read(text)
        except ValueError as error:
            shown = text if len(text) <= 80 else text[:77] + "..."
            raise ParseError(f"{shown!r} is not a value of type {self.name}: {error}", partial=text) from error


def type_spec(annotation: Any, *, strict: bool = True) -> TypeSpec:
    """Return how a gen of this type is held and read. `ConstraintError` names a type that cannot be expressed.

    - `str`: any text. `int`, `float`, `bool`: their usual spelling.
    - `Literal`: one of its members' texts. `Enum`: one of its members, by value where that is a string, else by name.
    - dataclass, TypedDict, pydantic model, `list[T]`, `tuple`, `dict[str, T]`, `Optional`, unions, dates, `UUID`,
      `Decimal`, `Annotated`: JSON of that shape. Objects hold their declared fields only, unless told otherwise.

    >>> type_spec(Literal["low", "high"]).constraint
    Choices(choices=('low', 'high'))
    """
    name = _type_name(annotation)
    if annotation is str:
        return TypeSpec(name, None, annotation, str)
    if annotation is int:
        return TypeSpec(name, Regex(INTEGER_PATTERN), annotation, _read_int)
    if annotation is float:
        return TypeSpec(name, Regex(FLOAT_PATTERN), annotation, _read_float)
    if annotation is bool:
        return TypeSpec(name, Choices(BOOLEAN_TEXTS), annotation, _read_bool)
    if typing.get_origin(annotation) is Literal:
        members = [(_member_text(member, name), member) for member in typing.get_args(annotation)]
        return _choices_spec(name, annotation, members)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        members = [(m.value if isinstance(m.value, str) else m.name, m) for m in annotation]
        return _choices_spec(name, annotation, members)
    return _json_spec(name, annotation, strict=strict)


def _type_name(annotation: Any) -> str:
    return annotation.__qualname__ if isinstance(annotation, type) else repr(annotation).replace("typing.", "")


def _read_int(text: str) -> int:
    if not _INTEGER.fullmatch(text.strip()):
        raise ValueError("an integer is written with decimal digits")
    return int(text)


def _read_float(text: str) -> float:
    if not _NUMBER.fullmatch(text.strip()):
        raise ValueError("a number is written with decimal digits")
    return float(text)


def _read_bool(text: str) -> bool:
    match text.strip().lower():
        case "true":
            return True
        case "false":
            return False
        case _:
            raise ValueError("expected True or False")


def _member_text(member: Any, name: str) -> str:
    if isinstance(member, enum.Enum):
        member = member.value if isinstance(member.value, str) else member.name
    if isinstance(member, str):
        return member
    if member is None or isinstance(member, int):
        return str(member)
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


def _json_spec(name: str, annotation: Any, *, strict: bool) -> TypeSpec:
    """Build the spec of a type that pydantic describes by a JSON schema."""
    if isinstance(annotation, (str, types.FunctionType, types.MethodType, types.BuiltinFunctionType)):
        raise ConstraintError(f"type= takes a type, got {annotation!r}")
    from pydantic import ValidationError
    from pydantic.errors import PydanticUserError

    try:
        adapter: TypeAdapter[Any] = _adapter(annotation)
        schema = adapter.json_schema(schema_generator=_schema_generator())
    except (PydanticUserError, TypeError, NameError) as error:  # no schema, not a type, forward reference not found
        reason = str(error).partition("\n")[0]
        raise ConstraintError(f"type {name} cannot be expressed as JSON: {reason}") from error
    text = json.dumps(_close_objects(schema), ensure_ascii=False, separators=(",", ":"))

    def read(text: str) -> Any:
        try:
            return adapter.validate_json(text)
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False, include_input=False)
            places = (".".join(map(str, item["loc"])) for item in found)
            reasons = [
                f"{place}: {item['msg']}" if place else item["msg"] for place, item in zip(places, found, strict=True)
            ]
            raise ValueError("; ".join(reasons)) from error

    return TypeSpec(name, JsonSchema(text, strict), annotation, read)


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(_with_modern_typed_dicts(annotation))


def _with_modern_typed_dicts(annotation: Any) -> Any:
    """Replace `typing.TypedDict` classes by twins that pydantic takes (before Python 3.12 it refuses the original)."""
    if sys.version_info >= (3, 12):
        return annotation
    if typing.is_typeddict(annotation) and type(annotation).__module__ == "typing":
        import typing_extensions

        hints = typing_extensions.get_type_hints(annotation, include_extras=True)
        fields = {}
        for key, hint in hints.items():
            # under `from __future__ import annotations`, __required_keys__ does not see the marks
            mark: Any = typing.get_origin(hint)
            is_marked = mark in (typing.Required, typing.NotRequired)
            value = _with_modern_typed_dicts(typing.get_args(hint)[0] if is_marked else hint)
            required = mark is typing.Required if is_marked else key in annotation.__required_keys__
            fields[key] = typing_extensions.Required[value] if required else typing_extensions.NotRequired[value]
        make: Any = typing_extensions.TypedDict  # called as a function, which its stub does not know
        return make(annotation.__name__, fields)
    arguments = typing.get_args(annotation)
    if not arguments or typing.get_origin(annotation) in (Literal, typing.Annotated):
        return annotation
    replaced = tuple(_with_modern_typed_dicts(argument) for argument in arguments)
    if replaced == arguments:
        return annotation
    if isinstance(annotation, types.UnionType):
        return typing.Union[replaced]  # noqa: UP007  # built from a tuple
    return annotation.copy_with(replaced) if hasattr(annotation, "copy_with") else annotation.__origin__[replaced]


@functools.cache
def _schema_generator() -> Any:
    """Return pydantic's schema generator without the forms that are looser than the type itself."""
    from pydantic.errors import PydanticInvalidForJsonSchema
    from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

    class TextlessTypesRefused(GenerateJsonSchema):
        def decimal_schema(self, schema: Any) -> JsonSchemaValue:  # pydantic's own also allows any string
            bounds = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
            return {"type": "number"} | {word: float(schema[key]) for key, word in bounds.items() if key in schema}

        def bytes_schema(self, schema: Any) -> JsonSchemaValue:
            raise PydanticInvalidForJsonSchema("bytes have no text of their own")

        def complex_schema(self, schema: Any) -> JsonSchemaValue:
            raise PydanticInvalidForJsonSchema("JSON has no complex numbers")

    return TextlessTypesRefused


def _close_objects(schema: Any) -> Any:
    """Forbid undeclared properties where the type does not speak of them, so that a value cannot grow forever."""
    if isinstance(schema, list):
        return [_close_objects(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in ("properties", "$defs"):  # maps from names to schemas
            closed[keyword] = {name: _close_objects(part) for name, part in value.items()}
        elif keyword in ("default", "examples", "const", "enum"):  # data
            closed[keyword] = value
        else:
            closed[keyword] = _close_objects(value)
    if "properties" in closed and closed.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed
