"""Constraints written to break the compiler: each ends as a grammar or a typed error, in time, and the process lives.

They run in a process of their own, for what they are after is the process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

CHAIN = 600  # definitions that refer to each other


def chain(link: Any) -> dict[str, Any]:
    """A schema of `CHAIN` definitions, each made by `link` of a reference to the next."""
    definitions = {f"a{i}": link({"$ref": f"#/$defs/a{i + 1}"}) for i in range(CHAIN)}
    return {"$defs": {**definitions, f"a{CHAIN}": {"type": "integer"}}, "$ref": "#/$defs/a0"}


SCHEMAS: dict[str, Any] = {
    "references": chain(lambda rest: rest),
    "arrays": chain(lambda rest: {"type": "array", "items": rest}),
    "alternatives": chain(lambda rest: {"anyOf": [rest, {"const": 1}]}),
    "objects": chain(
        lambda rest: {"type": "object", "properties": {"x": rest, "y": rest}, "additionalProperties": False}
    ),
    "conjunctions": chain(lambda rest: {"allOf": [rest, {"minimum": 3}]}),
    "itself": {"$ref": "#"},
    "a loop of conjunctions": {"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"},
    "4^12 conjunctions": {
        "type": "integer",
        "allOf": [{"anyOf": [{"minimum": i * k} for i in range(4)]} for k in range(12)],
    },
    "optional members": {"type": "object", "properties": {f"p{i}": {"type": "null"} for i in range(1000)}},
    "required members": {"type": "object", "required": [f"p{i}" for i in range(3000)]},
    "values": {"enum": [f"v{i}" for i in range(6000)]},
    "a long array": {"type": "array", "minItems": 10**6, "maxItems": 10**6},
    "long arrays": {"type": "array", "maxItems": 10**6, "items": {"type": "array", "maxItems": 10**6, "items": {}}},
    "a long string": {"type": "string", "minLength": 10**9},
    "a huge bound": {"type": "number", "maximum": 1e308},
    "a tiny divisor": {"type": "number", "multipleOf": 1e-300},
    "a large divisor": {"type": "integer", "multipleOf": 982451653},
    "an exploding pattern": {"type": "string", "pattern": "(a|b)*a(a|b){25}"},
    "repeated repetition": {"type": "string", "pattern": "((a{1,100}){1,100}){1,100}"},
    "a deep pattern": {"type": "string", "pattern": "(" * 20_000 + ")" * 20_000},
    "a zero byte": {"type": "string", "pattern": "\x00a"},
    "overlapping names": {"type": "object", "patternProperties": {f".*a.{{{i}}}$": {} for i in range(14)}},
    "half a character": {"const": "\ud800"},
    "no type": {"type": 5},
    "a list of members": {"properties": [1, 2]},
    "a wrong reference": {"$ref": 5},
    "a wrong bound": {"type": "integer", "minimum": "3"},
    "a wrong length": {"type": "string", "minLength": -3},
    "a wrong list": {"type": "object", "required": "a"},
    "a wrong enum": {"enum": {"a": 1}},
}
PATTERNS = {
    "exploding": "(?:a|b)*a(?:a|b){60}",
    "nested repeats": "(.*(a|b)[cd]{3}){8}",
    "any text": ".{0,100000}",
    "letters": "[a-z]{100000}",
    "words": r"(\w{1,200} ?){3}",
    "words in turn": "|".join(f"w{i}" for i in range(700)),
    "groups": "(?:" * 90 + "a" + ")*" * 90,
    "classes": r"[^\W\d_]{1,50}[\w.]{1,50}",
}

PROGRAM = """
import json, random, sys, time
from ramify.backend import registry
from ramify.backend.engine.grammar.conformance import awkward_vocabulary, legal_tokens
from ramify.lang.constraints import JsonSchema, Regex
from ramify.lang.errors import ConstraintError, DeadEndError

schemas, patterns = json.load(sys.stdin)
vocabulary = awkward_vocabulary()
work = [(name, JsonSchema(text)) for name, text in schemas.items()]
work += [(name, Regex(pattern)) for name, pattern in patterns.items()]
for plugin in ("llguidance", "outlines"):
    compiler = registry.load("grammars", plugin)(vocabulary)
    for name, constraint in work:
        start = time.monotonic()
        try:
            matcher = compiler.compile(constraint, timeout=0.4).matcher()
            outcome = "compiled"
            for _ in range(10):
                legal = legal_tokens(matcher, vocabulary)
                if not legal or not matcher.accept(random.Random(0).choice(sorted(legal))) or matcher.is_terminated:
                    break
        except (ConstraintError, DeadEndError) as error:
            outcome = type(error).__name__
        print(json.dumps([plugin, name, outcome, time.monotonic() - start]), flush=True)
    compiler.close()
"""


def test_hostile_constraints_end_as_typed_errors_and_the_process_lives() -> None:
    texts = {name: json.dumps(schema) for name, schema in SCHEMAS.items()}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps([texts, PATTERNS]),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    last = outcomes[-1][:2] if outcomes else "nothing"
    assert done.returncode == 0, f"ended with {done.returncode} after {last}: {done.stderr[-500:]}"
    assert len(outcomes) == 2 * (len(SCHEMAS) + len(PATTERNS))
    kinds = {(plugin, outcome) for plugin, _, outcome, _ in outcomes}
    assert ("llguidance", "compiled") in kinds and ("outlines", "ConstraintError") in kinds
    assert max(seconds for *_, seconds in outcomes) < 30, "a deadline of 0.4 seconds, on a busy machine"
