"""The type of an expression, and what is wrong with it: names, operations, fields, functions, comparisons.

Called by the checker, which keeps the names (`Binding`) that can be read at each place.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from .diagnostics import Report, suggestion
from .kinds import (
    BOOL,
    FLOAT,
    INT,
    NULL,
    STR,
    UNKNOWN,
    Kind,
    ListOf,
    Literals,
    Record,
    can_be_equal,
    is_all,
    is_optional,
    members_of,
    spelled,
    union,
    widened,
    without_null,
)
from .source import Span
from .syntax import Call, Constant, Expression, FieldOf, ItemOf, ListDisplay, Name, Operation

MAX_RANGE = 10_000
CONSTANTS = {"True": "true", "False": "false", "None": "null"}


@dataclass(slots=True)
class Binding:
    """A name that can be read: its type and where it was given.

    `is_generated`: it depends on what the model writes. `length`: how many items it has at most (None: not known).
    """

    kind: Kind
    span: Span
    is_generated: bool = False
    length: int | None = None
    is_used: bool = False


Names = ChainMap[str, Binding]  # of the blocks around, the innermost first


@dataclass(frozen=True, slots=True)
class Function:
    """One function of the language: how many arguments it takes, and its type, which also checks them."""

    least: int
    most: int
    kind: Callable[[Inference, Call, list[Kind]], Kind]


class Inference:
    """Infers types; `kinds` keeps them by the place of the expression. `is_open`: unknown names were reported."""

    def __init__(self, report: Report, *, is_open: bool = False) -> None:
        self.report = report
        self.kinds: dict[Span, Kind] = {}
        self._is_open = is_open

    def infer(self, expression: Expression, names: Names) -> Kind:
        """Return the type of a value; what is wrong is reported, and its type is then unknown."""
        kind = self._infer(expression, names)
        self.kinds[expression.span] = kind
        return kind

    def infer_present(self, expression: Expression, names: Names, what: str) -> Kind:
        """The same for a value that must not be null."""
        kind = self.infer(expression, names)
        if is_optional(kind):
            self.report.error("E014", expression.span, f"{what} may be null here", present_hint(expression))
            return without_null(kind)
        return kind

    def _infer(self, expression: Expression, names: Names) -> Kind:
        match expression:
            case Name():
                return self._name(expression, names)
            case Constant(_, value):
                return NULL if value is None else FLOAT if isinstance(value, float) else Literals((value,))
            case ListDisplay(_, items):
                return ListOf(union(self.infer(item, names) for item in items) if items else UNKNOWN)
            case FieldOf():
                kind = self._field(expression, self.infer_present(expression.value, names, "the record"))
                return without_null(kind) if path_of(expression) in names else kind
            case ItemOf():
                return self._item(expression, names)
            case Call():
                return self._call(expression, names)
            case Operation():
                return self._operation(expression, names)

    def _name(self, expression: Name, names: Names) -> Kind:
        name, span = expression.name, expression.span
        if name in names:
            names[name].is_used = True
            return names[name].kind
        if self._is_open:
            return UNKNOWN
        there_are = [known for known in names if known.isidentifier()]
        hint = f"write {CONSTANTS[name]}" if name in CONSTANTS else suggestion(name, there_are)
        known = f"known here: {', '.join(there_are)}" if there_are else "nothing is known here yet"
        if not hint and name in FUNCTIONS:
            hint = f"{name} is a function: write {name}(...)"
        self.report.error("E010", span, f"unknown name {name!r}", hint or known)
        return UNKNOWN

    def _field(self, expression: FieldOf, value: Kind) -> Kind:
        label = expression.field
        match value:
            case Record(_, fields, _):
                found = dict(fields)
                if label.name in found:
                    return found[label.name]
                hint = suggestion(label.name, found) or f"its fields are {', '.join(found)}"
                self.report.error("E015", label.span, f"the record has no field {label.name!r}", hint)
                return UNKNOWN
            case ListOf(Record() | ListOf() as item):
                return ListOf(self._field(expression, item))
            case _:
                if value != UNKNOWN and value != ListOf(UNKNOWN):
                    message = f"a value of type {said(value)} has no field {label.name!r}"
                    self.report.error("E015", label.span, message, _why_no_field(value))
                return UNKNOWN

    def _item(self, expression: ItemOf, names: Names) -> Kind:
        value = self.infer_present(expression.value, names, "the list")
        index = self.infer_present(expression.index, names, "the index")
        if is_all(value, "list", "str"):
            if not is_all(index, "number"):
                message = f"an item is found by its number, not by a value of type {said(index)}"
                self.report.error("E014", expression.index.span, message, "the first one is [0], the last one [-1]")
            return union(
                k.item if isinstance(k, ListOf) else UNKNOWN if k == UNKNOWN else STR for k in members_of(value)
            )
        self.report.error("E015", expression.value.span, f"a value of type {said(value)} has no items")
        return UNKNOWN

    def _call(self, expression: Call, names: Names) -> Kind:
        kinds = [self.infer(argument, names) for argument in expression.arguments]
        label = expression.function
        function = FUNCTIONS.get(label.name)
        if function is None:
            hint = suggestion(label.name, FUNCTIONS) or f"the functions are {', '.join(FUNCTIONS)}"
            self.report.error("E016", label.span, f"unknown function {label.name!r}", hint)
            return UNKNOWN
        if not function.least <= len(kinds) <= function.most:
            many = str(function.least) if function.least == function.most else f"{function.least} to {function.most}"
            plural = "" if many == "1" else "s"
            message = f"{label.name} takes {many} argument{plural}, not {len(kinds)}"
            self.report.error("E016", label.span, message)
            return UNKNOWN
        for argument, kind in zip(expression.arguments, kinds, strict=True):
            if is_optional(kind) and label.name not in ("json", "majority"):
                message = f"what {label.name} is applied to may be null here"
                self.report.error("E014", argument.span, message, present_hint(argument))
                return UNKNOWN
        return function.kind(self, expression, kinds)

    def require(self, expression: Call, position: int, kind: Kind, bases: tuple[str, ...], wanted: str) -> None:
        """Report an argument that is not of the kind a function takes."""
        if not is_all(kind, *bases):
            message = f"{expression.function.name} takes {wanted}, not a value of type {said(kind)}"
            self.report.error("E014", expression.arguments[position].span, message)

    # ---- operations ------------------------------------------------------------------------------------------------

    def _operation(self, expression: Operation, names: Names) -> Kind:
        operator, operands = expression.operator, expression.operands
        if operator in ("and", "or"):
            return self._logic(operator, operands, names)
        if operator == "not":
            self.infer(operands[0], names)
            return BOOL
        if operator == "+":
            return self._sum(expression, [self.infer_present(operand, names, "the operand") for operand in operands])
        left, right = (self.infer(operand, names) for operand in operands)
        match operator:
            case "==" | "!=":
                self._equality(expression, left, right)
            case "in" | "not in":
                self._membership(expression, left, right)
            case _:
                self._order(expression, left, right)
        return BOOL

    def _logic(self, operator: str, operands: tuple[Expression, ...], names: Names) -> Kind:
        """Infer each operand knowing what those before it say about nulls."""
        kinds = []
        for operand in operands:
            kinds.append(self.infer(operand, names))
            names = narrowed(names, present_in(operand, holds=operator == "and"))
        return union(kinds)

    def _sum(self, expression: Operation, kinds: list[Kind]) -> Kind:
        if all(is_all(kind, "str") for kind in kinds):
            return STR
        if all(is_all(kind, "number") for kind in kinds):
            return FLOAT if FLOAT in kinds else INT
        if all(is_all(kind, "list") for kind in kinds):
            items = [member.item for kind in kinds for member in members_of(kind) if isinstance(member, ListOf)]
            return ListOf(union(items) if items else UNKNOWN)
        types = " and ".join(dict.fromkeys(map(said, kinds)))
        hint = "texts are joined with texts, numbers added to numbers, lists joined with lists"
        self.report.error("E014", expression.span, f"'+' does not take {types}", hint)
        return UNKNOWN

    def _equality(self, expression: Operation, left: Kind, right: Kind) -> None:
        if can_be_equal(left, right):
            return
        answer = "never" if expression.operator == "==" else "always"
        a, b = expression.operands
        for literal, kind, other in ((b, left, right), (a, right, left)):
            if isinstance(literal, Constant) and isinstance(other, Literals) and isinstance(kind, Literals):
                hint = suggestion(str(other.values[0]), [str(value) for value in kind.values])
                expected = f"it is one of {spelled(kind)}"
                self.report.error("E017", literal.span, f"this is {answer} so: {expected}", hint)
                return
        if NULL in (left, right):
            self.report.error("E017", expression.span, f"this is {answer} so: the value is never null")
            return
        types = f"{said(left)} and {said(right)}"
        self.report.error("E017", expression.span, f"this is {answer} so: the types are {types}")

    def _membership(self, expression: Operation, left: Kind, right: Kind) -> None:
        item, container = expression.operands
        answer = "never" if expression.operator == "in" else "always"
        for member in members_of(right):
            match member:
                case ListOf(inner):
                    if not can_be_equal(left, inner):
                        message = f"this is {answer} so: the items are of type {spelled(inner)}"
                        hint = None
                        if isinstance(left, Literals) and isinstance(inner, Literals):
                            hint = suggestion(str(left.values[0]), [str(value) for value in inner.values])
                        self.report.error("E017", item.span, message, hint)
                case _ if is_all(member, "str"):
                    if not is_all(left, "str"):
                        message = f"a text holds texts, not a value of type {said(left)}"
                        self.report.error("E014", item.span, message)
                case _:
                    message = f"nothing is in a value of type {said(member)}"
                    self.report.error("E014", container.span, message, "write a list or a text after 'in'")

    def _order(self, expression: Operation, left: Kind, right: Kind) -> None:
        for base in ("number", "str"):
            if is_all(left, base) and is_all(right, base):
                return
        message = f"{expression.operator!r} does not order {said(left)} and {said(right)}"
        self.report.error("E014", expression.span, message, "numbers are ordered with numbers, texts with texts")


def _why_no_field(value: Kind) -> str:
    item = value.item if isinstance(value, ListOf) else value
    if any(isinstance(member, Record) for member in members_of(item)):
        return "the types of a union cannot be told apart; use one record, with fields that may be null"
    return "only records have fields"


def said(kind: Kind) -> str:
    """Return a type as it is called in a message; a single constant's is its kind of value."""
    return spelled(widened(kind))


# ---- what conditions say about nulls -----------------------------------------------------------------------------


def present_in(condition: Expression, *, holds: bool) -> frozenset[str]:
    """Return the names, and paths to fields, that are not null when the condition holds, or when it does not."""
    match condition:
        case Name() | FieldOf() if holds and (path := path_of(condition)):
            return frozenset({path})
        case Operation(_, "==" | "!=" as operator, (value, Constant(_, None))) if holds == (operator == "!="):
            path = path_of(value)
            return frozenset({path} if path else ())
        case Operation(_, "not", (inner,)):
            return present_in(inner, holds=not holds)
        case Operation(_, "and" | "or" as operator, operands) if holds == (operator == "and"):
            return frozenset().union(*(present_in(operand, holds=holds) for operand in operands))
        case _:
            return frozenset()


def narrowed(names: Names, present: frozenset[str]) -> Names:
    """Return the names with those that are known not to be null typed so; for fields, their paths stand among them."""
    changed: dict[str, Binding] = {}
    for path in present:
        if path in names and is_optional(names[path].kind):
            changed[path] = replace(names[path], kind=without_null(names[path].kind))
        elif path not in names and not path.isidentifier():
            changed[path] = Binding(UNKNOWN, Span(0, 0))
    return names.new_child(changed) if changed else names


def path_of(expression: Expression) -> str | None:
    """Return `name.field.field` where an expression is that, else None."""
    match expression:
        case Name(_, name):
            return name
        case FieldOf(_, value, label):
            path = path_of(value)
            return None if path is None else f"{path}.{label.name}"
        case _:
            return None


def present_hint(expression: Expression) -> str | None:
    """Say how a value is known not to be null."""
    path = path_of(expression)
    return None if path is None else f"put it into '@if {path} != null'"


# ---- functions ---------------------------------------------------------------------------------------------------


def _len(inference: Inference, call: Call, kinds: list[Kind]) -> Kind:
    inference.require(call, 0, kinds[0], ("list", "str"), "a list or a text")
    return INT


def _range(inference: Inference, call: Call, kinds: list[Kind]) -> Kind:
    for position, kind in enumerate(kinds):
        inference.require(call, position, kind, ("number",), "whole numbers")
        if any(member == FLOAT for member in members_of(kind)):
            inference.report.error("E014", call.arguments[position].span, "range takes whole numbers")
    return ListOf(INT)


def _join(inference: Inference, call: Call, kinds: list[Kind]) -> Kind:
    inference.require(call, 0, kinds[0], ("list",), "a list")
    if len(kinds) > 1:
        inference.require(call, 1, kinds[1], ("str",), "a text between the items")
    return STR


def _lower(inference: Inference, call: Call, kinds: list[Kind]) -> Kind:
    inference.require(call, 0, kinds[0], ("str",), "a text")
    return STR


def _json(inference: Inference, call: Call, kinds: list[Kind]) -> Kind:
    return STR


def _majority(inference: Inference, call: Call, kinds: list[Kind]) -> Kind:
    if is_optional(kinds[0]):
        inference.report.error("E014", call.arguments[0].span, "the list may be null here")
    inference.require(call, 0, without_null(kinds[0]), ("list",), "a list")
    items = [member.item for member in members_of(kinds[0]) if isinstance(member, ListOf)]
    return without_null(union(items)) if items else UNKNOWN


FUNCTIONS: Mapping[str, Function] = {
    "len": Function(1, 1, _len),
    "range": Function(1, 3, _range),
    "join": Function(1, 2, _join),
    "lower": Function(1, 1, _lower),
    "json": Function(1, 1, _json),
    "majority": Function(1, 1, _majority),
}
