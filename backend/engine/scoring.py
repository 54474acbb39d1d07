"""Scoring of choices: which tokens of each count, as sequences that share the prompt, and scores from their results.

Pure functions on token ids; knows nothing of threads. Called by the engine's front.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...lang.constraints import check_choices
from ..api import ChoiceScore, ScoreRequest, Text, TokenLogprob
from .messages import StepOutput
from .req import Req
from .request_builder import RequestBuilder


@dataclass(frozen=True, slots=True)
class ScorePlan:
    """The sequences that score one request: `choices` in order, then `unconditional` in order, if asked for."""

    request: ScoreRequest
    rid: str
    start: int  # first token that counts, in every choice's sequence
    choices: tuple[Req, ...]
    unconditional: tuple[Req, ...]

    @property
    def reqs(self) -> tuple[Req, ...]:
        """All of them, for one submission."""
        return self.choices + self.unconditional


def plan_scores(request: ScoreRequest, builder: RequestBuilder) -> ScorePlan:
    """Tokenise prompt + choice for every choice and plan their scoring.

    Text is tokenised with the choice attached, so a token may span the border. The tokens that count start where the
    first of those tokenisations departs from the prompt's own: the same position for every choice, so that scores can
    be compared. Unconditional scores are of the same tokens after the beginning-of-sequence token, or the
    end-of-sequence token of a model without one: what a text starts after in training. `ParameterError` for empty,
    repeated or no choices, `PromptError` for an empty prompt or one that is too long.
    """
    check_choices(request.choices)
    prompt_ids = builder.encode(request.prompt, room=0)
    sequences = [builder.encode((*request.prompt, Text(choice)), room=0) for choice in request.choices]
    start = min(min(_shared_len(prompt_ids, ids), len(ids) - 1) for ids in sequences)
    rid = builder.new_rid(request.id)
    choices = tuple(builder.build_scored(ids, start, request.hints, rid) for ids in sequences)
    unconditional: tuple[Req, ...] = ()
    if request.unconditional:
        context = builder.tokenizer.start_ids
        unconditional = tuple(
            builder.build_scored([*context, *ids[start:]], len(context), request.hints, rid) for ids in sequences
        )
    return ScorePlan(request, rid, start, choices, unconditional)


def collect_scores(plan: ScorePlan, outputs: Mapping[Req, StepOutput]) -> list[ChoiceScore]:
    """Build the table from the final outputs of all sequences of the plan."""
    scores = []
    for index, (choice, req) in enumerate(zip(plan.request.choices, plan.choices, strict=True)):
        output = outputs[req]
        assert output.usage is not None
        unconditional = plan.unconditional[index] if plan.unconditional else None
        scores.append(
            ChoiceScore(
                choice,
                tuple(req.origin_input_ids[plan.start :]),
                _values(output.input_logprobs),
                () if unconditional is None else _values(outputs[unconditional].input_logprobs),
                output.usage,
            )
        )
    return scores


def _values(entries: tuple[TokenLogprob, ...]) -> tuple[float, ...]:
    """Return the logprobs; a first token that nothing predicts counts 0, the same for every choice."""
    return tuple(0.0 if entry.logprob is None else entry.logprob for entry in entries)


def _shared_len(first: list[int], second: list[int]) -> int:
    """Return how many tokens two sequences share from the start, by halving: lists compare faster than Python loops."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
