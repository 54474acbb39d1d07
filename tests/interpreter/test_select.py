"""The three scoring rules as mathematics, and select inside programs."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ramify
from ramify import FakeBackend, function, select
from ramify.backend.api import ChoiceScore
from ramify.interpreter.select import RULES, best_row, decode_under_mask

LOGPROBS = st.floats(min_value=-20, max_value=0)


def score(choice, logprobs, unconditional=(), ids=None):
    ids = tuple(range(len(logprobs))) if ids is None else tuple(ids)
    return ChoiceScore(choice, ids, tuple(logprobs), tuple(unconditional))


def chosen(method, *scores):
    return best_row(RULES[method](scores)).choice


def test_token_length_normalized_is_the_mean():
    table = ramify.token_length_normalized([score("long", [-1.0, -1.0, -1.0]), score("short", [-2.0])])
    assert [row.score for row in table] == [-1.0, -2.0]
    assert math.isclose(table[0].probability, 1 / (1 + math.exp(-1)))


def test_a_token_of_certainty_counts():
    # dropping the 0.0 would make "sure" look worse than it is
    assert chosen("token_length_normalized", score("other", [-1.0, -1.0]), score("sure", [0.0, -1.5])) == "sure"
    assert ramify.token_length_normalized([score("c", [0.0])])[0].score == 0.0


def test_unconditional_likelihood_normalized_subtracts_what_is_likely_anyway():
    scores = [score("common", [-1.0], [-0.5]), score("apt", [-2.0], [-8.0])]
    assert chosen("unconditional_likelihood_normalized", *scores) == "apt"
    assert [row.score for row in ramify.unconditional_likelihood_normalized(scores)] == [-0.5, 6.0]
    with pytest.raises(ramify.BackendError, match="no unconditional"):
        ramify.unconditional_likelihood_normalized([score("a", [-1.0])])


def test_greedy_token_selection_decodes():
    # greedy decoding takes token 1 (-0.1) first, though the other choice has the better mean
    scores = [score("ab", [-0.1, -9.0], ids=[1, 2]), score("cd", [-0.2, -0.1], ids=[3, 4])]
    assert chosen("greedy_token_selection", *scores) == "ab"
    assert chosen("token_length_normalized", *scores) == "cd"


def test_greedy_goes_down_a_shared_prefix_though_floats_differ():
    scores = [
        score("x y", [-0.5, -3.0], ids=[1, 2]),
        score("z", [-1.0], ids=[9]),
        score("x w", [-0.5 - 1e-7, -0.2], ids=[1, 3]),
    ]
    table = ramify.greedy_token_selection(scores)
    assert best_row(table).choice == "x w"
    assert [row.score for row in table] == [1, 0, 2]


def test_greedy_with_a_choice_that_begins_like_another():
    short, long = score("yes", [-0.5], ids=[1]), score("yes!", [-0.5, -2.0], ids=[1, 2])
    assert chosen("greedy_token_selection", short, long) == "yes"  # its own mean, -0.5, beats -2.0
    assert chosen("greedy_token_selection", long, short) == "yes"
    likely = score("yes!", [-0.5, -0.1], ids=[1, 2])
    assert chosen("greedy_token_selection", short, likely) == "yes!"


@pytest.mark.parametrize("method", RULES)
def test_ties_go_to_the_first(method):
    same = [score(name, [-1.0, -2.0], [-1.0, -1.0], ids=[1, 2]) for name in "abc"]
    assert chosen(method, *same) == "a"


@pytest.mark.parametrize("method", RULES)
def test_impossible_choices_are_no_error(method):
    scores = [score("a", [-math.inf], [-1.0], ids=[1]), score("b", [-2.0], [-1.0], ids=[2])]
    assert chosen(method, *scores) == "b"
    never = RULES[method]([score(name, [-math.inf], [-1.0], ids=[i]) for i, name in enumerate("ab")])
    assert [row.probability for row in never] == [0.5, 0.5]


@pytest.mark.parametrize("method", RULES)
@given(lists=st.lists(st.lists(LOGPROBS, min_size=1, max_size=5), min_size=1, max_size=6))
def test_probabilities_sum_to_one_and_the_best_score_wins(method, lists):
    scores = [
        score(f"c{i}", values, [-1.0] * len(values), ids=[i, *range(len(values) - 1)]) for i, values in enumerate(lists)
    ]
    table = RULES[method](scores)
    assert math.isclose(sum(row.probability for row in table), 1.0)
    assert best_row(table).score == max(row.score for row in table)
    assert [row.choice for row in table] == [item.choice for item in scores]
    assert [row.logprobs for row in table] == [item.logprobs for item in scores]


@given(lists=st.lists(st.lists(LOGPROBS, min_size=3, max_size=3), min_size=1, max_size=6))
def test_greedy_equals_restricted_greedy_decoding(lists):
    """Choices of three tokens over an alphabet of two; equal prefixes have equal log-probabilities, as in a model."""
    tree = {}
    scores = []
    for number, values in enumerate(lists):
        ids = tuple((number >> bit) & 1 for bit in range(3))
        logprobs = [tree.setdefault(ids[: depth + 1], value) for depth, value in enumerate(values)]
        scores.append(score(f"c{number}", logprobs, ids=ids))
    remaining = scores
    for depth in range(3):
        top = max(item.logprobs[depth] for item in remaining)
        token = next(item.token_ids[depth] for item in remaining if item.logprobs[depth] == top)
        remaining = [item for item in remaining if item.token_ids[depth] == token]
    assert chosen("greedy_token_selection", *scores) == remaining[0].choice


@function
def team(s, choices, method="token_length_normalized"):
    s += "Team: " + select("team", choices, method=method) + "."
    return s["team"]


def test_select_in_a_program_is_one_backend_call():
    backend = FakeBackend(scores={"red": -2.0, "blue": -1.0})
    result = team.run(["red", "blue"], backend=backend)
    assert result.value == "blue" and result.text() == "Team: blue."
    assert len(backend.score_requests) == 1 and backend.requests == []
    meta = result.meta("team")
    assert [(row.choice, row.score) for row in meta.scores] == [("red", -2.0), ("blue", -1.0)]
    assert math.isclose(sum(row.probability for row in meta.scores), 1.0)
    assert meta.prompt_tokens > 0 and meta.finish_reason == "stop"
    assert not backend.score_requests[0].unconditional


def test_methods_by_name_and_by_function():
    backend = FakeBackend(scores={"a": -1.0, "b": -2.0})
    for method in (*RULES, *RULES.values()):
        assert team.run(["a", "b"], method, backend=backend).value in "ab"
    assert [request.unconditional for request in backend.score_requests] == [False, False, True] * 2


def masked(*scores):
    """Winner, and the probability of each choice."""
    table, best = decode_under_mask(scores)
    assert math.isclose(sum(math.exp(row.score) for row in table), 1.0)
    for row in table:
        assert math.isclose(math.exp(row.score), row.probability, abs_tol=1e-9)
    return best.choice, [row.probability for row in table]


def test_under_a_mask_probabilities_are_renormalised_at_each_token():
    # 0.6 against 0.2 at the first token; after "a", 0.1 against 0.3
    log = math.log
    winner, found = masked(
        score("ax", [log(0.6), log(0.1)], ids=[1, 2]),
        score("ay", [log(0.6), log(0.3)], ids=[1, 3]),
        score("b", [log(0.2)], ids=[4]),
    )
    assert winner == "ay" and found == pytest.approx([0.75 * 0.25, 0.75 * 0.75, 0.25])


def test_under_a_mask_the_path_may_miss_the_likeliest_choice():
    log = math.log
    winner, found = masked(
        score("ax", [log(0.3), log(0.5)], ids=[1, 2]),
        score("ay", [log(0.3), log(0.5)], ids=[1, 3]),
        score("b", [log(0.2)], ids=[4]),
    )
    assert winner == "ax" and found == pytest.approx([0.3, 0.3, 0.4])  # a greedy decoder takes "a" first


@pytest.mark.parametrize(("goes_on", "winner"), [(0.7, "red dark"), (0.4, "red")])
def test_under_a_mask_a_choice_may_begin_another(goes_on, winner):
    """Where "red" is complete, it has all the probability of what does not go on to "red dark"."""
    log = math.log
    found = masked(
        score("red dark", [log(0.5), log(goes_on)], ids=[1, 2]),
        score("red", [log(0.5)], ids=[1]),
        score("blue", [log(0.1)], ids=[9]),
    )
    assert found[0] == winner
    assert found[1] == pytest.approx([5 / 6 * goes_on, 5 / 6 * (1 - goes_on), 1 / 6])


def test_under_a_mask_impossible_choices_are_told_apart():
    never = -math.inf
    assert masked(score("a", [never], ids=[1]), score("b", [never], ids=[2]))[1] == [0.5, 0.5]
    assert masked(score("a", [never], ids=[1]), score("b", [-9.0], ids=[2])) == ("b", [0.0, 1.0])
    assert masked(score("only", [-3.0, -4.0]))[1] == [1.0]
    same = [score("\u00e9", [-1.0], ids=[5]), score("e\u0301", [-1.0], ids=[5])]  # one spelling, for the tokeniser
    assert masked(*same) == ("\u00e9", [0.5, 0.5])


def test_the_constrained_method_is_one_call_with_real_scores():
    backend = FakeBackend(scores={"red": -2.0, "blue": -1.0})
    result = team.run(["red", "blue"], "constrained", backend=backend)
    assert result.value == "blue" and result.text() == "Team: blue."
    assert len(backend.score_requests) == 1 and backend.requests == []
    assert sum(row.probability for row in result.meta("team").scores) == pytest.approx(1.0)


def test_a_backend_that_cannot_score_decodes_under_a_mask():
    class NoScores(FakeBackend):
        @property
        def capabilities(self):
            return replace(super().capabilities, scoring=False)

    backend = NoScores(["blue"])
    result = team.run(["red", "blue"], "constrained", backend=backend)
    assert result.value == "blue" and result.text() == "Team: blue."
    assert backend.requests[0].sampling.is_greedy and backend.score_requests == []
    assert [(row.choice, row.score) for row in result.meta("team").scores] == [("red", 0.0), ("blue", 1.0)]
    with pytest.raises(ramify.GenError, match="method='constrained'"):
        team.run(["red", "blue"], backend=backend)


def test_choices_are_checked_where_they_are_written():
    for choices, message in [
        ([], "empty"),
        (["a", "a"], "twice"),
        (["a", ""], "empty string"),
        ("ab", "list of strings"),
        (None, "needs choices"),
        (5, "needs choices"),
        (["a", 3], "3 of type int"),
        (["a", None], "None of type NoneType"),
        (["a", "\ud800"], "lone surrogate"),
    ]:
        with pytest.raises(ramify.ParameterError, match=message):
            select("x", choices)
    with pytest.raises(ramify.ParameterError, match="did you mean 'greedy_token_selection'"):
        select("x", ["a"], method="greedy_token_selecton")


def test_a_backend_that_answers_something_else_is_an_error():
    class Wrong(FakeBackend):
        async def score(self, request):
            return (await super().score(request))[::-1]

    with pytest.raises(ramify.GenError, match="in their order"):
        team.run(["a", "b"], backend=Wrong())


def test_choices_may_come_from_variables():
    @function
    def program(s):
        branches = s.fork(2)
        for i, branch in enumerate(branches):
            branch += f"{i}" + ramify.gen("idea")
        s += "Best: " + select("best", branches["idea"])

    backend = FakeBackend({"0$": "run", "1$": "walk"}, scores={"walk": -0.1})
    assert program.run(backend=backend)["best"] == "walk"
