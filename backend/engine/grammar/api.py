"""What a grammar engine is: `GrammarCompiler` (a plugin), `CompiledGrammar` (shared), `Matcher` (one per sequence).

Facts about tokens come from `Vocabulary`; nothing here knows of models, requests or sampling. Implemented by the
plugins of the entry-point group `ramify.grammars`; called by the compile service and by the sampler.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ....lang.constraints import Constraint
from ...api import ConstraintKind
from ..vocabulary import Vocabulary

MaskRow = NDArray[np.int32]
"""A packed mask of `num_mask_words(vocabulary size)` int32 words: bit t % 32 of word t // 32 is 1: t is legal."""


def num_mask_words(vocabulary_size: int) -> int:
    """Return how many int32 words a mask of `vocabulary_size` tokens takes."""
    return -(-vocabulary_size // 32)


def mask_of(token_ids: Collection[int], vocabulary_size: int) -> MaskRow:
    """Return a new mask in which exactly `token_ids` are legal."""
    bits = np.zeros(num_mask_words(vocabulary_size) * 32, dtype=np.bool_)
    bits[list(token_ids)] = True
    return np.packbits(bits, bitorder="little").view(np.int32)


def fill_single(row: MaskRow, token_id: int) -> None:
    """Make `token_id` the only legal token of `row`."""
    row[:] = 0
    row.view(np.uint8)[token_id >> 3] = 1 << (token_id & 7)  # bytes, for the last bit of a word is its sign


class Matcher(Protocol):
    """How far one sequence has come in its grammar. Used by one thread at a time.

    It has consumed every generated token before the mask for the next one is filled. After a `DeadEndError` the
    sequence is over.
    """

    @property
    def can_stop(self) -> bool:
        """True when the text so far is complete: the output may end here."""
        ...

    @property
    def is_terminated(self) -> bool:
        """True when the output is over: end-of-sequence was accepted, or the text is complete and nothing can follow.

        In the second case no end-of-sequence token needs to be sampled.
        """
        ...

    def fill_mask(self, row: MaskRow) -> None:
        """Write the tokens that may come next into `row`, every word of it.

        End-of-sequence tokens are legal exactly where `can_stop`; other special tokens and tokens without bytes never
        are. Raises `DeadEndError` when no token is legal, or the engine's own limits are exceeded at this point.
        """
        ...

    def accept(self, token_id: int) -> bool:
        """Consume one token; False, and no change, when it is not legal here (masked sampling never gets there)."""
        ...

    def forced(self) -> Sequence[int]:
        """Return the run of tokens that must come next; `()` where there is a choice or nothing is known to be forced.

        Where text is forced, `fill_mask` allows the run's next token only, so the output is the same whether a caller
        appends the run without sampling or samples it token by token. The run is the tokeniser's own way to write the
        text, without its last tokens where those could merge with what follows, and never holds end-of-sequence.
        """
        ...

    def rollback(self, num_tokens: int) -> None:
        """Undo the last `num_tokens` accepted tokens, end-of-sequence included."""
        ...

    def fork(self) -> Matcher:
        """Return an independent matcher in the same state."""
        ...


class CompiledGrammar(Protocol):
    """A constraint compiled for one vocabulary: immutable to its users, shared by any number of threads."""

    @property
    def num_bytes(self) -> int:
        """Memory it holds now, roughly, in bytes; caches are bounded by it."""
        ...

    def matcher(self) -> Matcher:
        """Return a new matcher at the start."""
        ...


class GrammarCompiler(Protocol):
    """What a plugin makes from an engine's `Vocabulary`, once per engine; several threads call it at once.

    Tables that depend on the vocabulary alone are built when it is made, outside any request's deadline.
    """

    def compile(self, constraint: Constraint, *, timeout: float) -> CompiledGrammar:
        """Compile; raise `ConstraintError` for what it cannot enforce exactly.

        `timeout`: seconds after which nobody waits any more; work that can be ended is ended then. The caller keeps the
        deadline whether or not the plugin does.
        """
        ...

    def close(self) -> None:
        """End what it started; compiled grammars stay usable."""
        ...


class GrammarPlugin(Protocol):
    """What an entry point of `ramify.grammars` names: usually the class of its compilers."""

    @property
    def kinds(self) -> frozenset[ConstraintKind]:
        """The kinds of constraint that its compilers take."""
        ...

    def __call__(self, vocabulary: Vocabulary) -> GrammarCompiler:
        """Make the compiler of one engine."""
        ...
