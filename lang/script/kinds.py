"""The types of scripts, resolved: what values they have, how they are written, and how a value is checked.

Made by `type_table.py` from what was written. Knows nothing of places in the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union

from ..errors import ParameterError


@dataclass(frozen=True, slots=True)
class Scalar:
    """`str`, `int`, `float`, `bool`, or `null`, which only `T?` has."""

    name: str


@dataclass(frozen=True, slots=True)
class Literals:
    """One of a few texts, numbers or truth values."""

    values: tuple[str | int | bool, ...]


@dataclass(frozen=True, slots=True)
class Pattern:
    """A text that matches a regular expression as a whole."""

    pattern: str


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list."""

    item: Kind


@dataclass(frozen=True, slots=True)
class Record:
    """A record; `name` is that of its type (`is_named`), or one made from where it stands."""

    name: str
    fields: tuple[tuple[str, Kind], ...]
    is_named: bool = False


@dataclass(frozen=True, slots=True)
class OneOf:
    """A value of one of two or more types, none of them a union."""

    members: tuple[Kind, ...]


@dataclass(frozen=True, slots=True)
class Unknown:
    """The type of what was reported already: everything may be done with it."""


Kind = Scalar | Literals | Pattern | ListOf | Record | OneOf | Unknown

STR, INT, FLOAT, BOOL, NULL = map(Scalar, ("str", "int", "float", "bool", "null"))
UNKNOWN = Unknown()
SCALARS: Mapping[str, Kind] = {"str": STR, "int": INT, "float": FLOAT, "bool": BOOL}


def union(kinds: Iterable[Kind]) -> Kind:
    """Return the type of a value that has one of these types; equal ones count once, literals stand together."""
    members: dict[Kind, None] = {}
    for kind in kinds:
        members.update(dict.fromkeys(kind.members if isinstance(kind, OneOf) else (kind,)))
    if UNKNOWN in members:
        return UNKNOWN
    literals = [kind for kind in members if isinstance(kind, Literals)]
    values = dict.fromkeys((type(value), value) for kind in literals for value in kind.values)
    merged: list[Kind] = []
    for kind in members:
        if not isinstance(kind, Literals):
            merged.append(kind)
        elif kind is literals[0]:
            merged.append(Literals(tuple(value for _, value in values)))
    return merged[0] if len(merged) == 1 else OneOf(tuple(merged))


def members_of(kind: Kind) -> tuple[Kind, ...]:
    """Return the members of a union, or the type itself."""
    return kind.members if isinstance(kind, OneOf) else (kind,)


def is_optional(kind: Kind) -> bool:
    """True when a value may be null."""
    return NULL in members_of(kind)


def is_known(kind: Kind) -> bool:
    """True when no part of the type was reported as wrong."""
    match kind:
        case ListOf(item):
            return is_known(item)
        case Record(_, fields, _):
            return all(is_known(inner) for _, inner in fields)
        case OneOf(members):
            return all(map(is_known, members))
        case _:
            return kind != UNKNOWN


def without_null(kind: Kind) -> Kind:
    """Return the type of a value that is known not to be null."""
    members = [member for member in members_of(kind) if member != NULL]
    return union(members) if members else UNKNOWN


def base_of(kind: Kind) -> str | None:
    """Return the kind of thing a value is: "str", "number", "bool", "null", "list", "record"; None if not known."""
    match kind:
        case Scalar("int" | "float"):
            return "number"
        case Scalar(name):
            return name
        case Literals(values):
            bases = {"bool" if isinstance(v, bool) else "str" if isinstance(v, str) else "number" for v in values}
            return bases.pop() if len(bases) == 1 else None
        case Pattern():
            return "str"
        case ListOf():
            return "list"
        case Record():
            return "record"
        case _:
            return None


def is_all(kind: Kind, *bases: str) -> bool:
    """True when every value of the type is of one of these kinds, or nothing is known of it."""
    return kind == UNKNOWN or all(_bases(member) <= set(bases) for member in members_of(kind))


def _bases(kind: Kind) -> set[str]:
    if isinstance(kind, Literals):
        return {base for value in kind.values if (base := base_of(Literals((value,)))) is not None}
    base = base_of(kind)
    return set() if base is None else {base}


def widened(kind: Kind) -> Kind:
    """Return the type of a single constant as one says it in words: str for a text."""
    if isinstance(kind, Literals) and len(kind.values) == 1:
        return SCALARS[type(kind.values[0]).__name__]
    return kind


def fits(kind: Kind, wanted: Kind) -> bool:
    """True when every value of `kind` is one of `wanted`, as far as types can tell."""
    if UNKNOWN in (kind, wanted) or kind == wanted:
        return True
    match kind, wanted:
        case OneOf(members), _:
            return all(fits(member, wanted) for member in members)
        case Literals(values), _ if len(values) > 1:
            return all(fits(Literals((value,)), wanted) for value in values)
        case _, OneOf(members):
            return any(fits(kind, member) for member in members)
        case Literals((value,)), Literals(values):
            return any(value == other and type(value) is type(other) for other in values)
        case Literals((str(),)), Pattern():  # a pattern may take long: it is only tried on values of a run
            return True
        case ((Literals() | Pattern()), Scalar("str")):
            return base_of(kind) == "str"
        case Literals((value,)), Scalar("bool"):
            return isinstance(value, bool)
        case Literals((value,)), Scalar("int" | "float"):
            return isinstance(value, int) and not isinstance(value, bool)
        case Scalar("int"), Scalar("float"):
            return True
        case ListOf(item), ListOf(other):
            return fits(item, other)
        case Record(_, fields, _), Record(_, others, _):
            return fields == others or _fields_fit(dict(fields), dict(others))
        case _:
            return False


def _fields_fit(fields: Mapping[str, Kind], wanted: Mapping[str, Kind]) -> bool:
    return fields.keys() == wanted.keys() and all(fits(fields[name], kind) for name, kind in wanted.items())


def can_be_equal(left: Kind, right: Kind) -> bool:
    """False when no value of the one type equals any of the other."""
    if UNKNOWN in (left, right):
        return True
    return any(_may_equal(a, b) for a in members_of(left) for b in members_of(right))


def _may_equal(left: Kind, right: Kind) -> bool:
    match left, right:
        case Literals(values), Literals(others):
            return any(value == other for value in values for other in others)
        case _:
            return not _bases(left) or not _bases(right) or bool(_bases(left) & _bases(right))


def spelled(kind: Kind) -> str:
    """Return the type as it is written in a script.

    >>> spelled(OneOf((ListOf(Literals(("a", 1))), NULL)))
    'list["a" | 1]?'
    """
    match kind:
        case Scalar(name) | Record(name, _, True):
            return name
        case Record(_, fields, _):
            return "{" + ", ".join(f"{name}: {spelled(inner)}" for name, inner in fields) + "}"
        case Literals(values):
            return " | ".join(json.dumps(value, ensure_ascii=False) for value in values)
        case Pattern(pattern):
            return "/" + pattern.replace("/", "\\/") + "/"
        case ListOf(item):
            return f"list[{spelled(item)}]"
        case OneOf(members):
            others = [member for member in members if member != NULL]
            if len(others) == len(members):
                return " | ".join(map(spelled, members))
            inner = spelled(union(others))
            return f"({inner})?" if " | " in inner and not isinstance(others[0], ListOf) else f"{inner}?"
        case Unknown():
            return "unknown"


# ---- what other parts of ramify know types as --------------------------------------------------------------------


def annotation_of(kind: Kind) -> Any:
    """Return the Python type that a gen of the Python twin has."""
    match kind:
        case Scalar(name):
            return {"str": str, "int": int, "float": float, "bool": bool, "null": None}[name]
        case Literals(values):
            return Literal[values]
        case Pattern(pattern):
            from pydantic import Field  # heavy: only patterns inside lists and records pay for it

            return Annotated[str, Field(pattern=whole(pattern))]
        case ListOf(item):
            return list[annotation_of(item)]  # type: ignore[misc]  # built at run time
        case Record(name, fields, _):
            import typing_extensions

            make: Any = typing_extensions.TypedDict  # called as a function, which its stub does not know
            return make(name, {field: annotation_of(inner) for field, inner in fields})
        case OneOf(members):
            return Union[tuple(annotation_of(member) for member in members)]  # noqa: UP007  # built from a tuple
        case Unknown():
            return Any


def schema_of(kind: Kind) -> dict[str, Any]:
    """Return the JSON schema that values of an input fit."""
    match kind:
        case Scalar(name):
            names = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "null": "null"}
            return {"type": names[name]}
        case Literals(values):
            return {"enum": list(values)}
        case Pattern(pattern):
            return {"type": "string", "pattern": whole(pattern)}
        case ListOf(item):
            return {"type": "array", "items": schema_of(item)}
        case Record(_, fields, _):
            return {
                "type": "object",
                "properties": {name: schema_of(inner) for name, inner in fields},
                "required": [name for name, _ in fields],
                "additionalProperties": False,
            }
        case OneOf(members):
            return {"anyOf": [schema_of(member) for member in members]}
        case Unknown():
            return {}


def whole(pattern: str) -> str:
    """Return the pattern that finds only whole texts, for JSON schemas, where a pattern is searched."""
    return f"^(?:{pattern})$"


def check_value(kind: Kind, value: Any, path: str) -> Any:
    """Return the value, lists as tuples, if it is of the type; else raise `ParameterError` that names the path.

    >>> check_value(ListOf(STR), ["a", 1], "input 'teams'")
    Traceback (most recent call last):
    ...
    ramify.lang.errors.ParameterError: input 'teams'[1] must be str, got int 1
    """
    match kind:
        case Scalar("null") if value is None:
            return None
        case Scalar("str") if isinstance(value, str):
            return value
        case Scalar("int") if isinstance(value, int) and not isinstance(value, bool):
            return value
        case Scalar("float") if isinstance(value, int | float) and not isinstance(value, bool):
            return value
        case Scalar("bool") if isinstance(value, bool):
            return value
        case Literals(values) if any(value == other and type(value) is type(other) for other in values):
            return value
        case Pattern(pattern) if isinstance(value, str) and re.fullmatch(pattern, value):
            return value
        case ListOf(item) if isinstance(value, list | tuple):
            return tuple(check_value(item, element, f"{path}[{index}]") for index, element in enumerate(value))
        case Record(_, fields, _) if isinstance(value, Mapping):
            return _check_record(dict(fields), value, path)
        case OneOf(members):
            return _check_union(members, value, path)
        case Unknown():
            return value
    raise ParameterError(f"{path} must be {spelled(kind)}, got {_shown(value)}")


def _check_record(fields: Mapping[str, Kind], value: Mapping[Any, Any], path: str) -> dict[str, Any]:
    unknown = [name for name in value if name not in fields]
    missing = [name for name in fields if name not in value]
    if missing or unknown:
        what = f"has no field {missing[0]!r}" if missing else f"has a field {unknown[0]!r} too many"
        raise ParameterError(f"{path} {what}; it takes {', '.join(fields)}")
    return {name: check_value(kind, value[name], f"{path}.{name}") for name, kind in fields.items()}


def _check_union(members: tuple[Kind, ...], value: Any, path: str) -> Any:
    failures: list[ParameterError] = []
    for member in members:
        try:
            return check_value(member, value, path)
        except ParameterError as error:
            failures.append(error)
    deeper = [error for error in failures if not str(error).startswith(f"{path} must be")]
    if deeper:  # it has the shape of that member, and is wrong inside
        raise deeper[0]
    raise ParameterError(f"{path} must be {spelled(OneOf(members))}, got {_shown(value)}")


def _shown(value: Any) -> str:
    text = repr(value)
    kind = type(value).__name__
    return "None" if value is None else f"{kind} {text if len(text) <= 60 else text[:57] + '...'}"
