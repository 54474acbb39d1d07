"""Expressions of scripts as Python source, with the helper functions they need. Part of `explain`."""

from __future__ import annotations

from collections.abc import Mapping

from .kinds import Kind, ListOf, Scalar, is_all
from .options import NO_CONSTANT, constant_of
from .python_types import literal
from .source import Span
from .syntax import Call, Constant, Expression, FieldOf, ItemOf, ListDisplay, Name, Operation

HELPERS = {
    "text": '''
def {name}(value):
    """Return what a value looks like in a prompt: strings as they are, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
''',
    "majority": '''
def {name}(values):
    """Return the value that stands most often, the first of equals."""
    present = [value for value in values if value is not None]
    return max(present, key=present.count)
''',
}
BINDING = {"or": 1, "and": 2, "not": 3, "+": 5}
COMPARISON, POSTFIX = 4, 6

Code = Mapping[str, str]  # names of the script -> what they are called in Python


class PythonValues:
    """Writes expressions; `kinds` are their types. `helpers` and `imports` collect what the source needs."""

    def __init__(self, kinds: Mapping[Span, Kind]) -> None:
        self.kinds = kinds
        self.names = {helper: helper for helper in HELPERS}
        self.helpers: set[str] = set()
        self.imports: set[str] = set()

    def text(self, value: Expression, names: Code) -> str:
        """Return the source of the text of a value, ready to be added to other texts."""
        if isinstance(value, Constant) and isinstance(value.value, str):
            return literal(value.value)
        kind = self.kinds[value.span]
        if is_all(kind, "str"):
            return self.source(value, names, BINDING["+"])
        if kind == Scalar("int"):
            return f"str({self.source(value, names)})"
        return f"{self.helper('text')}({self.source(value, names)})"

    def items(self, value: Expression, names: Code) -> str:
        """Return the source of a list that is only gone through."""
        match value:
            case ListDisplay(_, items):
                return f"[{', '.join(self.source(item, names) for item in items)}]"
            case Call(_, label, arguments) if label.name == "range":
                return f"range({', '.join(self.source(argument, names) for argument in arguments)})"
            case _:
                return self.source(value, names)

    def source(self, value: Expression, names: Code, place: int = 0) -> str:
        """Return the source of a value, in parentheses where it binds less tightly than its `place`."""
        match value:
            case Name(_, name):
                return names[name]
            case Constant(_, constant):
                return literal(constant)
            case ListDisplay(_, items):
                inside = ", ".join(self.source(item, names) for item in items)
                return f"({inside},)" if len(items) == 1 else f"({inside})"
            case FieldOf():
                return self._field(value, names)
            case ItemOf(_, inner, index):
                return f"{self.source(inner, names, POSTFIX)}[{self.source(index, names)}]"
            case Call():
                return self._call(value, names)
            case Operation():
                own = BINDING.get(value.operator, COMPARISON)
                text = self._operation(value, names, own)
                return f"({text})" if own < place and not text.startswith("(*") else text

    def helper(self, name: str) -> str:
        """Note that a helper function is needed, and return what it is called."""
        self.helpers.add(name)
        if name == "text":
            self.imports.add("json")
        return self.names[name]

    def _field(self, value: FieldOf, names: Code) -> str:
        source = self.source(value.value, names, POSTFIX)
        depth, kind = 0, self.kinds[value.value.span]
        while isinstance(kind, ListOf):
            depth, kind = depth + 1, kind.item
        field = f"[{literal(value.field.name)}]"
        return _projected(source, field, depth)

    def _call(self, value: Call, names: Code) -> str:
        arguments = [self.source(argument, names) for argument in value.arguments]
        match value.function.name:
            case "range":
                return f"tuple(range({', '.join(arguments)}))"
            case "lower":
                return f"{self.source(value.arguments[0], names, POSTFIX)}.lower()"
            case "json":
                self.imports.add("json")
                return f"json.dumps({arguments[0]}, ensure_ascii=False)"
            case "join":
                separator = literal(", ")
                if len(arguments) > 1:
                    separator = self.source(value.arguments[1], names, POSTFIX)
                kind = self.kinds[value.arguments[0].span]
                is_texts = isinstance(kind, ListOf) and is_all(kind.item, "str")
                texts = arguments[0] if is_texts else f"({self.helper('text')}(item) for item in {arguments[0]})"
                return f"{separator}.join({texts})"
            case "majority":
                return f"{self.helper('majority')}({arguments[0]})"
            case name:
                return f"{name}({', '.join(arguments)})"

    def _operation(self, value: Operation, names: Code, own: int) -> str:
        operator, operands = value.operator, value.operands
        if operator == "not":
            return f"not {self.source(operands[0], names, own)}"
        if operator == "+" and is_all(self.kinds[value.span], "list"):
            return f"({', '.join('*' + self.source(operand, names, BINDING['+']) for operand in operands)})"
        if operator in ("==", "!="):
            if any(isinstance(operand, Constant) and operand.value is None for operand in operands):
                operator = "is" if operator == "==" else "is not"
            return f" {operator} ".join(self._compared(operand, names, own + 1) for operand in operands)
        return f" {operator} ".join(self.source(operand, names, own + 1) for operand in operands)

    def _compared(self, value: Expression, names: Code, place: int) -> str:
        """A list is a tuple or a list, depending on where it comes from; compared it is a tuple."""
        source = self.source(value, names, place)
        is_list = isinstance(self.kinds[value.span], ListOf) and constant_of(value) is NO_CONSTANT
        return f"tuple({source})" if is_list else source


def _projected(source: str, field: str, depth: int) -> str:
    if depth == 0:
        return source + field
    return f"tuple({_projected('item', field, depth - 1)} for item in {source})"
