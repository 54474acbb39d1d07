"""A graph as plain JSON values: versioned, complete, and the same for the same graph. `decode.py` is the way back.

What a program's own classes make of generated text is left out: a decoded graph gives the JSON that the text spells.
"""

from __future__ import annotations

import enum
import math
import typing
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from typing import Any, Final

from ..constraints import Choices, Constraint, Grammar, JsonSchema, Regex
from ..errors import ProgramError
from ..ir import (
    Apply,
    Argument,
    Arm,
    Body,
    Branch,
    Child,
    Collect,
    Fill,
    Fork,
    ForkEach,
    Gather,
    Gen,
    Input,
    Join,
    Keep,
    Loop,
    Merge,
    Node,
    Op,
    Reference,
    RoleBegin,
    RoleEnd,
    ScopeBegin,
    ScopeEnd,
    Select,
    Set,
    Value,
)
from ..location import at
from ..sampling import Sampling
from ..schema_value import SchemaReader
from ..types import TypeSpec

VERSION: Final = 1
Plain = dict[str, Any]

OP_NAMES: Final[dict[type, str]] = {
    Fill: "fill",
    RoleBegin: "begin_role",
    RoleEnd: "end_role",
    Gen: "gen",
    Select: "select",
    Fork: "fork",
    Child: "child",
    Join: "join",
    Keep: "keep",
    Set: "set",
    ScopeBegin: "begin_scope",
    ScopeEnd: "end_scope",
    Branch: "branch",
    Arm: "arm",
    Merge: "merge",
    Loop: "loop",
    ForkEach: "fork_each",
    Body: "body",
    Collect: "collect",
    Gather: "gather",
}
TYPE_NAMES: Final[dict[str, type]] = {"int": int, "float": float, "bool": bool, "str": str}


def encode_graph(nodes: Sequence[Node], end: int | None, inputs: Sequence[Input], result: Value) -> Plain:
    """Return the graph as JSON values; `ProgramError` names a value that JSON has no form for."""
    plain: Plain = {"version": VERSION}
    plain["inputs"] = [_input(given) for given in inputs]
    plain["nodes"] = [_node(node) for node in nodes]
    plain["end"] = end
    plain["result"] = encode_value(result, "the graph's result")
    return plain


def encode_value(value: Any, where: str) -> Any:
    """Return a value: text, numbers, true, false and null as they are, tuples as lists, the rest as objects."""
    match value:
        case None | bool() | int() | str():
            return value.value if isinstance(value, enum.Enum) else value  # of a StrEnum or IntEnum
        case float():
            if not math.isfinite(value):
                raise ProgramError(f"{where} holds the number {value}, which JSON does not have")
            return value
        case tuple():
            return [encode_value(item, where) for item in value]
        case Reference(node, name, path):
            return {"ref": node, "name": name, **_path(path)}
        case Argument(name, path):
            return {"input": name, **_path(path)}
        case Apply(function, arguments):
            return {"apply": function, "to": [encode_value(item, where) for item in arguments]}
        case list():
            return {"list": [encode_value(item, where) for item in value]}
        case dict() if all(isinstance(key, str) for key in value):
            return {"record": {key: encode_value(item, where) for key, item in value.items()}}
        case _:
            raise ProgramError(f"{where} holds a value of type {type(value).__name__}, which JSON has no form for")


def _path(path: tuple[str | int, ...]) -> Plain:
    return {"path": list(path)} if path else {}


def _input(given: Input) -> Plain:
    plain: Plain = {"name": given.name}
    if given.schema is not None:
        plain["schema"] = given.schema
    if not given.required:
        plain["default"] = encode_value(given.default, f"input {given.name!r}")
    return plain


def _node(node: Node) -> Plain:
    where = f"node {node.id} ({type(node.op).__name__}){at(node.location)}"
    return {"op": OP_NAMES[type(node.op)], "parent": node.parent, **_op(node.op, where)}


def _op(op: Op, where: str) -> Plain:
    match op:
        case Fill(value):
            return {"value": encode_value(value, where)}
        case Set(name, value):
            return {"name": name, "value": encode_value(value, where)}
        case Gen():
            return _gen(op, where)
        case Select(name, choices, method):
            return {"name": name, "choices": encode_value(choices, where), "method": method}
        case Keep(source, index):
            return {"source": encode_value(source, where), "index": index}
        case Branch(conditions):
            return {"conditions": [encode_value(condition, where) for condition in conditions]}
        case Loop(items, limit) | ForkEach(items, limit):
            return {"items": encode_value(items, where), "limit": limit}
        case Join(ends, names, sources):
            return {"ends": list(ends), "names": list(names), "sources": [list(row) for row in sources]}
        case Merge(names, sources):
            return {"names": list(names), "sources": [list(row) for row in sources]}
        case _:
            plain = {item.name: getattr(op, item.name) for item in fields(op)}
            return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}


def _gen(op: Gen, where: str) -> Plain:
    plain: Plain = {"name": op.name}
    if sampling := encode_sampling(op.sampling):
        plain["sampling"] = sampling
    if op.constraint is not None:
        plain["constraint"] = encode_constraint(op.constraint)
    if (kind := _type(op.parse, where)) is not None:
        plain["type"] = kind
    return plain


def encode_sampling(sampling: Sampling) -> Plain:
    """Return the parameters that differ from the defaults."""
    return _others(sampling)


def encode_constraint(constraint: Constraint) -> Plain:
    """Return a constraint under the name that `gen` has for it."""
    match constraint:
        case Regex(pattern):
            return {"regex": pattern, **_others(constraint, "pattern")}
        case JsonSchema(schema):
            return {"json_schema": schema, **_others(constraint, "schema")}
        case Grammar(grammar):
            return {"grammar": grammar, **_others(constraint, "grammar")}
        case Choices(choices):
            return {"choices": list(choices), **_others(constraint, "choices")}


def _others(fact: Any, *names: str) -> Plain:
    """The fields of a fact, but those named, that differ from their defaults."""
    found = {item.name: (getattr(fact, item.name), item.default) for item in fields(fact) if item.name not in names}
    return {
        name: [list(item) if isinstance(item, tuple) else item for item in value] if isinstance(value, tuple) else value
        for name, (value, default) in found.items()
        if default is MISSING or value != default
    }


def _type(parse: Callable[[str], Any] | None, where: str) -> Any:
    """How the text of a gen is read: None leaves it text; a type by name, its members, or "json"."""
    match parse:
        case None:
            return None
        case SchemaReader() | TypeSpec(is_json=True):
            return "json"
        case TypeSpec(annotation=annotation):
            if typing.get_origin(annotation) is typing.Literal:
                return {"members": [_member(member) for member in typing.get_args(annotation)]}
            if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
                return {"members": [_member(member) for member in annotation]}
            return next((name for name, kind in TYPE_NAMES.items() if kind is annotation), None)
        case _:
            raise ProgramError(f"{where} reads its text with {parse!r}, which JSON has no form for")


def _member(member: Any) -> Any:
    """A member of a `Literal` or `Enum` as JSON: its value where that is what the text says, else its name."""
    if not isinstance(member, enum.Enum):
        return member
    return member.value if member.value is None or isinstance(member.value, str | int) else member.name
