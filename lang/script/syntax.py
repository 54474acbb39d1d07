"""The syntax tree of a script: what was written and where, nothing else. Made by the reader, never changed.

Read by the checker, the layout and the formatter.
"""

from __future__ import annotations

from dataclasses import dataclass

from .source import Source, Span

# ---- expressions -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Name:
    """The value of an input, of what was generated, or of `@set`."""

    span: Span
    name: str


@dataclass(frozen=True, slots=True)
class Constant:
    """A text, number, `true`, `false` or `null`."""

    span: Span
    value: str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class ListDisplay:
    """`[a, b]`."""

    span: Span
    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class FieldOf:
    """`value.name`: a field of a record, or of every record of a list."""

    span: Span
    value: Expression
    field: Label


@dataclass(frozen=True, slots=True)
class ItemOf:
    """`value[index]`."""

    span: Span
    value: Expression
    index: Expression


@dataclass(frozen=True, slots=True)
class Call:
    """`function(arguments)`."""

    span: Span
    function: Label
    arguments: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """`or`, `and` and `+` of two or more operands, `not` of one, a comparison or `in` of two."""

    span: Span
    operator: str
    operands: tuple[Expression, ...]


Expression = Name | Constant | ListDisplay | FieldOf | ItemOf | Call | Operation


# ---- types -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TypeName:
    """`str`, `list[T]`, or the name of a type of the script."""

    span: Span
    name: str
    argument: TypeSyntax | None = None


@dataclass(frozen=True, slots=True)
class TypeLiteral:
    """One text or number, as a member of a union."""

    span: Span
    value: str | int


@dataclass(frozen=True, slots=True)
class TypePattern:
    """`/regex/`; `pattern` has no slashes around it and none escaped."""

    span: Span
    pattern: str


@dataclass(frozen=True, slots=True)
class TypeRecord:
    """`{name: type, ...}`."""

    span: Span
    fields: tuple[tuple[Label, TypeSyntax], ...]


@dataclass(frozen=True, slots=True)
class TypeUnion:
    """`a | b`."""

    span: Span
    members: tuple[TypeSyntax, ...]


@dataclass(frozen=True, slots=True)
class TypeOptional:
    """`T?`: T or null."""

    span: Span
    inner: TypeSyntax


TypeSyntax = TypeName | TypeLiteral | TypePattern | TypeRecord | TypeUnion | TypeOptional


# ---- lines and directives ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Label:
    """A name where it is given."""

    span: Span
    name: str


@dataclass(frozen=True, slots=True)
class Option:
    """`name=value` in a hole."""

    label: Label
    value: Expression


@dataclass(frozen=True, slots=True)
class GenHole:
    """`{{gen name: type, options}}`."""

    span: Span
    label: Label
    type: TypeSyntax | None
    options: tuple[Option, ...]


@dataclass(frozen=True, slots=True)
class SelectHole:
    """`{{select name from choices, options}}`."""

    span: Span
    label: Label
    choices: Expression
    options: tuple[Option, ...]


@dataclass(frozen=True, slots=True)
class ValueHole:
    """`{{expression}}`."""

    span: Span
    value: Expression


@dataclass(frozen=True, slots=True)
class Broken:
    """What could not be read and was reported; `names` are those it would have defined."""

    span: Span
    names: tuple[str, ...] = ()


Hole = GenHole | SelectHole | ValueHole | Broken


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text: texts (escapes resolved) and holes after `indent`. `joins`: the next line goes on in this one."""

    span: Span
    indent: str
    pieces: tuple[str | Hole, ...]
    joins: bool = False


@dataclass(frozen=True, slots=True)
class Blank:
    """A line of white space."""

    span: Span


@dataclass(frozen=True, slots=True)
class Comment:
    """`@# text`."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Parameter:
    """`name: type = default`."""

    label: Label
    type: TypeSyntax
    default: Expression | None


@dataclass(frozen=True, slots=True)
class Header:
    """`@program name(parameters) -> type`."""

    span: Span
    label: Label
    parameters: tuple[Parameter, ...]
    result: TypeSyntax | None


@dataclass(frozen=True, slots=True)
class TypeDefinition:
    """`@type name = type`."""

    span: Span
    label: Label
    type: TypeSyntax


@dataclass(frozen=True, slots=True)
class Role:
    """`@system`, `@user`, `@assistant`."""

    span: Span
    role: str


@dataclass(frozen=True, slots=True)
class Assignment:
    """`@set name = value`."""

    span: Span
    label: Label
    value: Expression


@dataclass(frozen=True, slots=True)
class Return:
    """`@return value`."""

    span: Span
    value: Expression


@dataclass(frozen=True, slots=True)
class Arm:
    """`@if`, `@elif` (`condition`) or `@else` (None) with its lines."""

    span: Span
    condition: Expression | None
    body: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class If:
    """A whole `@if` ... `@end`."""

    span: Span
    arms: tuple[Arm, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """A whole `@for` or, with `result`, `@fork` ... `@end`. `limit` is the number after `max`."""

    span: Span
    label: Label
    items: Expression
    limit: Constant | None
    result: Label | None
    body: tuple[Item, ...]


Item = (
    Line | Blank | Comment | Header | TypeDefinition | Role | Assignment | Return | If | Repeat | Broken
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Script:
    """A whole file.

    `is_whole`: nothing of it was left out, so that errors about what is missing make sense. `is_closed`: every block
    ends where it says.
    """

    source: Source
    items: tuple[Item, ...]
    is_whole: bool = True
    is_closed: bool = True
