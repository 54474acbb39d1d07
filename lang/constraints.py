"""Constraints: what the text of one gen may be, as a closed sum type of serialisable values.

Who enforces them (grammar plugins, masks) is the backend's business; here they are only facts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .errors import ConstraintError, ParameterError


@dataclass(frozen=True, slots=True)
class Regex:
    """The whole output matches `pattern` (meaning of Python's `re.fullmatch`)."""

    pattern: str

    def __post_init__(self) -> None:
        if not isinstance(self.pattern, str):
            raise ParameterError(f"regex must be a string, got {type(self.pattern).__name__}")


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """The output is JSON that validates against `schema`, a JSON document held as text so that it hashes.

    `strict=False`: keywords that the grammar plugin cannot hold are left out of the mask instead of being refused;
    whoever reads the value validates it against the whole schema.
    """

    schema: str
    strict: bool = True


@dataclass(frozen=True, slots=True)
class Grammar:
    """The output is a sentence of a grammar in lark's syntax, start rule `start`."""

    grammar: str
    start: str = "start"


@dataclass(frozen=True, slots=True)
class Choices:
    """The output is exactly one of `choices` (non-empty, distinct, no empty string)."""

    choices: tuple[str, ...]

    def __post_init__(self) -> None:
        check_choices(self.choices)


Constraint = Regex | JsonSchema | Grammar | Choices


CONSTRAINT_KINDS: tuple[str, ...] = ("regex", "json_schema", "grammar", "choices")


def constraint_of(kind: str, value: Any, *, strict: bool = True) -> Constraint:
    """Build a constraint of `kind` ("regex", "choices", "grammar", "json_schema") from what a user wrote for it.

    `strict` is for schemas, see `JsonSchema`. Raises `ConstraintError` for a pattern or schema that is broken,
    `ParameterError` for a value of another type.

    >>> constraint_of("json_schema", {"type": "integer"})
    JsonSchema(schema='{"type": "integer"}', strict=True)
    """
    match kind, value:
        case "regex", str():
            return Regex(_checked_pattern(value))
        case "choices", _:
            if isinstance(value, str) or not isinstance(value, Iterable):
                raise ParameterError(f"choices must be a list of strings, got {value!r}")
            return Choices(tuple(value))
        case "grammar", str():
            return _checked_grammar(Grammar(value))
        case "grammar", Grammar():
            return _checked_grammar(value)
        case "json_schema", dict() | str():
            return JsonSchema(_schema_text(value), strict)
        case _:
            raise ParameterError(f"{kind}= has a value of type {type(value).__name__}, which it does not take")


def check_choices(choices: tuple[str, ...]) -> None:
    """Raise `ParameterError` unless `choices` is a non-empty tuple of distinct, non-empty strings."""
    if not choices:
        raise ParameterError("choices is empty; give at least one string")
    seen: set[str] = set()
    for choice in choices:
        if not isinstance(choice, str):
            raise ParameterError(f"choices must be strings, got {choice!r} of type {type(choice).__name__}")
        if not choice:
            raise ParameterError("choices contains the empty string; every choice needs at least one character")
        check_characters(choice)
        if choice in seen:
            raise ParameterError(f"choices contains {choice!r} twice; give each choice once")
        seen.add(choice)


def is_complete(constraint: Constraint, text: str) -> bool | None:
    """True when `text` is a whole value of `constraint`; of a schema, when it is JSON. None: only a parser knows."""
    match constraint:
        case Regex(pattern):
            return re.fullmatch(pattern, text) is not None
        case Choices(choices):
            return text in choices
        case JsonSchema():
            try:
                json.loads(text)
            except ValueError:
                return False
            return True
        case Grammar():
            return None


def check_characters(text: str) -> None:
    """Raise `ParameterError` for text with half a surrogate pair in it, which no tokenizer and no file can hold."""
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ParameterError(
            f"the text holds a lone surrogate, {text[error.start]!r}, at position {error.start}; "
            "decode its bytes with errors='replace'"
        ) from error


def _checked_pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ConstraintError(f"regex {pattern!r} is not a valid pattern: {error}") from error
    return pattern


def _checked_grammar(grammar: Grammar) -> Grammar:
    from .constraint_checks import check_grammar  # lark is only imported for grammars

    check_grammar(grammar.grammar, grammar.start)
    return grammar


def _schema_text(schema: dict[str, Any] | str) -> str:
    try:
        text = schema if isinstance(schema, str) else json.dumps(schema, allow_nan=False)
        document = json.loads(text)
    except (TypeError, ValueError) as error:
        raise ConstraintError(f"json_schema is not a JSON document: {error}") from error
    except RecursionError as error:
        raise ConstraintError("json_schema is nested too deeply") from error
    if not isinstance(document, dict | bool):
        raise ConstraintError(f"json_schema must be a JSON object (or true), got {text}")
    return text
