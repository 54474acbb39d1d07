"""The rules that choose among scored choices, as pure functions over tables of log-probabilities.

For choice c, `l[i]` is the log-probability of its i-th token after the prompt, `u[i]` the same without the prompt.
Every rule gives each choice a score; the highest wins, the first of equals. `decode_under_mask` follows a path instead,
and says which choice that leads to. Called by the evaluator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from ..backend.api import ChoiceScore
from ..lang.errors import BackendError
from .values import ChoiceRow


def token_length_normalized(scores: Sequence[ChoiceScore]) -> tuple[ChoiceRow, ...]:
    """Score = mean of `l`: the likelihood per token, so long choices are not at a disadvantage.

    Probabilities are the softmax of the scores. Every token counts, one of log-probability 0 too.
    """
    means = [_mean(score.logprobs) for score in scores]
    return _table(scores, means, means)


def greedy_token_selection(scores: Sequence[ChoiceScore]) -> tuple[ChoiceRow, ...]:
    """Follow the tokens as greedy decoding restricted to the choices would.

    At column i the remaining choices are grouped by their i-th token; the group with the highest log-probability stays.
    A choice that is out of tokens takes part with the mean of its own `l`, so a choice that begins like a longer one
    can win. Choices are told apart by token ids, never by comparing floats. Score = how many choices left at an earlier
    column, or at the same one with a lower value. Probabilities are the softmax of the sums of `l`.
    """
    reached = [(0, 0.0)] * len(scores)  # per choice: the column where it left, and its value there
    remaining = list(range(len(scores)))
    column = 0
    while remaining:
        groups: dict[int, list[int]] = {}
        for row in remaining:
            ids = scores[row].token_ids
            key = ids[column] if column < len(ids) else -1 - row
            groups.setdefault(key, []).append(row)
            reached[row] = (column, _value(scores[row], column))
        best = max(groups.values(), key=lambda rows: _value(scores[rows[0]], column))
        finished = all(column + 1 >= len(scores[row].token_ids) for row in best)
        remaining = best if len(best) > 1 and not finished else []
        column += 1
    ranks = [float(sum(other < own for other in reached)) for own in reached]
    return _table(scores, ranks, [sum(score.logprobs) for score in scores])


def unconditional_likelihood_normalized(scores: Sequence[ChoiceScore]) -> tuple[ChoiceRow, ...]:
    """Score = mean of `l[i] - u[i]`: how much the prompt raises the likelihood, so common phrases have no advantage.

    Probabilities are the softmax of the scores.
    """
    gains = []
    for score in scores:
        if len(score.unconditional) != len(score.logprobs):
            raise BackendError(f"the backend gave no unconditional log-probabilities for {score.choice!r}")
        gains.append(_mean([given - alone for given, alone in zip(score.logprobs, score.unconditional, strict=True)]))
    return _table(scores, gains, gains)


def decode_under_mask(scores: Sequence[ChoiceScore]) -> tuple[tuple[ChoiceRow, ...], ChoiceRow]:
    """Decode greedily over the token trie of the choices; returns the table, and the row that the path ends at.

    At each node of the trie a mask allows the tokens that continue a choice, and the end where a choice is complete;
    the end has the probability of all the tokens that the mask forbids, as in any constrained generation, so a choice
    that begins like a longer one can win. Score = log-probability of the choice in this decoding: the sum over its path
    of its tokens' log-probabilities, renormalised over what the mask allows. Probabilities are theirs, and sum to 1.
    The greedy path need not end at the choice that is likeliest as a whole.
    """
    totals = [0.0] * len(scores)
    best: int | None = None
    nodes: list[tuple[list[int], int, bool]] = [(list(range(len(scores))), 0, True)]  # choices, column, on the path
    while nodes:
        rows, column, is_on_path = nodes.pop()
        ended = [row for row in rows if len(scores[row].token_ids) == column]
        groups: dict[int, list[int]] = {}
        for row in rows:
            if len(scores[row].token_ids) > column:
                groups.setdefault(scores[row].token_ids[column], []).append(row)
        branches = [(group, scores[group[0]].logprobs[column]) for group in groups.values()]
        allowed = _log_sum(value for _, value in branches)
        if ended:
            # spellings that the tokeniser makes equal share the end
            branches += [([row], _log_rest(allowed) - math.log(len(ended))) for row in ended]
            allowed = 0.0
        taken = max(branches, key=lambda branch: branch[1])[0]
        for group, value in branches:
            share = value - allowed if allowed > -math.inf else -math.log(len(branches))
            for row in group:
                totals[row] += share
            if column < len(scores[group[0]].token_ids):
                nodes.append((group, column + 1, is_on_path and group is taken))
            elif is_on_path and group is taken:
                best = group[0]
    assert best is not None
    table = _table(scores, totals, totals)
    return table, table[best]


Rule = Callable[[Sequence[ChoiceScore]], tuple[ChoiceRow, ...]]

RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (token_length_normalized, greedy_token_selection, unconditional_likelihood_normalized)
}


def best_row(table: Sequence[ChoiceRow]) -> ChoiceRow:
    """Return the row with the highest score, the first of equals."""
    return max(table, key=lambda row: row.score)


def _mean(values: Sequence[float]) -> float:
    if not values:
        raise BackendError("the backend scored a choice without any token")
    return sum(values) / len(values)


def _value(score: ChoiceScore, column: int) -> float:
    return score.logprobs[column] if column < len(score.logprobs) else _mean(score.logprobs)


def _log_sum(values: Iterable[float]) -> float:
    """Log of the sum of what `values` are logs of; a probability, so at most 0."""
    return min(0.0, math.log(total)) if (total := math.fsum(map(math.exp, values))) > 0 else -math.inf


def _log_rest(value: float) -> float:
    """Log of what is left of a probability of one; not nothing, though rounding may say so."""
    return math.log(max(-math.expm1(value), 1e-12))


def _table(scores: Sequence[ChoiceScore], ranks: Sequence[float], logits: Sequence[float]) -> tuple[ChoiceRow, ...]:
    highest = max(logits)
    weights = [math.exp(logit - highest) if highest > -math.inf else 1.0 for logit in logits]
    total = sum(weights)
    return tuple(
        ChoiceRow(score.choice, rank, weight / total, score.token_ids, score.logprobs, score.unconditional)
        for score, rank, weight in zip(scores, ranks, weights, strict=True)
    )
