"""The conformance suite of grammar plugins: what an author runs to know that a plugin keeps the contract of `api`.

`check_plugin(plugin)` tries every case and every promise and returns complaints. It needs no model and knows no plugin.
Run by this project's tests on each entry of `ramify.grammars`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Set

import numpy as np

from ....lang.errors import ConstraintError, DeadEndError
from ...api import constraint_kind
from ..vocabulary import Vocabulary
from .api import CompiledGrammar, GrammarCompiler, GrammarPlugin, Matcher, num_mask_words
from .conformance_cases import Case, cases

_WORDS = (
    '{" ": ": ": , ", "," } ]} [[ true false null tr ue 12 123 0. .5 -1 1e - yes no yes, pleas please a ab abc b ba '
    'bab aaaa cat dog do g red re d green \\n \\u \\" name age é ès 漢字 漢 字x 2024-0 -05- T1 @ .com low high'
).split(" ")
_SPLIT = ("é".encode()[:1], "é".encode()[1:], "漢".encode()[:2], "漢".encode()[2:] + b"x", b"a" + "é".encode()[:1])


def check_plugin(plugin: GrammarPlugin, *, timeout: float = 10.0) -> list[str]:
    """Return what is wrong with a plugin; an empty list when it conforms.

    Refusing a case with `ConstraintError` is allowed: a plugin may know less than others, but must say so.

    >>> from ramify.backend.engine.grammar.outlines import OutlinesCompiler
    >>> check_plugin(OutlinesCompiler)
    []
    """
    vocabulary = awkward_vocabulary()
    compiler = plugin(vocabulary)
    complaints = []
    try:
        for case in cases():
            if constraint_kind(case.constraint) not in plugin.kinds:
                if not _refuses(compiler, case, timeout):
                    complaints.append(f"{case.constraint}: compiled, although it is not of the plugin's kinds")
                continue
            grammar = compile_case(compiler, case, timeout=timeout)
            if grammar is not None:
                complaints += [f"{case.constraint}: {what}" for what in check_case(grammar, vocabulary, case)]
    finally:
        compiler.close()
    return complaints


def compile_case(compiler: GrammarCompiler, case: Case, *, timeout: float = 10.0) -> CompiledGrammar | None:
    """Return the grammar of a case, None where the plugin refuses it."""
    try:
        return compiler.compile(case.constraint, timeout=timeout)
    except ConstraintError:
        return None


def check_case(grammar: CompiledGrammar, vocabulary: Vocabulary, case: Case, *, seed: int = 0) -> list[str]:
    """Return what is wrong with one compiled case: its language, and every promise of a matcher along the way."""
    rng = random.Random(seed)
    complaints = [
        f"does not accept {text!r} in some tokenisation"
        for text in case.accepts
        if not all(walk(grammar.matcher(), vocabulary, text.encode(), rng) for _ in range(3))
    ]
    complaints += [
        f"accepts {text!r}" for text in case.rejects if walk(grammar.matcher(), vocabulary, text.encode(), rng)
    ]
    for text in case.accepts[:2]:
        complaints += _broken_promises(grammar, vocabulary, text.encode(), rng)
    return complaints


def walk(matcher: Matcher, vocabulary: Vocabulary, text: bytes, rng: random.Random) -> bool:
    """Feed `text` in a random tokenisation, token by token under the masks; return whether it may end there."""
    spelled = vocabulary.token_bytes
    while text:
        legal = legal_tokens(matcher, vocabulary) - vocabulary.eos_ids
        fitting = sorted(token_id for token_id in legal if text.startswith(spelled[token_id]))
        if not fitting:
            return False
        token_id = rng.choice(fitting)
        if not matcher.accept(token_id):
            return False
        text = text[len(spelled[token_id]) :]
    return matcher.can_stop


def legal_tokens(matcher: Matcher, vocabulary: Vocabulary) -> set[int]:
    """Return the tokens that the mask allows; none at a dead end. Fails when a word of the row is not written."""
    row = np.full(num_mask_words(vocabulary.size), -1, dtype=np.int32)
    try:
        matcher.fill_mask(row)
    except DeadEndError:
        return set()
    bits = np.unpackbits(row.view(np.uint8), bitorder="little")
    assert not bits[vocabulary.size :].any(), "bits beyond the vocabulary are set"
    return set(np.flatnonzero(bits).tolist())


def awkward_vocabulary(single_bytes: bytes = bytes(range(256))) -> Vocabulary:
    """Single bytes, words, characters split over tokens, doubled and empty tokens, four special tokens."""
    words = [word.encode() for word in _WORDS] + [b" ", b"  ", b"\n", b"\n  ", b'", "']
    tokens = [bytes([byte]) for byte in single_bytes] + [w for w in words if set(w) <= set(single_bytes)]
    tokens += [part for part in _SPLIT if set(part) <= set(single_bytes)]
    tokens += [b"a", b"true", b"", b""]  # doubled and empty
    num_plain = len(tokens)
    tokens += [b"<|bos|>", b"<|eos|>", b"<|end|>", b"a"]  # the last: special although it spells a letter
    return Vocabulary(
        tuple(tokens),
        special_ids=frozenset(range(num_plain, num_plain + 4)),
        eos_ids=frozenset({num_plain + 1, num_plain + 2}),
    )


def _refuses(compiler: GrammarCompiler, case: Case, timeout: float) -> bool:
    return compile_case(compiler, case, timeout=timeout) is None


def _broken_promises(
    grammar: CompiledGrammar, vocabulary: Vocabulary, text: bytes, rng: random.Random
) -> Iterator[str]:
    """Walk along an accepted text and check what `Matcher` promises at every step."""
    matcher = grammar.matcher()
    spelled = vocabulary.token_bytes
    forbidden = (vocabulary.special_ids - vocabulary.eos_ids) | {i for i, token in enumerate(spelled) if not token}
    history: list[set[int]] = []
    while True:
        legal = legal_tokens(matcher, vocabulary)
        history.append(legal)
        yield from _broken_here(matcher, vocabulary, legal, forbidden)
        fitting = sorted(t for t in legal - vocabulary.eos_ids if text.startswith(spelled[t]))
        if not fitting:
            break
        fork = matcher.fork()
        token_id = rng.choice(fitting)
        text = text[len(spelled[token_id]) :]
        if not matcher.accept(token_id):
            yield f"the legal token {token_id} is not accepted"
        if legal_tokens(fork, vocabulary) != legal:
            yield "a fork changes with the matcher it was made from"
    for back in range(1, len(history)):
        fork = matcher.fork()
        fork.rollback(back)
        if legal_tokens(fork, vocabulary) != history[-1 - back]:
            yield f"after a rollback of {back} tokens the mask is another one"
    yield from _broken_end(matcher, vocabulary, history[-1])


def _broken_here(matcher: Matcher, vocabulary: Vocabulary, legal: set[int], forbidden: Set[int]) -> Iterator[str]:
    if legal & forbidden:
        yield f"special or empty tokens are legal: {sorted(legal & forbidden)[:5]}"
    if matcher.can_stop != (vocabulary.eos_ids <= legal) or (legal & vocabulary.eos_ids and not matcher.can_stop):
        yield "end-of-sequence is legal where the text is not complete, or the other way round"
    if matcher.is_terminated and (not matcher.can_stop or legal - vocabulary.eos_ids):
        yield "is_terminated although something can follow"
    if matcher.can_stop and not legal - vocabulary.eos_ids and not matcher.is_terminated:
        yield "not is_terminated although nothing can follow"
    for token_id in range(vocabulary.size):
        if token_id not in legal and matcher.accept(token_id):
            yield f"the illegal token {token_id} is accepted"
            return
    if legal_tokens(matcher, vocabulary) != legal:
        yield "a refused token changes the matcher"


def _broken_end(matcher: Matcher, vocabulary: Vocabulary, legal: set[int]) -> Iterator[str]:
    if not matcher.can_stop:
        yield "an accepted text is not complete"
        return
    eos = min(vocabulary.eos_ids)
    if not matcher.accept(eos) or not matcher.is_terminated or not matcher.can_stop:
        yield "end-of-sequence is not accepted where it is legal, or does not end the output"
    elif matcher.accept(eos) or legal_tokens(matcher, vocabulary):
        yield "something is legal after end-of-sequence"
    matcher.rollback(1)
    if legal_tokens(matcher, vocabulary) != legal:
        yield "a rollback over end-of-sequence does not restore the mask"
