"""A graph from JSON. Nothing in it is trusted, and nothing is executed: what is wrong is refused by its path.

`RequestGraph.from_json` verifies what comes out of here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, TypeVar

from ..constraints import Choices, Constraint, Grammar, JsonSchema, Regex, constraint_of
from ..errors import ParameterError, ProgramError, did_you_mean
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
from ..sampling import PARAMETERS, Sampling
from ..schema_value import SchemaReader
from ..types import type_spec
from .encode import OP_NAMES, TYPE_NAMES, VERSION
from .json_reader import JsonReader
from .limits import MAX_VALUE_DEPTH, Limits

T = TypeVar("T")
Fields = dict[str, JsonReader]
Parts = tuple[tuple[Node, ...], int | None, tuple[Input, ...], Value]


def decode_graph(plain: JsonReader, limits: Limits) -> Parts:
    """Return the nodes, the end, the inputs and the result of a graph."""
    version = plain.field("version").value
    if version != VERSION or isinstance(version, bool):
        raise ProgramError(f"version is {version!r}; this release reads graphs of version {VERSION}")
    fields = plain.record(("version", "nodes", "end"), ("inputs", "result"))
    nodes = tuple(_node(item, number, limits) for number, item in enumerate(fields["nodes"].items()))
    inputs = tuple(_input(item) for item in fields["inputs"].items()) if "inputs" in fields else ()
    result = _value(fields["result"]) if "result" in fields else None
    return nodes, fields["end"].number_or_none(), inputs, result


def _input(plain: JsonReader) -> Input:
    fields = plain.record(("name",), ("schema", "default"))
    schema = fields["schema"].text() if "schema" in fields else None
    if schema is not None:
        _refusing(fields["schema"], lambda: constraint_of("json_schema", schema))
    default = _value(fields["default"]) if "default" in fields else None
    return Input(fields["name"].name(), schema, default, "default" not in fields)


def _node(plain: JsonReader, number: int, limits: Limits) -> Node:
    if number >= limits.nodes:
        plain.fail(f"is more than the {limits.nodes} nodes that are allowed")
    op, parent = plain.field("op"), plain.field("parent")
    name = op.text()
    if name not in OPS:
        op.fail(f"is {name!r}, which is no operation{did_you_mean(name, OPS)}")
    required, optional, make = OPS[name]
    fields = plain.record(("op", "parent", *required), optional)
    return Node(number, parent.number_or_none(), make(fields))


# ---- values --------------------------------------------------------------------------------------------------------


def _value(plain: JsonReader, depth: int = 0) -> Any:
    if depth > MAX_VALUE_DEPTH:
        plain.fail(f"is nested more than {MAX_VALUE_DEPTH} deep")
    match plain.value:
        case str():
            return plain.text()
        case None | bool() | int() | float():
            return plain.value
        case list():
            return tuple(_value(item, depth + 1) for item in plain.items())
        case {"ref": _}:
            fields = plain.record(("ref", "name"), ("path",))
            return Reference(fields["ref"].number(), fields["name"].name(), _path(fields))
        case {"input": _}:
            fields = plain.record(("input",), ("path",))
            return Argument(fields["input"].name(), _path(fields))
        case {"apply": _}:
            fields = plain.record(("apply", "to"))
            return Apply(fields["apply"].text(), tuple(_value(item, depth + 1) for item in fields["to"].items()))
        case {"list": _}:
            return [_value(item, depth + 1) for item in plain.record(("list",))["list"].items()]
        case {"record": _}:
            found = plain.record(("record",))["record"]
            if not isinstance(found.value, dict):
                found.fail("has to be an object")
            return {name: _value(found.field(name), depth + 1) for name in found.value}
        case _:
            plain.fail("is no value; an object is one of ref, input, apply, list and record")


def _path(fields: Fields) -> tuple[str | int, ...]:
    if "path" not in fields:
        return ()
    return tuple(key.text() if isinstance(key.value, str) else key.number() for key in fields["path"].items())


def _reference(plain: JsonReader) -> Reference:
    value = _value(plain)
    return value if isinstance(value, Reference) else plain.fail("has to be a reference")


# ---- generations ---------------------------------------------------------------------------------------------------


def _gen(fields: Fields) -> Gen:
    sampling = _sampling(fields["sampling"]) if "sampling" in fields else Sampling()
    constraint = _constraint(fields["constraint"]) if "constraint" in fields else None
    parse = _type(fields["type"], constraint) if "type" in fields else None
    return Gen(fields["name"].name_or_none(), sampling, constraint, parse)


def _sampling(plain: JsonReader) -> Sampling:
    fields = plain.record((), PARAMETERS)
    return _refusing(plain, lambda: Sampling.of(**{name: item.value for name, item in fields.items()}))


def _constraint(plain: JsonReader) -> Constraint:
    kinds = [kind for kind in CONSTRAINTS if isinstance(plain.value, dict) and kind in plain.value]
    if len(kinds) != 1:
        plain.fail(f"has to be an object with one of {', '.join(CONSTRAINTS)}")
    kind, (make, optional) = kinds[0], CONSTRAINTS[kinds[0]]
    fields = plain.record((kind,), tuple(optional))
    for name, wanted in optional.items():
        if name in fields and not isinstance(fields[name].value, wanted):
            fields[name].fail(f"has to be of type {wanted.__name__}")
    value = tuple(item.text() for item in fields[kind].items()) if kind == "choices" else fields[kind].text()
    others = {name: fields[name].value for name in optional if name in fields}
    _refusing(fields[kind], lambda: constraint_of(kind, value))
    return _refusing(plain, lambda: make(value, **others))


CONSTRAINTS: Final[dict[str, tuple[Callable[..., Constraint], dict[str, type]]]] = {
    "regex": (Regex, {}),
    "json_schema": (JsonSchema, {"strict": bool}),
    "grammar": (Grammar, {"start": str}),
    "choices": (Choices, {}),
}


def _type(plain: JsonReader, constraint: Constraint | None) -> Callable[[str], Any]:
    """Return what reads the text of a gen."""
    if plain.value == "json":
        return SchemaReader(constraint if isinstance(constraint, JsonSchema) else JsonSchema("true"))
    if isinstance(plain.value, str) and plain.value in TYPE_NAMES:
        return type_spec(TYPE_NAMES[plain.value])
    if not isinstance(plain.value, dict):
        plain.fail(f"has to be one of {', '.join(TYPE_NAMES)}, json, or an object with members")
    members = []
    for item in plain.record(("members",))["members"].items():
        if not (item.value is None or isinstance(item.value, str | int)):
            item.fail("has to be a string, an integer, true, false or null")
        members.append(item.value)
    return _refusing(plain, lambda: type_spec(Literal[tuple(members)]))


def _refusing(plain: JsonReader, make: Callable[[], T]) -> T:
    """Return what `make` makes, with its complaint about a parameter turned into one with the path."""
    try:
        return make()
    except ParameterError as error:
        raise ProgramError(f"{plain.path}: {error}") from error


# ---- operations ----------------------------------------------------------------------------------------------------


def _numbers(plain: JsonReader) -> tuple[int, ...]:
    return tuple(item.number() for item in plain.items())


def _names(plain: JsonReader) -> tuple[str, ...]:
    return tuple(item.name() for item in plain.items())


def _rows(plain: JsonReader) -> tuple[tuple[int | None, ...], ...]:
    return tuple(tuple(item.number_or_none() for item in row.items()) for row in plain.items())


def _values(plain: JsonReader) -> tuple[Any, ...]:
    return tuple(_value(item) for item in plain.items())


# Name -> the fields it has to have, those it may have, and what makes the operation of them.
OPS: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...], Callable[[Fields], Op]]]] = {
    "fill": (("value",), (), lambda f: Fill(_value(f["value"]))),
    "begin_role": (("role",), (), lambda f: RoleBegin(f["role"].text())),
    "end_role": (("role",), (), lambda f: RoleEnd(f["role"].text())),
    "gen": (("name",), ("sampling", "constraint", "type"), _gen),
    "select": (
        ("name", "choices", "method"),
        (),
        lambda f: Select(f["name"].name_or_none(), _value(f["choices"]), f["method"].text()),
    ),
    "fork": (("num",), (), lambda f: Fork(f["num"].number())),
    "child": (("index",), (), lambda f: Child(f["index"].number())),
    "join": (
        ("ends", "names", "sources"),
        (),
        lambda f: Join(_numbers(f["ends"]), _names(f["names"]), _rows(f["sources"])),
    ),
    "keep": (("source", "index"), (), lambda f: Keep(_reference(f["source"]), f["index"].number())),
    "set": (("name", "value"), (), lambda f: Set(f["name"].name(), _value(f["value"]))),
    "begin_scope": (("name",), (), lambda f: ScopeBegin(f["name"].name())),
    "end_scope": (("name",), (), lambda f: ScopeEnd(f["name"].name())),
    "branch": (("conditions",), (), lambda f: Branch(_values(f["conditions"]))),
    "arm": (("index",), (), lambda f: Arm(f["index"].number())),
    "merge": (("names", "sources"), (), lambda f: Merge(_names(f["names"]), _rows(f["sources"]))),
    "loop": (("items", "limit"), (), lambda f: Loop(_value(f["items"]), f["limit"].number())),
    "fork_each": (("items", "limit"), (), lambda f: ForkEach(_value(f["items"]), f["limit"].number())),
    "body": (("name",), (), lambda f: Body(f["name"].name())),
    "collect": (("names", "sources"), (), lambda f: Collect(_names(f["names"]), _numbers(f["sources"]))),
    "gather": (
        ("name", "names", "sources"),
        (),
        lambda f: Gather(f["name"].name(), _names(f["names"]), _numbers(f["sources"])),
    ),
}
assert OPS.keys() == set(OP_NAMES.values())
