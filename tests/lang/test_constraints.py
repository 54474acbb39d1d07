"""Constraints as facts: what they take, and what they refuse before any backend sees them."""

from __future__ import annotations

import pytest

from ramify.lang.constraints import Choices, Grammar, JsonSchema, Regex, check_characters, check_choices, is_complete
from ramify.lang.errors import ParameterError


def test_constraints_are_values():
    for make in (lambda: Regex("a"), lambda: JsonSchema("{}"), lambda: Grammar("start: X"), lambda: Choices(("a",))):
        assert make() == make() and hash(make()) == hash(make())
    assert len({Regex("a"), JsonSchema("a"), Grammar("a"), Choices(("a",))}) == 4


def test_a_regex_is_a_string():
    with pytest.raises(ParameterError, match="regex must be a string, got int"):
        Regex(5)


@pytest.mark.parametrize("check", [check_choices, Choices])
@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ((), "choices is empty; give at least one string"),
        (("a", 5), "choices must be strings, got 5 of type int"),
        (("a", ""), "choices contains the empty string"),
        (("a", "b", "a"), "choices contains 'a' twice"),
        (("a", "x\udc80"), "lone surrogate"),
    ],
)
def test_choices_that_cannot_work_are_refused(check, choices, message):
    with pytest.raises(ParameterError, match=message):
        check(choices)


def test_any_other_choices_are_fine():
    check_choices(("a", "A", " a", "\0", "😀", "<|end|>", "a" * 10_000))


def test_text_with_half_a_surrogate_pair_is_refused_with_its_place():
    check_characters("plain, é, 😀, \0, \uffff")
    with pytest.raises(ParameterError, match=r"lone surrogate, '\\udc80', at position 2; decode its bytes"):
        check_characters("ab\udc80")


@pytest.mark.parametrize(
    ("constraint", "complete", "cut_off"),
    [
        (Regex("[0-9]+!"), "12!", "12"),
        (Choices(("yes", "yesterday")), "yes", "yest"),
        (JsonSchema("{}"), '{"a": [1]}', '{"a": [1'),
    ],
)
def test_a_text_that_was_cut_off_is_told_from_a_whole_one(constraint, complete, cut_off):
    assert is_complete(constraint, complete) is True
    assert is_complete(constraint, cut_off) is False


def test_only_a_parser_knows_the_sentences_of_a_grammar():
    assert is_complete(Grammar('start: "x"'), "x") is None
