"""What checking a script gives: facts about its parts, by their place, for the layout and everything after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .kinds import Kind
from .source import Span
from .syntax import Expression, Script


@dataclass(frozen=True, slots=True)
class InputFact:
    """An input: its type, and its default unless it is `required` (lists as tuples, records as dicts)."""

    name: str
    kind: Kind
    default: Any = None
    required: bool = True


@dataclass(frozen=True, slots=True)
class Checked:
    """A script without errors.

    `kinds`: the types of expressions. `gens`: the type of each gen, None where none is written. `options`: its sampling
    parameters, by Python's names. `methods`: by what each select chooses. `limits`: how many items each loop and fork
    may have. `types`: the script's own types. `result`: an expression, the names of a record's fields, or None.
    """

    script: Script
    name: str
    inputs: tuple[InputFact, ...]
    kinds: Mapping[Span, Kind]
    gens: Mapping[Span, Kind | None]
    options: Mapping[Span, Mapping[str, Any]]
    methods: Mapping[Span, str]
    limits: Mapping[Span, int]
    types: Mapping[str, Kind]
    result: Expression | tuple[str, ...] | None
    result_kind: Kind | None
