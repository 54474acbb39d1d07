"""The grammar plugin `outlines`: regexes by outlines-core's determinisation, choices by a byte trie; exact masks.

outlines-core never sees the model's vocabulary: an index over it takes up to minutes and gigabytes where the automaton
over single bytes takes milliseconds (Willard and Louf, 2023, walked over a token trie instead). Loaded by name.
"""

from __future__ import annotations

from ....lang.constraints import Choices, Constraint, JsonSchema, Regex
from ....lang.errors import ConstraintError
from ...api import ConstraintKind
from ..vocabulary import Vocabulary
from .automaton import ByteAutomaton, from_texts
from .automaton_grammar import AutomatonGrammar
from .dfa_client import MAX_STATES, DfaProcesses
from .forced_text import ForcedText
from .json_regex import FORMATS, MAX_LEN, REFUSED, schema_regex
from .json_schema import parse_schema
from .regex_syntax import RegexSource, translate
from .token_trie import build_token_trie

MAX_CHOICES = 10_000


class OutlinesCompiler:
    """Compiles `Regex`, `Choices` and the `JsonSchema`s that a regex can hold to byte automata."""

    kinds: frozenset[ConstraintKind] = frozenset({"regex", "choices", "json_schema"})

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._trie = build_token_trie(vocabulary)
        self._forced = ForcedText(vocabulary)
        self._processes = DfaProcesses()

    def compile(self, constraint: Constraint, *, timeout: float) -> AutomatonGrammar:
        """Return the grammar of a regex, of choices or of a schema that a regex can hold."""
        grammar = AutomatonGrammar(self._automaton(constraint, timeout), self._trie, self._vocabulary, self._forced)
        grammar.mask(grammar.start)  # every sequence begins there
        return grammar

    def close(self) -> None:
        """End the helper processes."""
        self._processes.close()

    def _automaton(self, constraint: Constraint, timeout: float) -> ByteAutomaton:
        match constraint:
            case Regex(pattern):
                return self._build(translate(pattern), timeout)
            case JsonSchema(text, strict):
                schema = parse_schema(text, refused=REFUSED, formats=FORMATS, strict=strict)
                return self._build(translate(schema_regex(schema), max_len=MAX_LEN), timeout)
            case Choices(choices):
                if len(choices) > MAX_CHOICES:
                    raise ConstraintError(f"{len(choices)} choices; at most {MAX_CHOICES} are allowed")
                return from_texts([choice.encode("utf-8") for choice in choices])
            case _:
                raise ConstraintError(f"the grammar plugin 'outlines' cannot compile a {type(constraint).__name__}")

    def _build(self, source: RegexSource, timeout: float) -> ByteAutomaton:
        if source.weight > MAX_STATES:
            raise ConstraintError(f"the regex takes about {source.weight} states; at most {MAX_STATES}")
        return self._processes.build(source.pattern, timeout=timeout)
