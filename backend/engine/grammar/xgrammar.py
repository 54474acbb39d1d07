"""The grammar plugin `xgrammar` (extra `ramify[xgrammar]`): regexes, choices and plain JSON schemas by that library.

It leaves out without a word what it does not know, so the keywords it sees are checked here first, and it gets patterns
with every class spelled out as code points. Loaded by name.
"""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import xgrammar

from ....lang.constraints import Choices, Constraint, JsonSchema, Regex
from ....lang.errors import ConstraintError, DeadEndError
from ....lang.schema_keywords import UNHELD_KEYWORDS, Schema, subschemas
from ...api import ConstraintKind
from ..vocabulary import Vocabulary
from .api import MaskRow, fill_single, mask_of, num_mask_words
from .forced_text import ForcedText
from .json_escapes import tells_names_apart
from .json_regex import FORMATS, MAX_LEN, REFUSED, schema_regex
from .json_schema import parse_schema
from .regex_syntax import RegexSource, translate

# Beyond these it works for seconds, in the compile or in the decode step, and cannot be interrupted.
MAX_REGEX_WEIGHT = 4_000
MAX_CHOICES = 2_000
MAX_COUNT = 1_000  # of minItems and maxItems

# What it drops, weakens or mistakes somewhere, besides what no mask holds.
_REFUSED = UNHELD_KEYWORDS | frozenset(
    "allOf oneOf multipleOf pattern patternProperties minLength maxLength minProperties maxProperties additionalItems "
    "$anchor $dynamicAnchor $recursiveAnchor".split()
)
_REMARKS = frozenset(
    "$schema $id $comment $defs definitions title description default examples deprecated readOnly writeOnly".split()
)
_COUNTS = ("minItems", "maxItems")
_TOKEN = re.compile(r"\(\?:|\\x\{([0-9a-f]+)\}|\[((?:\\x\{[0-9a-f]+\}-\\x\{[0-9a-f]+\})+)\]|\{(\d+),(\d*)\}|[()|]|\w")


class XgrammarCompiler:
    """Compiles `Regex`, `Choices` and `JsonSchema`."""

    kinds: frozenset[ConstraintKind] = frozenset({"regex", "choices", "json_schema"})

    def __init__(self, vocabulary: Vocabulary) -> None:
        hidden = vocabulary.special_ids | vocabulary.eos_ids
        spelled = [b"" if token_id in hidden else text for token_id, text in enumerate(vocabulary.token_bytes)]
        # one token more than ours: its own end-of-sequence
        info = xgrammar.TokenizerInfo(
            [*spelled, b"<end>"], vocab_size=vocabulary.size + 1, stop_token_ids=[vocabulary.size]
        )
        self._compiler = xgrammar.GrammarCompiler(info, max_threads=1, cache_enabled=False)
        self._vocabulary = vocabulary
        self._forced = ForcedText(vocabulary)
        self._eos_mask = mask_of(vocabulary.eos_ids, vocabulary.size)

    def compile(self, constraint: Constraint, *, timeout: float) -> XgrammarGrammar:
        """Return the grammar. It cannot be interrupted, so `timeout` is the caller's to keep."""
        try:
            match constraint:
                case JsonSchema(text, strict):
                    compiled = self._compile_schema(text, strict=strict)
                case Regex(pattern):
                    compiled = self._compile_regex(translate(pattern))
                case Choices(choices):
                    if len(choices) > MAX_CHOICES:
                        raise ConstraintError(f"{len(choices)} choices; at most {MAX_CHOICES} are allowed")
                    compiled = self._compiler.compile_grammar(f"root ::= {' | '.join(map(_literal, choices))}")
                case _:
                    raise ConstraintError(f"the grammar plugin 'xgrammar' cannot compile a {type(constraint).__name__}")
        except RuntimeError as error:
            raise ConstraintError(f"xgrammar cannot compile the constraint: {str(error)[-200:]}") from error
        return XgrammarGrammar(compiled, self._vocabulary, self._forced, self._eos_mask)

    def close(self) -> None:
        """Nothing to end."""

    def _compile_regex(self, source: RegexSource) -> Any:
        if source.weight > MAX_REGEX_WEIGHT:
            raise ConstraintError(f"the regex takes about {source.weight} states; at most {MAX_REGEX_WEIGHT}")
        return self._compiler.compile_grammar(f"root ::= {to_ebnf(source.pattern)}")

    def _compile_schema(self, text: str, *, strict: bool) -> Any:
        """Compile a schema as a regex where that is exact, else by the library's own translation."""
        try:
            schema = parse_schema(text, refused=REFUSED, formats=FORMATS)
            return self._compile_regex(translate(schema_regex(schema), max_len=MAX_LEN))
        except ConstraintError:
            schema = parse_schema(text, refused=_REFUSED, formats=frozenset(), strict=strict)
        check_schema(schema)
        return self._compiler.compile_json_schema(
            json.dumps(schema), any_whitespace=False, separators=(", ", ": "), strict_mode=False
        )


class XgrammarGrammar:
    """A compiled grammar."""

    def __init__(self, compiled: Any, vocabulary: Vocabulary, forced: ForcedText, eos_mask: MaskRow) -> None:
        self._compiled = compiled
        self._forced = forced
        self.vocabulary = vocabulary
        self.eos_mask = eos_mask
        self.num_bytes = int(compiled.memory_size_bytes)

    def matcher(self) -> XgrammarMatcher:
        """Return a matcher at the start."""
        parser = xgrammar.GrammarMatcher(self._compiled)
        return XgrammarMatcher(self, parser, self.run(parser))

    def run(self, parser: Any) -> tuple[int, ...]:
        """Return the tokens that must come next, `()` if there is a choice or the tokeniser is not at hand."""
        if not self._forced.is_known or parser.is_completed():
            return ()
        text = parser.find_jump_forward_string()
        return self._forced.run(text.encode(), lambda byte: True) if text else ()


class XgrammarMatcher:
    """One sequence's parser, the tokens that must come next, and those before them for rollback."""

    __slots__ = ("_before", "_ended", "_forced", "_grammar", "_parser")

    def __init__(
        self,
        grammar: XgrammarGrammar,
        parser: Any,
        forced: tuple[int, ...],
        before: tuple[tuple[int, ...], ...] = (),
        *,
        ended: bool = False,
    ) -> None:
        self._grammar = grammar
        self._parser = parser
        self._forced = forced
        self._before = list(before)
        self._ended = ended

    @property
    def can_stop(self) -> bool:
        """True when the text so far is complete."""
        return self._ended or bool(self._parser.is_completed())

    @property
    def is_terminated(self) -> bool:
        """True after end-of-sequence, or when the text is complete and nothing can follow."""
        return self._ended or (self.can_stop and not self._legal().any())

    def fill_mask(self, row: MaskRow) -> None:
        """Write the legal tokens into `row`; `DeadEndError` when there are none."""
        if self._ended:
            raise DeadEndError("the output is over: end-of-sequence was accepted")
        if self._forced:
            fill_single(row, self._forced[0])
            return
        row[:] = self._legal()
        if self._parser.is_completed():
            np.bitwise_or(row, self._grammar.eos_mask, out=row)
        elif not row.any():
            raise DeadEndError("no token of the vocabulary continues the text under its constraint")

    def accept(self, token_id: int) -> bool:
        """Consume one token; False, and no change, when it is not legal."""
        vocabulary = self._grammar.vocabulary
        if self._forced and token_id != self._forced[0]:
            return False
        if token_id in vocabulary.eos_ids:
            legal = not self._ended and self.can_stop
            self._ended = self._ended or legal
            return legal
        if self._ended or token_id in vocabulary.special_ids or not vocabulary.token_bytes[token_id]:
            return False
        if not self._parser.accept_token(token_id):
            return False
        self._before.append(self._forced)
        self._forced = self._forced[1:] or self._grammar.run(self._parser)
        return True

    def forced(self) -> tuple[int, ...]:
        """Return the tokens that must come next."""
        return self._forced

    def rollback(self, num_tokens: int) -> None:
        """Undo the last `num_tokens` accepted tokens."""
        if self._ended and num_tokens:
            self._ended = False
            num_tokens -= 1
        if num_tokens:
            self._parser.rollback(num_tokens)
            self._forced = self._before[-num_tokens]
            del self._before[-num_tokens:]

    def fork(self) -> XgrammarMatcher:
        """Return an independent matcher in the same state."""
        return XgrammarMatcher(self._grammar, self._parser.fork(), self._forced, tuple(self._before), ended=self._ended)

    def _legal(self) -> MaskRow:
        """Return the library's mask without its end-of-sequence."""
        size = self._grammar.vocabulary.size
        wide = np.full((1, num_mask_words(size + 1)), -1, dtype=np.int32)  # left as it is where everything is legal
        self._parser.fill_next_token_bitmask(wide)
        wide[0, size >> 5] &= (1 << (size & 31)) - 1  # its end-of-sequence and what is beyond
        return wide[0, : num_mask_words(size)]


def check_schema(schema: Schema) -> None:
    """Raise `ConstraintError` that lists what in `schema` the library is not known to hold exactly."""
    if not isinstance(schema, dict):
        return
    found = []
    for pointer, node in subschemas(schema):
        where = f"at {pointer or '/'}"
        for alone in ("$ref", "anyOf", "enum", "const"):
            if alone not in node:
                continue
            found += [f"{keyword} beside {alone} {where}" for keyword in node if keyword not in _REMARKS | {alone}]
        found += [f"{name} {node[name]} {where}" for name in _COUNTS if _is_large(node.get(name))]
        if any(isinstance(value, (dict, list)) and value for value in [*node.get("enum", ()), node.get("const")]):
            found.append(f"a list or an object as a constant {where}")
        if node.get("$ref") == "#":
            found.append(f"$ref to the root {where}")
    if tells_names_apart(schema):  # it compares spellings, and escapes have several
        found.append("names of properties where others are free")
    if found:
        raise ConstraintError(f"xgrammar is not known to enforce: {', '.join(found)}")


def to_ebnf(pattern: str) -> str:
    r"""Return a translated pattern (`regex_syntax.translate`) in the library's own notation.

    >>> to_ebnf(r"a[\x{61}-\x{63}](?:x){0,}")
    '"a"[\\U00000061-\\U00000063]("x"){0,}'
    """
    parts: list[str] = []
    for found in _TOKEN.finditer(pattern):
        token = found[0]
        if parts and parts[-1] in ("(", "|") and token in (")", "|"):
            parts.append('""')
        if found[1]:
            parts.append(_literal(chr(int(found[1], 16))))
        elif found[2]:
            parts.append("[" + re.sub(r"\\x\{([0-9a-f]+)\}", lambda hit: f"\\U{int(hit[1], 16):08x}", found[2]) + "]")
        elif found[3] is not None or token in "()|":
            parts.append(token)
        else:
            parts.append("(" if token == "(?:" else _literal(token))
    text = "".join(parts)
    return text if text and not text.endswith("|") else text + '""'


def _literal(text: str) -> str:
    return '"' + "".join(c if c.isascii() and c.isalnum() else f"\\U{ord(c):08x}" for c in text) + '"'


def _is_large(count: object) -> bool:
    return isinstance(count, (int, float)) and count > MAX_COUNT
