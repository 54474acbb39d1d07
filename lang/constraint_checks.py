"""What can be known to be wrong with a schema or a grammar where it is written, with the place in it.

Cheap checks of the text alone; whether a mask can be made is the grammar plugin's to say. Imports jsonschema or lark
when there is something to check. Called where a gen is written.
"""

from __future__ import annotations

import functools
import json
from typing import Any, Final

from .errors import ConstraintError
from .schema_keywords import find_unheld, subschemas

MAX_GRAMMAR_LEN: Final = 64 << 10  # characters
LIBRARIES: Final = ("common", "lark", "python", "unicode")  # the grammars that lark ships with


@functools.lru_cache(maxsize=256)
def check_schema(text: str, *, strict: bool) -> None:
    """Raise `ConstraintError`, with a JSON pointer, for a schema that is none or refers to what it has not got.

    With `strict`, also for the keywords that the default grammar plugins do not hold.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    schema = json.loads(text)
    checker = Draft202012Validator(Draft202012Validator.META_SCHEMA)
    try:
        error = best_match(checker.iter_errors(schema))
    except RecursionError:
        raise ConstraintError("json_schema is nested too deeply") from None
    if error is not None:
        raise ConstraintError(f"json_schema is not a JSON schema: {error.message} at {_pointer(error.absolute_path)}")
    has_ids = any("$id" in node for _, node in subschemas(schema))
    for pointer, node in subschemas(schema):
        reference = node.get("$ref", "#")
        is_outside = not reference.startswith("#") and not has_ids
        if is_outside or (reference.startswith("#/") and not _is_found(schema, reference)):
            what = "lies outside of it" if is_outside else "does not exist"
            raise ConstraintError(f"json_schema refers to {reference!r} at {pointer or '/'}, which {what}")
    unheld = find_unheld(schema) if strict else []
    if unheld:
        raise ConstraintError(
            f"json_schema has keywords that no mask holds: {', '.join(map(str, unheld))}. "
            "With strict=False the finished value is checked instead"
        )


@functools.lru_cache(maxsize=256)
def check_grammar(text: str, start: str) -> None:
    """Raise `ConstraintError`, with line and column, for a grammar whose syntax is wrong or that lacks a rule."""
    if len(text) > MAX_GRAMMAR_LEN:
        raise ConstraintError(f"the grammar is {len(text)} characters long; at most {MAX_GRAMMAR_LEN} are allowed")
    from lark.exceptions import LarkError
    from lark.load_grammar import _parse_grammar, load_grammar

    try:
        tree = _parse_grammar(text, "the grammar")  # type: ignore[no-untyped-call]
        for statement in tree.children:
            _check_import(statement)
        grammar, _ = load_grammar(text, "the grammar", [], False)  # type: ignore[no-untyped-call]  # of lark
    except (LarkError, OSError, RecursionError) as error:
        lines = [line.rstrip() for line in str(error).splitlines() if line.strip()]
        raise ConstraintError("\n".join(["the grammar is not valid: " + lines[0], *lines[1:]])) from error
    rules = [str(definition[0]) for definition in grammar.rule_defs]
    if start not in rules:
        raise ConstraintError(
            f"the grammar has no rule {start!r} to start with; it has {', '.join(rules) or 'no rules'}"
        )


def _check_import(statement: Any) -> None:
    """Refuse what would make lark look for a file: grammars come from outside."""
    if statement.data != "import":
        return
    path = statement.children[0]
    library = str(path.children[0]) if path.data == "import_lib" else None
    if library not in LIBRARIES:
        raise ConstraintError(
            f"the grammar imports from {library or 'a file'}; it can import from lark's own library only, as in "
            f"%import common.NUMBER (there are {', '.join(LIBRARIES)})"
        )


def _pointer(path: Any) -> str:
    return "".join(f"/{step}" for step in path) or "/"


def _is_found(schema: Any, reference: str) -> bool:
    for step in reference.removeprefix("#/").split("/"):
        step = step.replace("~1", "/").replace("~0", "~")
        if isinstance(schema, list) and step.isdigit() and int(step) < len(schema):
            schema = schema[int(step)]
        elif isinstance(schema, dict) and step in schema:
            schema = schema[step]
        else:
            return False
    return True
