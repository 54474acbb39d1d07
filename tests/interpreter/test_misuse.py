"""Misuse of a state: roles, variables, samples and what is appended; each refused with its place and a remedy."""

from __future__ import annotations

import pytest

import ramify
from ramify import FakeBackend, function, gen


def test_roles_misused():
    def run(body):
        return function(body).run(backend=FakeBackend())

    def nested(s):
        with s.user(), s.assistant():
            pass

    def left_open(s):
        s += ramify.user_begin() + "x"

    def wrong_end(s):
        s += ramify.user_begin() + "x" + ramify.assistant_end()

    for body, message in [
        (nested, r"cannot open role 'assistant' \(.*\) inside role 'user', opened \(.*test_misuse"),
        (left_open, r"role 'user' \(.*\) is still open at the end"),
        (wrong_end, "the open role is 'user'"),
        (lambda s: s.__iadd__(ramify.user_end()), "no role is open"),
        (lambda s: s.__iadd__(ramify.user(ramify.system("x"))), "cannot open role 'system'"),
    ]:
        with pytest.raises(ramify.RoleError, match=message):
            run(body)


def test_variables_misused():
    def run(body):
        return function(body).run(backend=FakeBackend())

    def twice(s):
        s += "x" + gen("a") + gen("a")

    def inside(s):
        with s.var_scope("v"):
            s["v"]

    def defined_inside(s):
        with s.var_scope("v"):
            s += "x" + gen("v")

    def nested(s):
        with s.var_scope("v"), s.var_scope("v"):
            s += "x"

    def in_branch(s):
        s += "x" + gen("answer")
        branch = s.copy()
        branch += gen("answer")

    def misspelt(s):
        s += "x" + gen("answer")
        return s["anser"]

    for body, message in [
        (twice, r"variable 'a' is defined twice \(.*test_misuse"),
        (in_branch, "defined twice"),
        (inside, "inside its own var_scope"),
        (defined_inside, r"'v' is defined \(.*test_misuse.* inside the var_scope of that name"),
        (nested, "inside the var_scope of that name"),
        (misspelt, "did you mean 'answer'"),
        (lambda s: s["x"], "none is defined yet"),
        (lambda s: s.set("x", 1) or s.set("x", 2), "defined twice"),
    ]:
        with pytest.raises(ramify.VariableError, match=message):
            run(body)
    with pytest.raises(ramify.VariableError, match="did you mean 'answer'"):
        run(lambda s: s.__iadd__("x").__iadd__(gen("answer")) and None)["answr"]


def test_what_cannot_be_appended_is_an_error_that_says_so():
    for value, message in [(3, r"write str\(...\)"), (None, "NoneType"), ([1], "append text")]:
        with pytest.raises(ramify.ProgramError, match=message):
            function(lambda s, v=value: s.__iadd__(v)).run(backend=FakeBackend())
        with pytest.raises(ramify.ProgramError, match=message):
            "a" + gen("x") + value


def test_samples_nobody_could_read_or_choose_are_refused():
    def unnamed(s):
        s += "x" + gen(n=2)

    def undecided(s):
        s += "x"
        with s.var_scope("scope"):
            s += gen("v", n=2)

    for body, error, message in [
        (unnamed, ramify.ParameterError, r"gen with n=2 \(.*test_misuse.* needs a name"),
        (undecided, ramify.ProgramError, r"end of a var_scope .*keep\('v', index\)"),
    ]:
        with pytest.raises(error, match=message):
            function(body).run(backend=FakeBackend())
