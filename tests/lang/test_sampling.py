"""Every rule of `Sampling`: what it takes, what it refuses and in which words."""

from __future__ import annotations

import dataclasses
import inspect
import math
import typing

import pytest

from ramify import Program, gen, gen_int, gen_string
from ramify.lang.errors import ParameterError
from ramify.lang.sampling import (
    MAX_N,
    MAX_STOP_REGEX_LEN,
    MAX_STOPS,
    MAX_TOP_LOGPROBS,
    PARAMETERS,
    Sampling,
    SamplingArguments,
)

HUGE = 10**400  # no float holds it

# parameter -> values at the edge that are fine, values just beyond it
BOUNDS = {
    "max_tokens": ([0, 2**31], [-1, 2**31 + 1, HUGE]),
    "min_tokens": ([0, 256], [-1, HUGE]),
    "temperature": ([0, 0.5, 1e6], [-0.1, 1e7, math.inf]),
    "top_p": ([1e-9, 1], [0, -0.1, 1.01]),
    "top_k": ([-1, 0, 2**31], [-2, HUGE]),
    "min_p": ([0, 1], [-0.1, 1.1]),
    "frequency_penalty": ([-2, 2], [-2.1, 2.1]),
    "presence_penalty": ([-2, 2], [-2.1, 2.1]),
    "repetition_penalty": ([1e-6, 1e3], [0, -1, 1e4]),
    "seed": ([-(2**63), 2**64 - 1], [-(2**63) - 1, 2**64, HUGE]),
    "n": ([1, MAX_N], [0, MAX_N + 1]),
    "logprobs": ([0, MAX_TOP_LOGPROBS], [-1, MAX_TOP_LOGPROBS + 1]),
    "prompt_logprobs": ([0, MAX_TOP_LOGPROBS], [-1, MAX_TOP_LOGPROBS + 1]),
    "logprob_start": ([0, 2**31], [-1]),
}
INTEGERS = ("max_tokens", "min_tokens", "top_k", "seed", "n", "logprobs", "prompt_logprobs", "logprob_start")


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, (fine, _) in BOUNDS.items() for value in fine])
def test_the_edges_of_a_range_are_in_it(name, value):
    assert getattr(Sampling.of(**{name: value}), name) == value


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, (_, wrong) in BOUNDS.items() for value in wrong])
def test_what_lies_beyond_a_range_is_refused_by_name(name, value):
    with pytest.raises(ParameterError, match=rf"^{name} .*(must be|greater than)"):
        Sampling.of(**{name: value})


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("value", ["1", math.nan, [1], b"1"])
def test_numbers_are_numbers(name, value):
    with pytest.raises(ParameterError, match=f"^{name} must be an? (number|integer), got"):
        Sampling.of(**{name: value})


@pytest.mark.parametrize("name", [name for name in BOUNDS if not name.endswith("logprobs")])
def test_a_truth_value_is_no_number(name):
    with pytest.raises(ParameterError, match=f"^{name} must be"):
        Sampling.of(**{name: True})


@pytest.mark.parametrize("name", INTEGERS)
def test_counts_are_integers(name):
    with pytest.raises(ParameterError, match=f"^{name} must be an integer, got 1.0"):
        Sampling.of(**{name: 1.0})


def test_every_parameter_has_a_range_or_a_test_of_its_own():
    own = {"logit_bias", "stop", "stop_token_ids", "stop_regex", "ignore_eos", "heal", "backend_hint"}
    assert set(BOUNDS) | own == set(PARAMETERS)


def test_type_checkers_know_every_parameter():
    hints = typing.get_type_hints(SamplingArguments)
    assert tuple(hints) == PARAMETERS
    fields = typing.get_type_hints(Sampling)
    for name, hint in hints.items():
        assert type(None) in typing.get_args(hint), name
        accepted = typing.get_args(fields[name]) or (fields[name],)
        if typing.get_origin(fields[name]) is not tuple:
            assert set(accepted) <= {*typing.get_args(hint)}, name
    takers = (gen, gen_int, gen_string, Sampling.of, Sampling.with_, Program.with_sampling)
    for taker in takers:
        (extra,) = [p for p in inspect.signature(taker).parameters.values() if p.kind is p.VAR_KEYWORD]
        assert extra.annotation == "Unpack[SamplingArguments]", taker


@pytest.mark.parametrize("value", ["yes", 1, 0.5])
def test_healing_is_on_off_or_the_engines_choice(value):
    assert [Sampling(heal=heal).heal for heal in (True, False, None)] == [True, False, None]
    with pytest.raises(ParameterError, match=r"^heal must be True or False, got"):
        Sampling(heal=value)


@pytest.mark.parametrize("value", ["", 3, ["xgrammar"]])
def test_a_backend_hint_is_a_name(value):
    assert Sampling.of(backend_hint="xgrammar").backend_hint == "xgrammar"
    with pytest.raises(ParameterError, match=r"^backend_hint must be the name of a grammar plugin, got"):
        Sampling(backend_hint=value)


def test_min_tokens_is_at_most_max_tokens():
    assert Sampling(min_tokens=3, max_tokens=3).min_tokens == 3
    with pytest.raises(ParameterError, match=r"min_tokens \(4\) is greater than max_tokens \(3\)"):
        Sampling(min_tokens=4, max_tokens=3)


@pytest.mark.parametrize("value", [1, 0, "no", None])
def test_ignore_eos_is_true_or_false(value):
    with pytest.raises(ParameterError, match="ignore_eos must be True or False"):
        Sampling(ignore_eos=value)


@pytest.mark.parametrize("name", ["stop", "stop_regex"])
def test_stops_are_strings(name):
    assert getattr(Sampling.of(**{name: "x"}), name) == ("x",)
    assert getattr(Sampling.of(**{name: ["x", "y"]}), name) == ("x", "y")
    assert getattr(Sampling.of(**{name: {"x"}}), name) == ("x",)
    for wrong in (5, [5], b"x", {"a": 1}, [None], [True]):
        with pytest.raises(ParameterError, match=f"^{name} takes strings, one or a list of them; got"):
            Sampling.of(**{name: wrong})


def test_a_refused_stop_is_shown_as_it_was_written():
    with pytest.raises(ParameterError, match="got b'x'"):
        Sampling.of(stop=b"x")


def test_stop_token_ids_are_token_ids():
    assert Sampling.of(stop_token_ids=5).stop_token_ids == (5,)
    assert Sampling.of(stop_token_ids=[5, 0]).stop_token_ids == (5, 0)
    for wrong in ("x", [1.0], [True], ["5"]):
        with pytest.raises(ParameterError, match=r"^stop_token_ids takes integers, one or a list of them; got"):
            Sampling.of(stop_token_ids=wrong)
    with pytest.raises(ParameterError, match="a token id in stop_token_ids must be at least 0, got -1"):
        Sampling.of(stop_token_ids=-1)


@pytest.mark.parametrize(("name", "one"), [("stop", "x"), ("stop_token_ids", 1), ("stop_regex", "x")])
def test_there_is_a_limit_to_the_number_of_stops(name, one):
    assert len(getattr(Sampling.of(**{name: [one] * MAX_STOPS}), name)) == MAX_STOPS
    with pytest.raises(ParameterError, match=f"^{name} has {MAX_STOPS + 1} entries; at most {MAX_STOPS}"):
        Sampling.of(**{name: [one] * (MAX_STOPS + 1)})


def test_an_empty_stop_is_refused():
    with pytest.raises(ParameterError, match=r"^stop contains the empty string"):
        Sampling.of(stop=["x", ""])


@pytest.mark.parametrize("pattern", ["", "a*", "(?=a)|", "^", "$"])
def test_a_stop_pattern_that_matches_nothing_is_refused(pattern):
    with pytest.raises(ParameterError, match=r"^stop_regex .* matches the empty text"):
        Sampling.of(stop_regex=pattern)


@pytest.mark.parametrize("pattern", ["(", "a{99999999999999999999}"])
def test_a_stop_pattern_that_is_none_is_refused(pattern):
    with pytest.raises(ParameterError, match=r"^stop_regex .* is not a valid pattern"):
        Sampling.of(stop_regex=pattern)


def test_a_stop_pattern_has_a_greatest_length():
    assert Sampling.of(stop_regex="x" * MAX_STOP_REGEX_LEN).stop_regex
    with pytest.raises(ParameterError, match=f"^stop_regex is {MAX_STOP_REGEX_LEN + 1} characters long"):
        Sampling.of(stop_regex="x" * (MAX_STOP_REGEX_LEN + 1))


@pytest.mark.parametrize("spelling", [{7: 1, 5: -100.0}, [(7, 1), (5, -100.0)], [[5, -100.0], [7, 1]]])
def test_a_logit_bias_maps_token_ids_to_numbers_in_any_spelling(spelling):
    assert Sampling.of(logit_bias=spelling).logit_bias == ((5, -100.0), (7, 1))


@pytest.mark.parametrize(
    ("bias", "message"),
    [
        (5, "must map token ids to numbers"),
        ("x", "must map token ids to numbers"),
        ([(1, 2, 3)], "must map token ids to numbers"),
        ([1], "must map token ids to numbers"),
        ({5: 1, "a": 2}, "token id in logit_bias must be an integer, got 'a'"),
        ({"5": 1}, "token id in logit_bias must be an integer, got '5'"),
        ({-1: 1}, "token id in logit_bias must be at least 0, got -1"),
        ({1: "x"}, "value in logit_bias must be a number, got 'x'"),
        ({1: math.nan}, "value in logit_bias must be a number, got nan"),
        ({1: math.inf}, "infinite; -inf forbids a token"),
    ],
)
def test_a_logit_bias_that_cannot_work_is_refused(bias, message):
    with pytest.raises(ParameterError, match=message):
        Sampling.of(logit_bias=bias)


def test_a_token_can_be_forbidden():
    assert Sampling.of(logit_bias={5: -math.inf}).logit_bias == ((5, -math.inf),)


def test_unknown_names_are_refused_with_the_nearest_one():
    for make in (Sampling.of, Sampling().with_):
        with pytest.raises(ParameterError, match=r"parameter 'temprature' .did you mean 'temperature'"):
            make(temprature=1)


def test_none_means_the_default_and_logprobs_may_be_a_truth_value():
    assert Sampling.of(**dict.fromkeys(PARAMETERS)) == Sampling()
    assert Sampling.of(logprobs=True, prompt_logprobs=True) == Sampling(logprobs=0, prompt_logprobs=0)
    assert Sampling.of(logprobs=False) == Sampling()


def test_with_changes_a_copy_and_checks_it():
    first = Sampling(temperature=0.5)
    second = first.with_(stop="x", top_k=3)
    assert (first.stop, second.stop, second.top_k, second.temperature) == ((), ("x",), 3, 0.5)
    with pytest.raises(ParameterError, match="top_p"):
        first.with_(top_p=2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.top_k = 1


@pytest.mark.parametrize(
    ("sampling", "greedy"),
    [
        (Sampling(), False),
        (Sampling(temperature=0), True),
        (Sampling(temperature=1e-9), True),
        (Sampling(temperature=1e-3), False),
        (Sampling(top_k=1), True),
        (Sampling(top_k=2), False),
    ],
)
def test_greedy_is_temperature_zero_or_the_one_best_token(sampling, greedy):
    assert sampling.is_greedy is greedy


def test_equal_parameters_are_equal_and_hash_alike():
    left, right = Sampling.of(stop=["x"], logit_bias={1: 2, 0: 1}), Sampling.of(logit_bias=[(0, 1), (1, 2)], stop="x")
    assert left == right and hash(left) == hash(right)
