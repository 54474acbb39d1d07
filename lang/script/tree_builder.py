"""From lark's trees to the syntax tree: `Builder` moves places by the offset of what was parsed, and reads literals.

What a literal can get wrong is reported here (E008, E009 and E061). Called by `line_parser.py` alone.
"""

from __future__ import annotations

import json
import math
from typing import Any

from lark import Token, Tree

from .diagnostics import Report
from .source import Span
from .syntax import (
    Arm,
    Assignment,
    Call,
    Constant,
    Expression,
    FieldOf,
    GenHole,
    Header,
    ItemOf,
    Label,
    ListDisplay,
    Name,
    Operation,
    Option,
    Parameter,
    Repeat,
    Return,
    Role,
    SelectHole,
    TypeDefinition,
    TypeLiteral,
    TypeName,
    TypeOptional,
    TypePattern,
    TypeRecord,
    TypeSyntax,
    TypeUnion,
    ValueHole,
)

Parsed = Tree[Token]
Directive = Header | TypeDefinition | Role | Assignment | Return | Arm | Repeat | None  # None: @end

MAX_DIGITS = 18
MAX_DEPTH = 64
WORDS = {"true": True, "false": False, "null": None}


class Builder:
    """Builds from the tree of one directive or hole that begins at `base`; `whole` is its place."""

    def __init__(self, report: Report, base: int, whole: Span) -> None:
        self.report = report
        self.base = base
        self.whole = whole

    def directive(self, tree: Parsed) -> Directive:
        """Build a directive; blocks come without what is in them, `@end` is None."""
        (tree,) = _trees(tree)
        match tree.data, tree.children:
            case "program", [name, *parameters, result]:
                made = tuple(self._parameter(child) for child in parameters if child is not None)
                return Header(self.whole, self._label(name), made, self._optional_type(result))
            case "type_definition", [name, value]:
                return TypeDefinition(self.whole, self._label(name), self.type(value))
            case "role", [role]:
                return Role(self.whole, str(role)[1:])
            case "assignment", [name, value]:
                return Assignment(self.whole, self._label(name), self.expression(value))
            case "if" | "elif", [condition]:
                return Arm(self.whole, self.expression(condition), ())
            case "else", _:
                return Arm(self.whole, None, ())
            case "for", [name, items, limit]:
                return self._repeat(name, items, limit, None)
            case "fork", [name, items, limit, result]:
                return self._repeat(name, items, limit, self._label(result))
            case "return", [value]:
                return Return(self.whole, self.expression(value))
            case _:
                return None

    def hole(self, tree: Parsed) -> GenHole | SelectHole | ValueHole:
        """Build what stands between `{{` and `}}`."""
        (tree,) = _trees(tree)
        match tree.data, tree.children:
            case "gen", [name, kind, *options]:
                return GenHole(self.whole, self._label(name), self._optional_type(kind), self._options(options))
            case "select", [name, choices, *options]:
                return SelectHole(self.whole, self._label(name), self.expression(choices), self._options(options))
            case _:
                return ValueHole(self.whole, self.expression(tree))

    def type(self, tree: Any) -> TypeSyntax:
        """Build a type."""
        span = self._span(tree)
        match tree.data, tree.children:
            case "type", members:
                return TypeUnion(span, tuple(self.type(member) for member in members))
            case "nullable", [inner]:
                return TypeOptional(span, self.type(inner))
            case "type_name", [name, argument]:
                return TypeName(span, str(name), self._optional_type(argument))
            case "type_literal", [token]:
                value = self._literal(token)
                return TypeLiteral(span, value if isinstance(value, str | int) else str(value))
            case "type_pattern", [token]:
                return TypePattern(span, str(token)[1:-1].replace("\\/", "/"))
            case _:
                fields = [
                    (self._label(f.children[0]), self.type(f.children[1])) for f in tree.children if f is not None
                ]
                return TypeRecord(span, tuple(fields))

    def expression(self, tree: Any) -> Expression:
        """Build an expression."""
        span = self._span(tree)
        match tree.data, tree.children:
            case "name", [name]:
                return Name(span, str(name))
            case "constant", [token]:
                return Constant(span, self._literal(token))
            case "list", items:
                return ListDisplay(span, self._expressions(items))
            case "call", [function, *arguments]:
                return Call(span, self._label(function), self._expressions(arguments))
            case "field", [value, name]:
                return FieldOf(span, self.expression(value), self._label(name))
            case "item", [value, index]:
                return ItemOf(span, self.expression(value), self.expression(index))
            case "comparison", [left, operator, right]:
                return Operation(span, str(operator), (self.expression(left), self.expression(right)))
            case "lacks", operands:
                return Operation(span, "not in", self._expressions(operands))
            case data, operands:
                return Operation(span, OPERATORS[str(data)], self._expressions(operands))

    def _repeat(self, name: Any, items: Any, limit: Any, result: Label | None) -> Repeat:
        bound = None if limit is None else Constant(self._span(limit), self._literal(limit))
        return Repeat(self.whole, self._label(name), self.expression(items), bound, result, ())

    def _parameter(self, tree: Any) -> Parameter:
        name, kind, default = tree.children
        return Parameter(self._label(name), self.type(kind), None if default is None else self.expression(default))

    def _options(self, trees: list[Any]) -> tuple[Option, ...]:
        found = [tree.children for tree in trees if tree is not None]
        return tuple(Option(self._label(name), self.expression(value)) for name, value in found)

    def _expressions(self, trees: list[Any]) -> tuple[Expression, ...]:
        return tuple(self.expression(tree) for tree in trees if tree is not None)

    def _optional_type(self, tree: Any) -> TypeSyntax | None:
        return None if tree is None else self.type(tree)

    def _label(self, token: Any) -> Label:
        return Label(self._span(token), str(token))

    def _span(self, part: Any) -> Span:
        place: Any = part if isinstance(part, Token) else part.meta
        return Span(self.base + place.start_pos, self.base + place.end_pos)

    def _literal(self, token: Any) -> str | int | float | bool | None:
        match token.type:
            case "STRING":
                return self._text(token)
            case "WORD":
                return WORDS[str(token)]
            case "INT" if len(token.lstrip("-")) <= MAX_DIGITS:
                return int(token)
            case "FLOAT" if len(token) <= 64 and math.isfinite(float(token)):
                return float(token)
            case _:
                self.report.error("E009", self._span(token), f"the number {_short(token)} is too large")
                return 0

    def _text(self, token: Token) -> str:
        try:
            text = str(json.loads(token, strict=False))
            text.encode()
        except UnicodeEncodeError:
            hint = "write both halves of the pair, or the character itself"
            self.report.error("E008", self._span(token), "the text holds half a character", hint)
        except ValueError:
            hint = r"texts are written as in JSON: \n, \t, \", \\ and \u0041 are the escapes"
            self.report.error("E008", self._span(token), f"the text {_short(token)} holds an unknown escape", hint)
        else:
            return text
        return "?"  # not empty, which some options complain about


OPERATORS = {"expression": "or", "conjunction": "and", "inverse": "not", "contains": "in", "sum": "+"}


def depth(tree: Parsed) -> int:
    """Return how deep a tree is, a chain of operands counted as it will be nested; without recursion."""
    deepest, pending = 0, [(tree, 1)]
    while pending:
        node, level = pending.pop()
        deepest = max(deepest, level)
        is_chain = node.data in ("expression", "conjunction", "sum", "type")
        for child in node.children:
            if isinstance(child, Tree):
                pending.append((child, level + (len(node.children) if is_chain else 1)))
    return deepest


def _trees(tree: Parsed) -> list[Parsed]:
    return [child for child in tree.children if isinstance(child, Tree)]


def _short(token: str) -> str:
    return token if len(token) <= 30 else token[:27] + "..."
