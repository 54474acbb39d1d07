"""The formatter: one spelling for everything that means the same. The text of prompts is never touched.

Blocks are indented (their text is dedented when compiled), holes and directives get one spacing, blank lines that leave
no trace go. Works on every script that can be read, right or wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import dropwhile

from .diagnostics import Report
from .layout import common_indent
from .reader import read
from .source import Source
from .syntax import (
    Arm,
    Assignment,
    Blank,
    Broken,
    Call,
    Comment,
    Constant,
    Expression,
    FieldOf,
    GenHole,
    Header,
    Hole,
    If,
    Item,
    ItemOf,
    Line,
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

INDENT = "  "
# How tightly operators bind; what binds less tightly than its place asks for stands in parentheses.
BINDING = {"or": 1, "and": 2, "not": 3, "+": 5}
COMPARISON, POSTFIX = 4, 6


def format_script(text: str, name: str = "script") -> str:
    """Return the script in its one spelling; formatting that again changes nothing.

    Raises `ScriptError` for a script that cannot be read; names and types are not looked at.

    >>> print(format_script("@program p( xs:list[str] )\\n@for x in xs\\n- {{ x }}\\n@end"), end="")
    @program p(xs: list[str])
    @for x in xs
      - {{x}}
    @end
    """
    source = Source.of(text, name)
    report = Report(source)
    script = read(source, report)
    report.raise_errors()
    lines = list(_Formatter(source).block(script.items, 0))
    while lines and not lines[-1]:
        lines.pop()
    return "".join(f"{line}\n" for line in lines)


class _Formatter:
    def __init__(self, source: Source) -> None:
        self.source = source

    def block(self, items: Sequence[Item], depth: int) -> Iterator[str]:
        """Yield the lines of a block."""
        indent = common_indent(items)
        for item in _without_idle_blanks(items, is_top=depth == 0):
            yield from self._item(item, depth, indent)

    def _item(self, item: Item, depth: int, indent: int) -> Iterator[str]:
        margin = INDENT * depth
        match item:
            case Line():
                yield margin + item.indent[indent:] + self._text(item)
            case Blank():
                yield ""
            case Comment(_, text):
                yield f"{margin}@# {text}".rstrip()
            case If(arms=arms):
                for number, arm in enumerate(arms):
                    yield margin + _arm_head(arm, number)
                    yield from self.block(arm.body, depth + 1)
                yield f"{margin}@end"
            case Repeat():
                yield margin + _repeat_head(item)
                yield from self.block(item.body, depth + 1)
                yield f"{margin}@end"
            case _:
                yield margin + _directive(item)

    def _text(self, line: Line) -> str:
        """Return a line of text as it was written, its holes in their one spelling."""
        parts, at = [], line.span.start
        for piece in line.pieces:
            if not isinstance(piece, str):
                parts += [self.source.text[at : piece.span.start], _hole(piece)]
                at = piece.span.end
        return "".join([*parts, self.source.text[at : line.span.end]])


def _without_idle_blanks(items: Sequence[Item], *, is_top: bool) -> Iterator[Item]:
    """Yield the lines without the blank ones that a role directive drops: none after it, one at most before it."""
    is_start = is_top  # nothing has been written yet in this message
    pending: list[Item] = []
    for item in items if not is_top else dropwhile(lambda first: isinstance(first, Blank), items):
        if isinstance(item, Blank):
            pending.append(item)
            continue
        if isinstance(item, Role) or (is_start and isinstance(item, Header | TypeDefinition | Comment)):
            pending = pending[:1]
        elif is_start:
            pending = []
        yield from pending
        pending = []
        yield item
        if isinstance(item, Role):
            is_start = True
        elif not isinstance(item, Header | TypeDefinition | Comment | Assignment):
            is_start = False
    yield from pending


def _directive(item: Item) -> str:
    match item:
        case Header(_, label, parameters, result):
            promise = "" if result is None else f" -> {_type(result)}"
            return f"@program {label.name}({', '.join(map(_parameter, parameters))}){promise}"
        case TypeDefinition(_, label, kind):
            return f"@type {label.name} = {_type(kind)}"
        case Role(_, role):
            return f"@{role}"
        case Assignment(_, label, value):
            return f"@set {label.name} = {expression(value)}"
        case Return(_, value):
            return f"@return {expression(value)}"
        case _:
            raise AssertionError(f"{item} is no directive of one line")


def _arm_head(arm: Arm, number: int) -> str:
    if arm.condition is None:
        return "@else"
    return f"@{'elif' if number else 'if'} {expression(arm.condition)}"


def _repeat_head(item: Repeat) -> str:
    limit = "" if item.limit is None else f" max {item.limit.value}"
    head = f"{item.label.name} in {expression(item.items)}{limit}"
    return f"@for {head}" if item.result is None else f"@fork {head} as {item.result.name}"


def _parameter(parameter: Parameter) -> str:
    default = "" if parameter.default is None else f" = {expression(parameter.default)}"
    return f"{parameter.label.name}: {_type(parameter.type)}{default}"


def _hole(hole: Hole) -> str:
    match hole:
        case GenHole(_, label, kind, options):
            head = f"gen {label.name}" if kind is None else f"gen {label.name}: {_type(kind)}"
            return _closed(", ".join([head, *map(_option, options)]))
        case SelectHole(_, label, choices, options):
            return _closed(", ".join([f"select {label.name} from {expression(choices)}", *map(_option, options)]))
        case ValueHole(_, value):
            return _closed(expression(value))
        case Broken():
            raise AssertionError("a script that cannot be read is not formatted")


def _closed(inside: str) -> str:
    """Put the braces around a hole; a record's own brace keeps away from them."""
    return "{{" + inside + (" }}" if inside.endswith("}") else "}}")


def _option(option: Option) -> str:
    return f"{option.label.name}={expression(option.value)}"


def _type(kind: TypeSyntax) -> str:
    match kind:
        case TypeName(_, name, argument):
            return name if argument is None else f"{name}[{_type(argument)}]"
        case TypeLiteral(_, value):
            return json.dumps(value, ensure_ascii=False)
        case TypePattern(_, pattern):
            return "/" + pattern.replace("/", "\\/") + "/"
        case TypeRecord(_, fields):
            return "{" + ", ".join(f"{label.name}: {_type(inner)}" for label, inner in fields) + "}"
        case TypeUnion(_, members):
            return " | ".join(f"({_type(m)})" if isinstance(m, TypeUnion) else _type(m) for m in members)
        case TypeOptional(_, inner):
            return f"({_type(inner)})?" if isinstance(inner, TypeUnion | TypeOptional) else f"{_type(inner)}?"


def expression(value: Expression, place: int = 0) -> str:
    """Return an expression; in parentheses where it binds less tightly than its `place`."""
    match value:
        case Name(_, name):
            return name
        case Constant(_, constant):
            return json.dumps(constant, ensure_ascii=False)
        case ListDisplay(_, items):
            return f"[{', '.join(map(expression, items))}]"
        case FieldOf(_, inner, label):
            return f"{expression(inner, POSTFIX)}.{label.name}"
        case ItemOf(_, inner, index):
            return f"{expression(inner, POSTFIX)}[{expression(index)}]"
        case Call(_, label, arguments):
            return f"{label.name}({', '.join(map(expression, arguments))})"
        case Operation(_, operator, operands):
            own = BINDING.get(operator, COMPARISON)
            if operator == "not":
                text = f"not {expression(operands[0], own)}"
            else:
                text = f" {operator} ".join(expression(operand, own + 1) for operand in operands)
            return f"({text})" if own < place else text
