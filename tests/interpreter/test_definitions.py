"""What may be made a program: functions, methods of every kind, and what is refused with a remedy."""

from __future__ import annotations

import functools

import pytest

import ramify
from ramify import FakeBackend, function, gen


@function
def plain(s, q):
    s += q + gen("a")
    return s["a"]


class Bot:
    prefix = "bot "
    stored = plain
    lowered = plain.with_sampling(temperature=0)

    @function
    def method(self, s, q):
        s += self.prefix + q + gen("a")
        return s["a"]

    greedy = method.with_sampling(temperature=0)

    @classmethod
    @function
    def of_class(cls, s, q):
        s += cls.prefix + q + gen("a")
        return s["a"]

    @staticmethod
    @function
    def of_nobody(s, q):
        s += q + gen("a")
        return s["a"]

    @function
    async def asynchronous(self, s, q):
        s += self.prefix + q + gen("a")
        return await s.get("a")


class Kitten(Bot):
    prefix = "kitten "


@pytest.mark.parametrize("name", ["method", "greedy", "of_class", "of_nobody", "asynchronous", "stored", "lowered"])
@pytest.mark.parametrize("owner", [Bot, Kitten])
def test_programs_in_a_class(name, owner):
    backend = FakeBackend(["A"])
    assert getattr(owner(), name).run("x", backend=backend).value == "A"
    has_prefix = name in ("method", "greedy", "of_class", "asynchronous")
    assert backend.prompts == [f"{owner.prefix if has_prefix else ''}x"]
    assert backend.requests[0].sampling.is_greedy == (name in ("greedy", "lowered"))


@pytest.mark.parametrize("name", ["of_class", "of_nobody", "stored"])
def test_what_needs_no_instance_runs_on_the_class(name):
    assert getattr(Kitten, name).run("x", backend=FakeBackend(["A"])).value == "A"


@pytest.mark.parametrize("make", [lambda p: p, lambda p: p.with_sampling(top_k=1), lambda p: p.bind(q="x")])
def test_a_method_without_its_instance_says_so(make):
    with pytest.raises(ramify.ProgramError, match=r"method is a method: .*MyClass\(\)"):
        make(Bot.method).run("x", backend=FakeBackend())


def test_storing_a_program_in_a_class_changes_nothing_about_it():
    assert plain.run("x", backend=FakeBackend(["A"])).value == "A"
    assert Bot.stored is plain


def generator(s):
    yield s


async def async_generator(s):
    yield s


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("x", "takes a function whose first parameter is the state, got 'x'"),
        (plain, "takes a function whose first parameter is the state, got <Program plain"),
        (Bot, "takes a function whose first parameter is the state, got <class"),
        (generator, "generator has a yield in it"),
        (async_generator, "async_generator has a yield in it"),
        (staticmethod(generator), "write @staticmethod above @ramify.function"),
        (classmethod(generator), "write @classmethod above @ramify.function"),
        (lambda: None, "needs a first parameter for the state"),
        (lambda s, backend: None, "parameter 'backend', which run"),
    ],
)
def test_what_cannot_be_a_program_is_refused_where_it_is_made(body, message):
    with pytest.raises(ramify.ProgramError, match=message):
        function(body)


def test_an_async_body_under_a_decorator_that_hides_it_is_an_error():
    async def body(s):
        s += "x"

    @functools.wraps(body)
    def hidden(s):
        return body(s)

    with pytest.raises(ramify.ProgramError, match=r"put @ramify\.function on the async def itself"):
        function(hidden).run(backend=FakeBackend())


def test_names_of_arguments_do_not_clash_with_names_inside():
    @function
    def program(s, name, body, *args, state="d", rows=None, **others):
        return name, body, args, state, rows, others

    found = program.run("n", "b", 1, 2, rows=3, loop=4, call=5, parameters=6, backend=FakeBackend())
    assert found.value == ("n", "b", (1, 2), "d", 3, {"loop": 4, "call": 5, "parameters": 6})
    row = {"name": "n", "body": "b", "rows": 1, "concurrency": 2, "on_error": 3, "progress": 4, "args": 5}
    (batched,) = program.run_batch([row], backend=FakeBackend())
    others = {"concurrency": 2, "on_error": 3, "progress": 4, "args": 5}
    assert batched.value.value == ("n", "b", (), "d", 1, others)


def test_what_a_body_is_called_with_is_what_was_passed():
    items = (i for i in range(3))

    @function
    def program(s, values, default=("x",)):
        s += "".join(str(value) for value in values) + default[0]

    assert program.run(items, backend=FakeBackend()).text() == "012x"
    assert program.run([], ["y"], backend=FakeBackend()).text() == "y"
