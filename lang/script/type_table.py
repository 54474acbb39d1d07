"""`TypeTable`: the types a script defines, and what the types written in it mean.

Each is resolved once; mistakes are reported where they stand. Called by the checker.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from .diagnostics import Report, suggestion
from .kinds import NULL, SCALARS, UNKNOWN, Kind, ListOf, Literals, Pattern, Record, union
from .source import Span
from .syntax import (
    Label,
    TypeDefinition,
    TypeLiteral,
    TypeName,
    TypeOptional,
    TypePattern,
    TypeRecord,
    TypeSyntax,
    TypeUnion,
)

BUILT_IN = (*SCALARS, "list")
FOREIGN = {
    "string": "str",
    "text": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "array": "list[...]",
    "dict": "a record, {name: type}",
    "object": "a record, {name: type}",
    "null": "T?, a type with a question mark",
    "None": "T?, a type with a question mark",
}


class TypeTable:
    """Resolves types. `broken` are names whose definitions could not be read, or everything (`is_open`)."""

    def __init__(self, report: Report, broken: Iterable[str] = (), *, is_open: bool = False) -> None:
        self.report = report
        self.used: set[str] = set()
        self.definitions: dict[str, TypeDefinition] = {}
        self._broken = set(broken)
        self._is_open = is_open
        self.kinds: dict[str, Kind] = {}
        self._open: list[str] = []  # names that are being resolved
        self._record_names: set[str] = set()

    def define(self, definition: TypeDefinition) -> bool:
        """Add a definition; False when the name is taken (which the caller reports)."""
        name = definition.label.name
        if name in BUILT_IN or name in self.definitions:
            return False
        self.definitions[name] = definition
        if isinstance(definition.type, TypeRecord):
            self._record_names.add(name)
        return True

    def resolve_all(self) -> None:
        """Resolve every definition, so that mistakes are found in those that nobody uses too."""
        for name in self.definitions:
            self._named(name, Span(0, 0))

    def resolve(self, syntax: TypeSyntax, name: str) -> Kind:
        """Return what a type means; records without a name get one made from `name`."""
        match syntax:
            case TypeName(span, "list", argument):
                if argument is None:
                    self.report.error("E019", span, "'list' does not say of what", "write list[str], for example")
                return ListOf(UNKNOWN if argument is None else self.resolve(argument, name))
            case TypeName(span, known, argument):
                if argument is not None:
                    self.report.error("E019", span, f"type {known!r} takes nothing in brackets", "only list[...] does")
                return SCALARS[known] if known in SCALARS else self._named(known, span)
            case TypeLiteral(_, value):
                return Literals((value,))
            case TypePattern(span, pattern):
                return self._pattern(span, pattern)
            case TypeOptional(_, inner):
                return union((self.resolve(inner, name), NULL))
            case TypeUnion(_, members):
                self._check_members(members)
                return union(self.resolve(member, name) for member in members)
            case TypeRecord(_, fields):
                return self._record(fields, name)

    def _named(self, name: str, span: Span) -> Kind:
        if name in self.kinds:
            self.used.add(name)
            return self.kinds[name]
        if name in self._open:
            hint = "a value of it would have no end"
            self.report.error("E018", span, f"type {name!r} contains itself", hint)
            return UNKNOWN
        definition = self.definitions.get(name)
        if definition is None:
            self._unknown(name, span)
            return UNKNOWN
        if span.end:
            self.used.add(name)
        self._open.append(name)
        kind = self.resolve(definition.type, name)
        self._open.pop()
        self.kinds[name] = kind
        return kind

    def _unknown(self, name: str, span: Span) -> None:
        if self._is_open or name in self._broken:
            return
        hint = suggestion(name, (*BUILT_IN, *self.definitions))
        if name in FOREIGN:
            hint = f"write {FOREIGN[name]}"
        known = ", ".join((*SCALARS, "list[...]", *self.definitions))
        self.report.error("E012", span, f"unknown type {name!r}", hint or f"known here: {known}")

    def _pattern(self, span: Span, pattern: str) -> Kind:
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            self.report.error("E019", span, f"the pattern is not a valid regular expression: {error}")
            return UNKNOWN
        return Pattern(pattern)

    def _check_members(self, members: tuple[TypeSyntax, ...]) -> None:
        seen: set[str] = set()
        for member in members:
            if isinstance(member, TypeLiteral):
                text = json.dumps(member.value, ensure_ascii=False)
                if text in seen:
                    self.report.error("E019", member.span, f"{text} stands twice in the union", "leave one out")
                seen.add(text)

    def _record(self, fields: tuple[tuple[Label, TypeSyntax], ...], name: str) -> Kind:
        title = self._record_name(name)
        kinds: dict[str, Kind] = {}
        for label, syntax in fields:
            if label.name in kinds:
                self.report.error("E011", label.span, f"the record has a field {label.name!r} already")
            kinds[label.name] = self.resolve(syntax, f"{title}{camel(label.name)}")
        return Record(title, tuple(kinds.items()), title == name and name in self.definitions)

    def _record_name(self, name: str) -> str:
        """Return a class name for a record: its type's, where that is nothing but the record, or a new one."""
        definition = self.definitions.get(name)
        if definition is not None and isinstance(definition.type, TypeRecord) and self._open[-1:] == [name]:
            return name
        title = camel(name)
        number = 2
        while title in self._record_names or title in self.definitions:
            title = f"{camel(name)}{number}"
            number += 1
        self._record_names.add(title)
        return title


def camel(name: str) -> str:
    """Return a name as a class has it.

    >>> camel("first_answer")
    'FirstAnswer'
    """
    return "".join(part[:1].upper() + part[1:] for part in name.split("_") if part) or "Record"
