"""Types of scripts as Python source: annotations, and the definitions and imports they need.

Part of `explain`.
"""

from __future__ import annotations

import json
import keyword
from collections.abc import Mapping

from .kinds import Kind, ListOf, Literals, OneOf, Pattern, Record, Scalar, Unknown, whole


class PythonTypes:
    """Writes types; `definitions` collects what has to be defined before the program, in order."""

    def __init__(self, types: Mapping[str, Kind]) -> None:
        self.definitions: dict[str, str] = {}
        self.imports: dict[str, set[str]] = {}
        self._names = {kind: name for name, kind in types.items() if isinstance(kind, Literals | OneOf | ListOf)}

    def source(self) -> str:
        """Return the definitions, classes set apart."""
        text, last = "", ""
        for definition in self.definitions.values():
            is_apart = "class " in (last[:6], definition[:6])
            text += ("\n\n\n" if is_apart else "\n") + definition
            last = definition
        return text

    def annotation(self, kind: Kind) -> str:
        """Return the type as it is written in Python."""
        if kind in self._names:
            name = self._names[kind]
            if name not in self.definitions:
                self._define(name, f"{name} = {self._plain(kind)}")
            return name
        return self._plain(kind)

    def _plain(self, kind: Kind) -> str:
        match kind:
            case Scalar(name):
                return "None" if name == "null" else name
            case Literals(values):
                self._import("typing", "Literal")
                return f"Literal[{', '.join(map(literal, values))}]"
            case Pattern(pattern):
                self._import("typing", "Annotated")
                self._import("pydantic", "Field")
                return f"Annotated[str, Field(pattern={literal(whole(pattern))})]"
            case ListOf(item):
                return f"list[{self.annotation(item)}]"
            case Record():
                return self._record(kind)
            case OneOf(members):
                return " | ".join(map(self.annotation, members))
            case Unknown():
                self._import("typing", "Any")
                return "Any"

    def _record(self, kind: Record) -> str:
        if kind.name in self.definitions:
            return kind.name
        fields = {name: self.annotation(inner) for name, inner in kind.fields}
        self._import("typing", "TypedDict")
        if any(keyword.iskeyword(name) for name in fields):
            inside = ", ".join(f"{literal(name)}: {inner}" for name, inner in fields.items())
            self._define(kind.name, f"{kind.name} = TypedDict({literal(kind.name)}, {{{inside}}})")
        else:
            lines = [f"class {kind.name}(TypedDict):", *(f"    {name}: {inner}" for name, inner in fields.items())]
            self._define(kind.name, "\n".join(lines))
        return kind.name

    def _define(self, name: str, source: str) -> None:
        self.definitions[name] = source

    def _import(self, module: str, name: str) -> None:
        self.imports.setdefault(module, set()).add(name)


def literal(value: str | int | float | bool | tuple[object, ...] | None) -> str:
    r"""Return a constant as Python source, texts in double quotes.

    >>> literal(("a\n", True))
    '("a\\n", True)'
    """
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)  # its escapes mean the same in Python
    if isinstance(value, tuple):
        inside = ", ".join(literal(item) for item in value)  # type: ignore[arg-type]  # constants all the way down
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    return repr(value)
