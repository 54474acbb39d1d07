"""What a fake model says: text drawn at random, plain or such that it satisfies a constraint, and its toy tokens.

Pure functions of a random generator and the facts of a request; knows nothing of streams or scripts. Called by `fake*`.
"""

from __future__ import annotations

import importlib
import json
import random
import re
import string
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

from ..lang.constraints import Choices, Constraint, Grammar, JsonSchema, Regex
from ..lang.errors import ConstraintError

CODE_POINTS = 0x110000
EOS_ID = CODE_POINTS - 1  # the last code point is a noncharacter, which no text holds
WORDS = ("river", "stone", "garden", "lantern", "window", "silver", "paper", "morning", "harbour", "winter", "bridge")
MAX_REPEATS = 4  # repetitions drawn for an open-ended quantifier or array
ATTEMPTS = 50  # draws before a pattern with look-arounds is given up


def tokenise(text: str, token_len: int) -> list[str]:
    """Cut `text` into tokens of `token_len` characters (the last may be shorter)."""
    return [text[i : i + token_len] for i in range(0, len(text), token_len)]


def token_id(token: str) -> int:
    """Return the id of a token: its code points as the digits of one number, so the id of one character is `ord`."""
    return reduce(lambda total, character: total * CODE_POINTS + ord(character), token, 0)


def draw_words(rng: random.Random, num_words: int) -> str:
    """Return `num_words` random words, the first one capitalised and led by a space."""
    return " " + " ".join(rng.choice(WORDS) for _ in range(num_words)).capitalize()


def draw_constrained(constraint: Constraint, rng: random.Random) -> str:
    """Return a random text that satisfies `constraint`; `ConstraintError` where only a script can."""
    match constraint:
        case Regex(pattern):
            return _draw_regex(pattern, rng)
        case Choices(choices):
            return rng.choice(choices)
        case JsonSchema(schema):
            document = json.loads(schema)
            return json.dumps(_draw_json(document, document, rng))
        case Grammar():
            raise ConstraintError("FakeBackend cannot invent text for a grammar; give it a script for this gen")


def _draw_regex(pattern: str, rng: random.Random) -> str:
    # The parser of `re` is the one reading of the pattern that cannot differ from `re.fullmatch`.
    parsed = importlib.import_module("re._parser").parse(pattern)
    for _ in range(ATTEMPTS):
        text = _draw_nodes(parsed, rng, {})
        if re.fullmatch(pattern, text):
            return text
    raise ConstraintError(f"FakeBackend cannot invent a text that matches {pattern!r}; give it a script for this gen")


def _draw_nodes(nodes: Any, rng: random.Random, groups: dict[int, str]) -> str:
    return "".join(_draw_node(str(op), argument, rng, groups) for op, argument in nodes)


def _draw_node(op: str, argument: Any, rng: random.Random, groups: dict[int, str]) -> str:
    match op:
        case "LITERAL":
            return chr(argument)
        case "NOT_LITERAL":
            return rng.choice([c for c in string.ascii_letters if ord(c) != argument])
        case "ANY":
            return rng.choice(string.ascii_lowercase)
        case "IN":
            return _draw_set(argument, rng)
        case "BRANCH":
            return _draw_nodes(rng.choice(argument[1]), rng, groups)
        case "SUBPATTERN":
            text = _draw_nodes(argument[-1], rng, groups)
            if argument[0] is not None:
                groups[argument[0]] = text
            return text
        case "ATOMIC_GROUP":
            return _draw_nodes(argument, rng, groups)
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            low, high, body = argument
            times = rng.randint(low, min(int(high), low + MAX_REPEATS))
            return "".join(_draw_nodes(body, rng, groups) for _ in range(times))
        case "GROUPREF":
            return groups.get(argument, "")
        case _:  # anchors and look-arounds take no characters; the caller checks the whole text
            return ""


_CATEGORIES: dict[str, Callable[[str], bool]] = {
    "CATEGORY_DIGIT": str.isdigit,
    "CATEGORY_SPACE": str.isspace,
    "CATEGORY_WORD": lambda c: c.isalnum() or c == "_",
}


def _draw_set(items: Any, rng: random.Random) -> str:
    tests: list[Callable[[str], bool]] = [_member_test(str(op), value) for op, value in items if str(op) != "NEGATE"]
    negated = str(items[0][0]) == "NEGATE"
    pool = [c for c in string.printable[:95] if any(test(c) for test in tests) != negated]
    if pool:
        return rng.choice(pool)
    for op, value in items:  # a set beyond ASCII: take a literal or an end of a range
        if str(op) in ("LITERAL", "RANGE"):
            return chr(value if str(op) == "LITERAL" else rng.randint(*value))
    return ""


def _member_test(op: str, value: Any) -> Callable[[str], bool]:
    if op == "LITERAL":
        return lambda c: ord(c) == value
    if op == "RANGE":
        return lambda c: value[0] <= ord(c) <= value[1]
    name = str(value)
    test = _CATEGORIES[name.replace("_NOT", "")]
    return (lambda c: not test(c)) if "_NOT" in name else test


def _draw_json(schema: Any, root: Any, rng: random.Random) -> Any:
    if not isinstance(schema, Mapping):  # `true`: anything goes
        return rng.choice(WORDS)
    if "$ref" in schema:
        return _draw_json(_resolve(schema["$ref"], root), root, rng)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return rng.choice(schema["enum"])
    for keyword in ("anyOf", "oneOf", "allOf"):
        if keyword in schema:
            return _draw_json(rng.choice(schema[keyword]), root, rng)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    return _draw_typed(rng.choice(kind) if isinstance(kind, list) else kind, schema, root, rng)


def _draw_typed(kind: str, schema: Mapping[str, Any], root: Any, rng: random.Random) -> Any:
    match kind:
        case "object":
            return {name: _draw_json(sub, root, rng) for name, sub in schema.get("properties", {}).items()}
        case "array":
            low = schema.get("minItems", 1)
            high = min(schema.get("maxItems", low + MAX_REPEATS), low + MAX_REPEATS)
            return [_draw_json(schema.get("items", True), root, rng) for _ in range(rng.randint(low, high))]
        case "integer" | "number":
            low = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
            high = schema.get("maximum", schema.get("exclusiveMaximum", low + 100) - 1)
            return rng.randint(int(low), int(high))
        case "boolean":
            return rng.random() < 0.5
        case "null":
            return None
        case _:
            if "pattern" in schema:
                return _draw_regex(schema["pattern"], rng)
            text = rng.choice(WORDS).ljust(schema.get("minLength", 0), "a")
            return text[: schema.get("maxLength", len(text))]


def _resolve(reference: str, root: Any) -> Any:
    target = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        target = target[step] if step else target
    return target
