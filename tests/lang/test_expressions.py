"""What users write: gen, select, roles, sums; checked where it is written, never changing what was passed in."""

from __future__ import annotations

import contextlib
import json
import threading

import pytest

import ramify
from ramify import gen, select
from ramify.lang.constraints import Choices, Grammar, JsonSchema, Regex
from ramify.lang.expressions import Concat


def test_sums_are_flat_on_both_sides():
    a, b = gen("a"), select("b", ["x"])
    assert ("1" + a + "2" + b + "3").parts == ("1", a, "2", b, "3")
    assert ("1" + (a + ("2" + b))).parts == ("1", a, "2", b)
    assert isinstance(ramify.user("x" + a).content, Concat)


def test_the_location_is_the_users_line():
    line = test_the_location_is_the_users_line.__code__.co_firstlineno
    assert gen("a").location.endswith(f"test_expressions.py:{line + 2}")
    assert ramify.gen_int("a").location.endswith(f"test_expressions.py:{line + 3}")
    assert ramify.assistant_begin().location.endswith(f"test_expressions.py:{line + 4}")


def test_the_location_is_never_in_the_standard_library():
    line = test_the_location_is_never_in_the_standard_library.__code__.co_firstlineno
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(contextlib.nullcontext(json.loads("1", parse_int=gen)))
    assert made.location.endswith(f"test_expressions.py:{line + 3}")
    made = []
    thread = threading.Thread(target=lambda *parts: made.append(ramify.lang.location.caller_location()))
    thread.start(), thread.join()
    assert made[0].endswith(f"test_expressions.py:{line + 6}")


@pytest.mark.parametrize(
    ("parameters", "constraint"),
    [
        ({}, None),
        ({"regex": "a+"}, Regex("a+")),
        ({"choices": ["a", "b"]}, Choices(("a", "b"))),
        ({"grammar": 'start: "a"'}, Grammar('start: "a"')),
        ({"grammar": Grammar('s: "x"', "s")}, Grammar('s: "x"', "s")),
        ({"json_schema": {"type": "null"}}, JsonSchema('{"type": "null"}')),
        ({"json_schema": '{"type": "null"}'}, JsonSchema('{"type": "null"}')),
        ({"type": str}, None),
    ],
)
def test_constraints(parameters, constraint):
    assert gen("a", **parameters).constraint == constraint


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"max_token": 3}, "gen has no parameter 'max_token' .did you mean 'max_tokens'"),
        ({"regx": "a"}, "did you mean 'regex'"),
        ({"dtype": int}, "did you mean 'type'"),
        ({"temperature": -1}, "temperature must be between"),
        ({"stop": ["a", ""]}, "empty string"),
        ({"regex": "a", "choices": ["b"]}, "regex= and choices=; give at most one"),
        ({"type": int, "regex": "1"}, "type= and regex="),
        ({"choices": "ab"}, "list of strings, got 'ab'"),
        ({"choices": 5}, "list of strings, got 5"),
        ({"choices": []}, "empty"),
        ({"regex": "a{99999999999999999999}"}, "not a valid pattern"),
        ({"json_schema": "[1]"}, "must be a JSON object"),
        ({"json_schema": {"minimum": float("nan")}}, "not a JSON document"),
        ({"regex": 3}, "type int"),
        ({"regex": "(a"}, "not a valid pattern: missing"),
        ({"json_schema": "{"}, "not a JSON document"),
        ({"json_schema": {"a": object()}}, "not a JSON document"),
        ({"n": 0}, "n must be between 1"),
        ({"n": True}, "n must be an integer"),
    ],
)
def test_wrong_parameters_are_refused_where_they_are_written(parameters, message):
    with pytest.raises(ramify.ParameterError, match=message):
        gen("a", **parameters)
    with pytest.raises(ValueError):
        gen("a", **parameters)


def test_wrong_names():
    for name in ("", 3, b"x"):
        with pytest.raises(ramify.ParameterError, match="non-empty string"):
            gen(name)
        with pytest.raises(ramify.ParameterError, match="non-empty string"):
            select(name, ["a"])


def test_what_is_passed_in_is_copied_and_left_alone():
    stop, bias, choices = ["a"], {5: 1.0}, ["x", "y"]
    expression = gen("a", stop=stop, logit_bias=bias)
    chosen = select("b", choices)
    stop.append("b"), bias.update({6: 2.0}), choices.append("z")
    assert dict(expression.parameters) == {"stop": ("a",), "logit_bias": {5: 1.0}}
    assert chosen.choices == ("x", "y")


def test_a_select_without_method_or_with_a_wrong_one():
    assert select("a", ["x"]).method == "token_length_normalized"
    assert select("a", ["x"], method=ramify.greedy_token_selection).method == "greedy_token_selection"
    with pytest.raises(ramify.ParameterError, match="there are token_length_normalized"):
        select("a", ["x"], method=len)


def test_an_fstring_cannot_hold_what_is_generated_later():
    for expression in (gen("a"), select("a", ["x"]), ramify.user("x"), "x" + gen("a")):
        with pytest.raises(ramify.ProgramError, match=r"f-string cannot hold .*test_expressions.py:\d+\); write"):
            f"Answer: {expression}"
        assert f"{expression!r}".endswith(")")  # for looking at it


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (5, "of type int .*write str"),
        (0.5, "of type float .*write str"),
        (None, "of type NoneType .*has no value here"),
        (ramify.function(lambda s: None), "of type Program .*call it, as in s \\+= program"),
        (["x"], "of type list .*append text, gen"),
        (b"x", "of type bytes .*append text, gen"),
    ],
)
def test_what_cannot_be_appended_says_what_to_write(value, message):
    for append in (lambda: "x" + gen("a") + value, lambda: value + gen("a"), lambda: ramify.user(value)):
        with pytest.raises(ramify.ProgramError, match=message):
            append()


def test_text_with_half_a_surrogate_pair_is_refused_where_it_is_written():
    with pytest.raises(ramify.ParameterError, match="lone surrogate"):
        ramify.user("name: \udcff")
    assert ramify.user("😀\0<|end|>").content == "😀\0<|end|>"
