"""The grammar plugin `llguidance`: JSON schemas and large regexes through Microsoft's parser of that name.

Its lazy derivatives compile in milliseconds what takes an automaton seconds. We keep end-of-sequence and special tokens
out of its sight and add end-of-sequence ourselves, exactly where the text is complete. Loaded by name.
"""

from __future__ import annotations

import json
import threading
from typing import Any

import llguidance
import numpy as np

from ....lang.constraints import Constraint, JsonSchema, Regex
from ....lang.errors import ConstraintError, DeadEndError
from ....lang.schema_keywords import HELD_FORMATS, UNHELD_KEYWORDS
from ...api import ConstraintKind
from ..vocabulary import Vocabulary
from .api import MaskRow, fill_single, mask_of, num_mask_words
from .automaton import DEAD
from .forced_text import MAX_FORCED_BYTES, ForcedText
from .json_escapes import PLAIN, EscapeMasks, tells_names_apart
from .json_formats import spell_out_formats
from .json_schema import parse_schema
from .regex_syntax import translate

# White space exactly as `json.dumps` writes it: a reader gains nothing from freedom here, a weak model can write spaces
# until its tokens run out, and keys with the punctuation around them are forced text only if it is fixed.
WHITESPACE = {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False}

# We decide ourselves which tokens are forced, in the same way for every plugin.
_HEADER = '%llguidance {"no_forcing": true}\nstart: '


class LlguidanceCompiler:
    """Compiles `JsonSchema` and `Regex`."""

    kinds: frozenset[ConstraintKind] = frozenset({"json_schema", "regex"})

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._tokens = LlguidanceTokens(vocabulary)
        self._tokenizer = llguidance.LLTokenizer(llguidance.TokenizerWrapper(_Tokens(vocabulary)))
        self._limits = llguidance.LLParserLimits(verbose_errors=False)

    def compile(self, constraint: Constraint, *, timeout: float) -> LlguidanceGrammar:
        """Return the grammar of a schema or a regex. It cannot be interrupted, so `timeout` is the caller's to keep."""
        escapes = None
        match constraint:
            case JsonSchema(text, strict):
                schema = parse_schema(text, refused=UNHELD_KEYWORDS, formats=HELD_FORMATS, strict=strict)
                schema = spell_out_formats(schema)
                escapes = self._tokens.escapes() if tells_names_apart(schema) else None
                if schema is not False:
                    schema = {**({} if schema is True else schema), "x-guidance": WHITESPACE}
                source, what = f"{_HEADER}%json {json.dumps(schema)}", "JSON schema"
            case Regex(pattern):
                source, what = f"{_HEADER}/{translate(pattern).pattern}/", "regex"
            case _:
                raise ConstraintError(f"the grammar plugin 'llguidance' cannot compile a {type(constraint).__name__}")
        matcher = llguidance.LLMatcher(self._tokenizer, source, log_level=0, limits=self._limits)
        if matcher.is_error():
            raise ConstraintError(f"the {what} cannot be compiled: {_reason(matcher.get_error())}")
        grammar = LlguidanceGrammar(matcher, self._tokens, escapes, num_bytes=64 * len(source) + 65_536)
        row = np.empty(num_mask_words(self._tokens.vocabulary.size), dtype=np.int32)
        try:  # some schemas show only here that no value satisfies them
            grammar.matcher().fill_mask(row)
        except DeadEndError as error:
            raise ConstraintError(
                f"the {what} cannot be compiled: nothing satisfies it, or it is too large ({error})"
            ) from error
        grammar.is_empty = np.array_equal(row, self._tokens.eos_mask)
        return grammar

    def close(self) -> None:
        """Nothing to end."""


class LlguidanceTokens:
    """What every grammar and matcher needs to know of the vocabulary, computed once."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.forced = ForcedText(vocabulary)
        hidden = vocabulary.special_ids | vocabulary.eos_ids
        spellings = enumerate(vocabulary.token_bytes)
        self.of_byte = {text[0]: token_id for token_id, text in spellings if len(text) == 1 and token_id not in hidden}
        self.eos_mask = mask_of(vocabulary.eos_ids, vocabulary.size)
        self.all_mask = mask_of(range(vocabulary.size), vocabulary.size)
        self._escapes: EscapeMasks | None = None
        self._lock = threading.Lock()

    def escapes(self) -> EscapeMasks:
        """Return the masks of escapes, made when the first schema needs them."""
        with self._lock:
            self._escapes = self._escapes or EscapeMasks(self.vocabulary)
            return self._escapes


class LlguidanceGrammar:
    """A compiled grammar: a parser at the start, which every matcher copies."""

    def __init__(
        self, prototype: Any, tokens: LlguidanceTokens, escapes: EscapeMasks | None, *, num_bytes: int
    ) -> None:
        self._prototype = prototype
        self._lock = threading.Lock()
        self.tokens = tokens
        self.escapes = escapes
        self.num_bytes = num_bytes  # an estimate: the library does not tell
        self.is_empty = False  # only the empty text holds the constraint: the library says so one token late

    def matcher(self) -> LlguidanceMatcher:
        """Return a matcher at the start."""
        with self._lock:
            parser = self._prototype.deep_copy()
        return LlguidanceMatcher(self, parser, self.run(parser))

    def run(self, parser: Any) -> tuple[int, ...]:
        """Return the tokens that must come next, `()` if there is a choice or the tokeniser is not at hand."""
        if not self.tokens.forced.is_known:
            return ()
        text: bytes = parser.compute_ff_bytes()
        if len(text) > MAX_FORCED_BYTES:  # where it stopped at a limit of the library's, only a mask shows that
            parser.compute_bitmask()
        if not text or parser.is_error():
            return ()
        of_byte = self.tokens.of_byte
        spelled = [of_byte.get(byte, -1) for byte in text]

        def follows(byte: int) -> bool:
            token_id = of_byte.get(byte, -1)
            if token_id < 0 or -1 in spelled:  # cannot be asked, so it may
                return True
            return bool(parser.validate_tokens([*spelled, token_id]) > len(spelled))

        return self.tokens.forced.run(text, follows)


class LlguidanceMatcher:
    """One sequence: the parser, the tokens that must come next, how far an escape is; these also before each token."""

    __slots__ = ("_address", "_before", "_buffer", "_ended", "_escape", "_forced", "_grammar", "_parser")

    def __init__(
        self,
        grammar: LlguidanceGrammar,
        parser: Any,
        forced: tuple[int, ...],
        before: tuple[tuple[tuple[int, ...], int], ...] = (),
        *,
        escape: int = PLAIN,
        ended: bool = False,
    ) -> None:
        self._grammar = grammar
        self._parser = parser
        self._forced = forced
        self._escape = escape
        self._before = list(before)
        self._ended = ended
        # the library's vocabulary has one token more than ours: its own end-of-sequence
        self._buffer = np.zeros(num_mask_words(grammar.tokens.vocabulary.size + 1), dtype=np.int32)
        self._address: int = self._buffer.ctypes.data  # asking for it takes as long as a mask

    @property
    def can_stop(self) -> bool:
        """True when the text so far is complete."""
        return self._ended or bool(self._parser.is_accepting())

    @property
    def is_terminated(self) -> bool:
        """True after end-of-sequence, or when the text is complete and nothing can follow."""
        return self._ended or self._grammar.is_empty or bool(self._parser.is_stopped() and self._parser.is_accepting())

    def fill_mask(self, row: MaskRow) -> None:
        """Write the legal tokens into `row`; `DeadEndError` when there are none or a limit is reached."""
        if self._ended:
            raise DeadEndError("the output is over: end-of-sequence was accepted")
        if self._forced:
            fill_single(row, self._forced[0])
            return
        self._parser.unsafe_compute_mask_ptr(self._address, self._buffer.nbytes)
        if self._parser.is_error():
            raise DeadEndError(f"the constraint cannot go on: {_reason(self._parser.get_error())}")
        np.bitwise_and(self._buffer[: len(row)], self._grammar.tokens.all_mask, out=row)
        if self._grammar.escapes is not None:
            np.bitwise_and(row, self._grammar.escapes.mask(self._escape), out=row)
        if self._parser.is_accepting():
            np.bitwise_or(row, self._grammar.tokens.eos_mask, out=row)
        elif not row.any():
            raise DeadEndError("no token of the vocabulary continues the text under its constraint")

    def accept(self, token_id: int) -> bool:
        """Consume one token; False, and no change, when it is not legal."""
        vocabulary = self._grammar.tokens.vocabulary
        if self._forced and token_id != self._forced[0]:
            return False
        if token_id in vocabulary.eos_ids:
            legal = not self._ended and self.can_stop
            self._ended = self._ended or legal
            return legal
        if self._ended or token_id in vocabulary.special_ids or not vocabulary.token_bytes[token_id]:
            return False
        escapes = self._grammar.escapes
        escape = PLAIN if escapes is None else escapes.after(self._escape, token_id)
        if escape == DEAD:
            return False
        # `consume_token` of one that is not legal would leave the parser in an error for good
        if self._parser.try_consume_tokens([token_id]) != 1:
            return False
        self._before.append((self._forced, self._escape))
        self._escape = escape
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
        if not num_tokens:
            return
        if not self._parser.rollback(num_tokens):
            raise AssertionError(f"rollback failed: {self._parser.get_error()}")
        self._forced, self._escape = self._before[-num_tokens]
        del self._before[-num_tokens:]

    def fork(self) -> LlguidanceMatcher:
        """Return an independent matcher in the same state."""
        return LlguidanceMatcher(
            self._grammar,
            self._parser.deep_copy(),
            self._forced,
            tuple(self._before),
            escape=self._escape,
            ended=self._ended,
        )


class _Tokens:
    """The vocabulary as llguidance reads it: tokens that never stand in text are special, and one end is added."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        hidden = vocabulary.special_ids | vocabulary.eos_ids
        self.tokens = [*vocabulary.token_bytes, b"<end>"]
        self.eos_token_id = vocabulary.size
        self.bos_token_id = None
        self.special_token_ids = [
            *(token_id for token_id, text in enumerate(vocabulary.token_bytes) if token_id in hidden or not text),
            vocabulary.size,
        ]

    def __call__(self, text: bytes) -> list[int]:
        """Tokenise; asked only for forced text, which the grammars here do without."""
        return []


def _reason(message: str) -> str:
    """Return the library's own reason, without the grammar that it repeats."""
    first = message.strip().partition("\n   1 |")[0]
    return first.partition("failed to compile JSON schema: ")[2] or first.partition("\n")[0]
