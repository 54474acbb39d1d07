"""`RequestBuilder`: from a request to the sequences that the scheduler runs, with everything checked.

Tokenises and validates; knows nothing of threads or scheduling. Called by the engine's front.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from ...lang.constraints import check_characters
from ...lang.errors import ParameterError, PromptError
from ...lang.sampling import Sampling
from ..api import Hints, Piece, Request, Text
from .detokenizer import Detokenizer
from .grammar.api import CompiledGrammar, Matcher
from .healing import HealingMatcher, TokenHealer
from .output import may_end
from .req import Req
from .sampling_table import derive_seed
from .stop_text import check_stop_patterns
from .tokenizer import Tokenizer


class RequestBuilder:
    """Builds the `Req`s of one engine: `context_len` tokens at most, `seed` and `heal` for requests that bring none."""

    def __init__(self, tokenizer: Tokenizer, *, context_len: int, seed: int, heal: bool = False) -> None:
        self.tokenizer = tokenizer
        self.context_len = context_len
        self._random = random.Random(seed)
        self._num_built = 0
        self._heals = heal
        self._healer: TokenHealer | None = None
        self._lock = threading.Lock()

    def build(
        self, request: Request, grammar: CompiledGrammar | None, *, stream: bool, deadline: float | None
    ) -> tuple[Req, ...]:
        """Return one `Req` for each of the `n` samples of a request.

        `stream`: outputs are wanted while they grow. `deadline`: see `deadline_of`. Raises `PromptError` and
        `ParameterError` that say what to change.
        """
        sampling = request.sampling
        ids = self.encode(request.prompt, room=min(sampling.max_tokens, 1))
        self._check_sampling(sampling, len(ids))
        rid, seed = self._identify(request.id)
        seed = seed if sampling.seed is None else sampling.seed
        special = self.tokenizer.vocabulary.special_ids
        at_start = all(token_id in special for token_id in ids)
        stop_ids = frozenset(sampling.stop_token_ids)
        if not sampling.ignore_eos:
            stop_ids |= self.tokenizer.vocabulary.eos_ids
        hints, matchers = request.hints, _matchers(grammar, sampling.n)
        healing = self._healing(request, ids, matchers)
        return tuple(
            Req(
                rid=rid,
                origin_input_ids=ids if healing[index] is None else ids[:-1],
                sampling=replace(sampling, n=1, seed=derive_seed(seed, index)),
                index=index,
                stop_token_ids=stop_ids,
                output_text=self._detokenizer(sampling, matchers[index], healing[index], at_start=at_start),
                matcher=healing[index] or matchers[index],
                healing=healing[index],
                priority=hints.priority,
                deadline=deadline,
                program=hints.program,
                keep_prefix=hints.keep_prefix,
                cache_salt=hints.cache_salt,
                logprob_start_len=None if sampling.prompt_logprobs is None else sampling.logprob_start,
                stream=stream,
            )
            for index in range(sampling.n)
        )

    def build_scored(self, ids: Sequence[int], start: int, hints: Hints, rid: str) -> Req:
        """Return a `Req` that computes the logprobs of `ids[start:]` and generates nothing."""
        return Req(
            rid=rid,
            origin_input_ids=list(ids),
            sampling=Sampling(max_tokens=0, prompt_logprobs=0, seed=0),
            priority=hints.priority,
            deadline=deadline_of(hints),
            program=hints.program,
            keep_prefix=hints.keep_prefix,
            cache_salt=hints.cache_salt,
            logprob_start_len=start,
            stream=False,
        )

    def encode(self, prompt: Sequence[Piece], *, room: int) -> list[int]:
        """Return the tokens of a prompt that leaves `room` tokens of the context, or raise `PromptError`."""
        for piece in prompt:
            check_characters(piece.text)
        ids = self.tokenizer.encode_prompt(prompt)
        size = self.tokenizer.vocabulary.size
        if not ids:
            raise PromptError("the prompt is empty; it needs at least one token")
        if len(ids) + room > self.context_len:
            raise PromptError(
                f"the prompt has {len(ids)} tokens, more than the context of {self.context_len} tokens holds"
                f"{' with one new token' if room else ''}; shorten it"
            )
        if not 0 <= min(ids) <= max(ids) < size:
            wrong = next(token_id for token_id in ids if not 0 <= token_id < size)
            raise PromptError(f"token id {wrong} in the prompt is outside the vocabulary of {size} tokens")
        return ids

    def _healing(
        self, request: Request, ids: list[int], matchers: Sequence[Matcher | None]
    ) -> Sequence[HealingMatcher | None]:
        """Return a matcher for each sample that begins with the bytes of the prompt's last token, or None for each.

        Only text is healed that somebody wrote, not markup or earlier answers, and a token must stay before it.
        """
        sampling, vocabulary = request.sampling, self.tokenizer.vocabulary
        if sampling.heal and sampling.prompt_logprobs is not None:
            raise ParameterError("heal=True generates the prompt's last token again, so it has no prompt_logprobs")
        heals = self._heals and sampling.prompt_logprobs is None if sampling.heal is None else sampling.heal
        prefix = b"" if ids[-1] in vocabulary.special_ids else vocabulary.token_bytes[ids[-1]]
        is_text = isinstance(request.prompt[-1], Text)
        if not (heals and is_text and prefix and len(ids) > 1 and sampling.max_tokens):
            return [None] * len(matchers)
        with self._lock:
            self._healer = self._healer or TokenHealer(vocabulary)
        start = self._healer.start(prefix, matchers[0])
        return [HealingMatcher(start, matcher) for matcher in matchers]

    def _detokenizer(
        self, sampling: Sampling, matcher: Matcher | None, healing: HealingMatcher | None, *, at_start: bool
    ) -> Detokenizer:
        """Return the text of one sample, whose stops count only where its constraint is satisfied."""
        vocabulary = self.tokenizer.vocabulary
        ends = None if matcher is None else partial(may_end, healing or matcher, vocabulary)
        return Detokenizer(vocabulary, sampling, at_start=at_start, may_end=ends)

    def _identify(self, request_id: str) -> tuple[str, int]:
        """Return an id that no other submission has, and a seed for requests without one."""
        with self._lock:
            self._num_built += 1
            return f"{request_id}:{self._num_built}", self._random.getrandbits(63)

    def new_rid(self, request_id: str) -> str:
        """Return an id that no other submission has."""
        return self._identify(request_id)[0]

    def _check_sampling(self, sampling: Sampling, prompt_len: int) -> None:
        size = self.tokenizer.vocabulary.size
        for name, ids in (
            ("stop_token_ids", sampling.stop_token_ids),
            ("logit_bias", [token_id for token_id, _ in sampling.logit_bias]),
        ):
            for token_id in ids:
                if not 0 <= token_id < size:
                    raise ParameterError(f"{name}: token id {token_id} is outside the vocabulary of {size} tokens")
        check_stop_patterns(sampling.stop_regex)
        if sampling.prompt_logprobs is not None and sampling.logprob_start >= prompt_len:
            raise ParameterError(
                f"logprob_start ({sampling.logprob_start}) lies beyond the prompt, which has {prompt_len} tokens"
            )


def _matchers(grammar: CompiledGrammar | None, num: int) -> list[Matcher | None]:
    """One matcher a sample: the first is made, the others are forked from it."""
    if grammar is None:
        return [None] * num
    first = grammar.matcher()
    return [first, *(first.fork() for _ in range(num - 1))]


def deadline_of(hints: Hints) -> float | None:
    """Return the moment (time.monotonic() seconds) by which the request must end."""
    return None if hints.timeout is None else time.monotonic() + hints.timeout
