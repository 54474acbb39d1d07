"""One gen or select against the backend: build the request, collect the answer, read the value out of it.

Everything that can go wrong here raises; the caller wraps it into a `GenError` that names the node. Called by `Chain`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from ..backend.api import (
    Backend,
    Capabilities,
    Chunk,
    Finish,
    Hints,
    Piece,
    Request,
    ScoreRequest,
    Text,
    TokenLogprob,
    Tokens,
    Usage,
    constraint_kind,
)
from ..lang.constraints import Choices, check_choices, is_complete
from ..lang.errors import BackendError, ConstraintError, ParameterError, TruncationError, UnsupportedError
from ..lang.ir import Gen, Select
from ..lang.sampling import Sampling
from .select import RULES, best_row, decode_under_mask
from .values import ChoiceRow, Meta, Sample, Variable


class Answer:
    """The chunks of one sample, added up."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.token_ids: list[int] = []
        self.logprobs: list[TokenLogprob] = []
        self.prompt_logprobs: list[TokenLogprob] = []
        self.finish: Finish | None = None
        self.usage = Usage()

    def add(self, chunk: Chunk) -> None:
        """Add one chunk."""
        self.texts.append(chunk.text)
        self.token_ids.extend(chunk.token_ids)
        self.logprobs.extend(chunk.logprobs)
        self.prompt_logprobs.extend(chunk.prompt_logprobs)
        self.finish = chunk.finish or self.finish
        self.usage = chunk.usage or self.usage

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self.texts)

    def meta(self) -> Meta:
        """Return the meta data of the finished answer."""
        finish = self.finish or Finish("stop")
        return Meta(
            prompt_tokens=self.usage.prompt_tokens,
            cached_tokens=self.usage.cached_tokens,
            completion_tokens=self.usage.completion_tokens,
            finish_reason=finish.reason,
            matched_stop=finish.matched,
            token_ids=tuple(self.token_ids),
            logprobs=tuple(self.logprobs),
            prompt_logprobs=tuple(self.prompt_logprobs),
            text=self.text,
        )

    def pieces(self) -> tuple[Piece, ...]:
        """Return the answer as prompt pieces: its token ids as far as the kept text goes, then the rest as text."""
        text, finish = self.text, self.finish or Finish("stop")
        kept = text[: len(text) - len(finish.tail)] if finish.tail else text
        ids = tuple(self.token_ids[: finish.num_kept])
        if not ids:
            return (Text(text),) if text else ()
        return (Tokens(ids, kept), Text(finish.tail)) if finish.tail else (Tokens(ids, kept),)


OnText = Callable[[int, str], None]


async def run_gen(
    backend: Backend,
    op: Gen,
    prompt: tuple[Piece, ...],
    hints: Hints,
    on_text: OnText,
    answers: list[Answer],
    *,
    stream: bool,
) -> Variable:
    """Generate; `answers` is filled as the chunks come, so that a failure can show what there was."""
    _check_gen(backend.capabilities, op)
    request = Request(prompt=prompt, sampling=op.sampling, constraint=op.constraint, stream=stream, hints=hints)
    answers.extend(Answer() for _ in range(op.sampling.n))
    async with aclosing(backend.generate(request)) as chunks:  # type: ignore[type-var]  # every backend's is a generator
        async for chunk in chunks:
            if not 0 <= chunk.index < len(answers):
                raise BackendError(f"the backend sent sample {chunk.index} of a request for {len(answers)}")
            answers[chunk.index].add(chunk)
            if chunk.text:
                on_text(chunk.index, chunk.text)
    unfinished = [index for index, answer in enumerate(answers) if answer.finish is None]
    if unfinished:
        raise BackendError(f"the backend's answer ended without a finish for sample {unfinished[0]}")
    samples = tuple(_sample(op, answer) for answer in answers)
    if len(samples) == 1:
        only = samples[0]
        return Variable(only.value, only.text, only.meta, samples)
    usage = sum((sample.meta.usage for sample in samples), Usage())
    meta = Meta(
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        completion_tokens=usage.completion_tokens,
        samples=tuple(sample.meta for sample in samples),
    )
    return Variable(tuple(s.value for s in samples), tuple(s.text for s in samples), meta, samples)


async def run_select(backend: Backend, op: Select, prompt: tuple[Piece, ...], hints: Hints) -> Variable:
    """Choose by the log-probabilities of the choices, which the backend gives in one call.

    Method `"constrained"` walks them as decoding under a mask would; a backend that cannot score decodes instead.
    """
    if not isinstance(op.choices, tuple | list):
        raise ParameterError(f"select chooses from a list of strings, got a value of type {type(op.choices).__name__}")
    choices: Any = tuple(op.choices)
    check_choices(choices)
    if not backend.capabilities.scoring:
        if op.method == "constrained":
            return await _decode_choice(backend, op, choices, prompt, hints)
        raise UnsupportedError(f"backend {backend.capabilities.model!r} cannot score choices; use method='constrained'")
    unconditional = op.method == "unconditional_likelihood_normalized"
    request = ScoreRequest(prompt=prompt, choices=choices, unconditional=unconditional, hints=hints)
    scores = await backend.score(request)
    if tuple(score.choice for score in scores) != choices:
        raise BackendError("the backend did not score the choices it was asked for, in their order")
    if op.method == "constrained":
        table, best = decode_under_mask(scores)
    else:
        table = RULES[op.method](scores)
        best = best_row(table)
    usage = sum((score.usage for score in scores), Usage())
    meta = Meta(
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        completion_tokens=usage.completion_tokens,
        finish_reason="stop",
        token_ids=best.token_ids,
        scores=table,
        text=best.choice,
    )
    pieces = (Text(best.choice),)
    return Variable(best.choice, best.choice, meta, (Sample(best.choice, pieces, best.choice, meta),))


async def _decode_choice(
    backend: Backend, op: Select, choices: tuple[str, ...], prompt: tuple[Piece, ...], hints: Hints
) -> Variable:
    """Generate one of the choices greedily; all that is known of the others is that they were not chosen."""
    sampling = Sampling(temperature=0.0, max_tokens=max(len(choice.encode()) for choice in choices))
    gen = Gen(op.name, sampling, Choices(choices))
    chosen = await run_gen(backend, gen, prompt, hints, lambda index, text: None, [], stream=False)
    rows = tuple(ChoiceRow(c, float(c == chosen.value), float(c == chosen.value)) for c in choices)
    return replace(chosen, meta=replace(chosen.meta, scores=rows))


def _check_gen(capabilities: Capabilities, op: Gen) -> None:
    """Refuse what the backend cannot do before anything is sent."""
    kind = None if op.constraint is None else constraint_kind(op.constraint)
    if kind is not None and kind not in capabilities.constraints:
        there_are = ", ".join(sorted(capabilities.constraints)) or "none"
        raise UnsupportedError(
            f"backend {capabilities.model!r} cannot enforce a {kind} constraint; it has: {there_are}"
        )
    if not capabilities.logprobs and (op.sampling.logprobs is not None or op.sampling.prompt_logprobs is not None):
        raise UnsupportedError(f"backend {capabilities.model!r} does not return log-probabilities")


def _sample(op: Gen, answer: Answer) -> Sample:
    text, finish = answer.text, answer.finish
    assert finish is not None
    was_cut = finish.reason == "length"
    if op.constraint is not None and (was_cut or isinstance(op.constraint, Choices)):
        complete = is_complete(op.constraint, text)
        if finish.is_partial or (was_cut and not complete):
            message = f"max_tokens={op.sampling.max_tokens} ended the text inside its constraint: {text!r}"
            raise TruncationError(message, partial=text)
        if not complete:
            raise ConstraintError(f"the backend answered {text!r}, which is not one of the choices")
    value: Any = text if op.parse is None else op.parse(text)
    return Sample(text, answer.pieces(), value, answer.meta())
