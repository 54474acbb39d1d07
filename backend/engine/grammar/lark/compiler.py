"""`LarkCompiler`: compiles grammars for one vocabulary.

lark itself reads the grammar and builds the tables, in a process of its own. Terminals become automata over bytes, and
masks come from walking these over the vocabulary while the parser says which terminals may follow. Named by the
entry point.
"""

from __future__ import annotations

import time

from .....kernels.lexer_walk import lexer_trie
from .....lang.constraints import Constraint, Grammar
from .....lang.errors import ConstraintError
from ....api import ConstraintKind
from ...vocabulary import Vocabulary
from ..forced_text import ForcedText
from ..token_trie import token_nodes
from .client import LarkProcesses
from .grammar import LarkGrammar
from .syntax import build_syntax

MAX_GRAMMAR_LEN = 64 << 10  # characters


class LarkCompiler:
    """Compiles `Grammar`."""

    kinds: frozenset[ConstraintKind] = frozenset({"grammar"})

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._trie = lexer_trie(*token_nodes(vocabulary), vocabulary.size)
        self._forced = ForcedText(vocabulary)
        self._processes = LarkProcesses()

    def compile(self, constraint: Constraint, *, timeout: float) -> LarkGrammar:
        """Return the compiled grammar."""
        if not isinstance(constraint, Grammar):
            raise ConstraintError(f"the grammar plugin 'lark' cannot compile a {type(constraint).__name__}")
        if len(constraint.grammar) > MAX_GRAMMAR_LEN:
            raise ConstraintError(
                f"the grammar is {len(constraint.grammar)} characters long; at most {MAX_GRAMMAR_LEN}"
            )
        deadline = time.monotonic() + timeout

        def tick() -> None:
            if time.monotonic() > deadline:
                raise ConstraintError(f"the grammar takes longer than {timeout:g} s to compile")

        syntax = build_syntax(self._processes.build(constraint, timeout=timeout), tick)
        grammar = LarkGrammar(syntax, self._trie, self._vocabulary, self._forced)
        grammar.mask(syntax.start)  # every sequence begins there
        return grammar

    def close(self) -> None:
        """End the helper processes."""
        self._processes.close()
