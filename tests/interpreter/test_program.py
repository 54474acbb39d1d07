"""Programs on the fake backend: text, variables, typed values, meta data, scopes, bind, methods, inner programs."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import Literal

import pydantic
import pytest

import ramify
from ramify import FakeBackend, function, gen, select
from ramify.backend.api import Text, Tokens
from ramify.backend.fake import CAPABILITIES


@function
def capital(s, country, *, hint=""):
    s += f"The capital of {country}{hint} is" + gen("city", stop=".") + "."
    return s["city"]


def test_a_program_runs_end_to_end():
    result = capital.run("France", backend=FakeBackend([" Paris. And"]))
    assert result["city"] == result.value == " Paris"
    assert result.text() == "The capital of France is Paris."
    assert result.messages() == [] and "city" in result and "town" not in result
    assert dict(result) == {"city": " Paris"}
    assert repr(result) == "<Result city=' Paris'>"


def test_meta_data_and_usage():
    result = capital.run("France", backend=FakeBackend([" Paris. And"]))
    meta = result.meta("city")
    assert (meta.finish_reason, meta.matched_stop, meta["completion_tokens"]) == ("stop", ".", 7)
    assert meta.prompt_tokens == len("The capital of France is") and meta.cached_tokens == 0
    assert meta.text == result.text_of("city") == " Paris"
    assert "".join(map(chr, meta.token_ids)) == " Paris."
    assert result.usage == meta.usage and set(dict(meta)) >= {"scores", "logprobs", "token_ids"}
    with pytest.raises(ramify.ParameterError, match="did you mean 'finish_reason'"):
        meta["finish_reasn"]


def test_generated_text_is_never_tokenised_again():
    backend = FakeBackend(["one|", "two"], token_len=2)

    @function
    def chain(s):
        s += "a" + gen("x", stop="|") + "b" + gen("y")

    assert chain.run(backend=backend).text() == "aonebtwo"
    first = chain.run(backend=FakeBackend(["one|", "two"], token_len=2)).meta("x")
    assert backend.requests[1].prompt == (Text("a"), Tokens(first.token_ids[:1], "on"), Text("e"), Text("b"))


def test_logprobs_come_with_the_tokens():
    @function
    def program(s):
        s += "x" + gen("y", logprobs=2, max_tokens=3)

    meta = program.run(backend=FakeBackend(["abcdef"])).meta("y")
    assert [entry.text for entry in meta.logprobs] == ["a", "b", "c"]
    assert all(len(entry.top) == 2 for entry in meta.logprobs)
    assert meta.finish_reason == "length"


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    x: int
    y: int


class Person(pydantic.BaseModel):
    name: str
    age: int


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (int, "-42", -42),
        (float, "2.5", 2.5),
        (bool, "true", True),
        (str, "any text", "any text"),
        (Literal["low", "high"], "high", "high"),
        (Colour, "blue", Colour.BLUE),
        (list[int], "[1, 2]", [1, 2]),
        (Point, '{"x": 1, "y": 2}', Point(1, 2)),
        (Person, '{"name": "Ann", "age": 3}', Person(name="Ann", age=3)),
        (int | None, "null", None),
    ],
)
def test_typed_values_read_back_typed_and_raw(annotation, text, value):
    @function
    def typed(s):
        s += "v: " + gen("v", type=annotation)
        return s["v"], s.text_of("v")

    result = typed.run(backend=FakeBackend([text]))
    assert result.value == (value, text) and type(result["v"]) is type(value)
    assert result.text() == "v: " + text


def test_json_schema_reads_back_parsed():
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}

    @function
    def program(s):
        s += (
            "x"
            + gen("d", json_schema=schema)
            + gen("t", json_schema='{"type": "array"}')
            + gen("p", json_schema=Person)
        )

    result = program.run(backend=FakeBackend(['{"a": 1}', "[]", '{"name": "Bo", "age": 4}']))
    assert (result["d"], result["t"], result["p"]) == ({"a": 1}, [], Person(name="Bo", age=4))
    assert schema == {"type": "object", "properties": {"a": {"type": "integer"}}}


def test_gen_int_and_gen_string_and_choices():
    @function
    def program(s):
        s += "x" + ramify.gen_int("i") + ramify.gen_string("t") + gen("c", choices=["a", "b"])

    result = program.run(backend=FakeBackend(["7", "hello", "b"]))
    assert (result["i"], result["t"], result["c"]) == (7, "hello", "b")


def test_a_constrained_value_that_is_cut_off_is_a_truncation_error():
    class Careless(FakeBackend):
        """Cuts as an engine would that does not look at the constraint."""

        def generate(self, request):
            return super().generate(replace(request, constraint=None))

    @function
    def program(s, **options):
        s += "x" + gen("v", max_tokens=3, **options)

    for options, text in [
        ({"regex": "[a-z]{5}"}, "abcde"),
        ({"choices": ["abcde", "x"]}, "abcde"),
        ({"type": list[int]}, "[1, 2]"),
        ({"json_schema": {}}, '{"a": 1}'),
        ({"grammar": 'start: "abcde"'}, "abcde"),
    ]:
        with pytest.raises(ramify.GenError) as caught:
            program.run(**options, backend=Careless([text]))
        assert isinstance(caught.value.__cause__, ramify.TruncationError)
        assert caught.value.partial == text[:3]
    assert program.run(regex="[a-z]+", backend=Careless(["abcde"]))["v"] == "abc"  # what there is satisfies it


def test_several_samples_are_a_tuple_and_one_is_kept_on_purpose():
    @function
    def vote(s):
        s += "2+2=" + gen("n", type=int, n=3)
        numbers = s["n"]
        s.keep("n", numbers.index(max(numbers)))
        s += "!" + gen("after")

    backend = FakeBackend([["3", "5", "4"], "ok"])
    result = vote.run(backend=backend)
    assert result["n"] == (3, 5, 4) and result.text_of("n") == ("3", "5", "4")
    assert result.text() == "2+2=5!ok"
    assert backend.requests[1].prompt == (Text("2+2="), Tokens((ord("5"),), "5"), Text("!"))
    meta = result.meta("n")
    assert [sample.text for sample in meta.samples] == ["3", "5", "4"]
    assert meta.completion_tokens == sum(sample.completion_tokens for sample in meta.samples)


def test_a_sample_can_be_kept_after_its_message_was_closed():
    @function
    def vote(s):
        s += ramify.user("q") + ramify.assistant(gen("a", n=2))
        s.keep("a", 1)
        s += ramify.user("r")

    assert [m["content"] for m in vote.run(backend=FakeBackend([["x", "y"]])).messages()] == ["q", "y", "r"]


def test_going_on_without_keeping_a_sample_is_an_error():
    @function
    def program(s, what):
        s += "x" + gen("v", n=2)
        what(s)

    for what in (lambda s: s.__iadd__("y"), lambda s: s.fork(2), lambda s: s.__iadd__(gen("w"))):
        with pytest.raises(ramify.ProgramError, match=r"keep\('v', index\)"):
            program.run(what, backend=FakeBackend())
    with pytest.raises(ramify.ParameterError, match="samples 0 to 1"):
        program.run(lambda s: s.keep("v", 2), backend=FakeBackend())
    assert program.run(lambda s: None, backend=FakeBackend([["a", "b"]])).text() == "x"


def test_set_in_and_var_scope():
    @function
    def program(s):
        s.set("k", [1])
        with s.var_scope("whole"):
            s += "a" + gen("b") + "c"
        assert "whole" in s and "other" not in s
        return s["whole"], s["k"]

    result = program.run(backend=FakeBackend(["B"]))
    assert result.value == ("aBc", [1]) and result["whole"] == "aBc" and result.meta("whole").text == "aBc"


def test_text_and_messages_can_be_read_while_running():
    @function
    def program(s):
        s += ramify.user("hi")
        before = s.text(), s.messages()
        with s.assistant():
            s += gen("a")
            inside = s.text()
        return before, inside, s.messages()

    before, inside, after = program.run(backend=FakeBackend(["yo"])).value
    assert before == ("<|user|>hi<|end|>\n", [{"role": "user", "content": "hi"}])
    assert inside == "<|user|>hi<|end|>\n<|assistant|>yo"
    assert after[-1] == {"role": "assistant", "content": "yo"}


def test_sampling_defaults_are_laid_under_the_gens_own():
    @function(temperature=0.5, stop=["\n"])
    def program(s):
        s += "x" + gen("a") + gen("b", temperature=0.1)

    def sent(program):
        backend = FakeBackend()
        program.run(backend=backend)
        return [(r.sampling.temperature, r.sampling.max_tokens, r.sampling.stop) for r in backend.requests]

    assert sent(program) == [(0.5, 256, ("\n",)), (0.1, 256, ("\n",))]
    changed = program.with_sampling(max_tokens=5, temperature=0.7)
    assert sent(changed) == [(0.7, 5, ("\n",)), (0.1, 5, ("\n",))]
    assert sent(program)[0][1] == 256
    with pytest.raises(ramify.ParameterError, match="did you mean 'temperature'"):
        program.with_sampling(temprature=1)


def test_none_means_the_default_and_limits_are_checked_together():
    @function
    def program(s, **sampling):
        s += "x" + gen("a", **sampling)

    def sent(program, **sampling):
        backend = FakeBackend()
        program.run(**sampling, backend=backend)
        return backend.requests[0].sampling

    assert sent(program.with_sampling(temperature=0.5, top_p=None), temperature=None, stop=None).temperature == 0.5
    assert sent(program.with_sampling(max_tokens=500), min_tokens=300).min_tokens == 300
    assert sent(program.with_sampling(min_tokens=300), max_tokens=500).min_tokens == 300
    with pytest.raises(ramify.ParameterError, match="min_tokens"):
        sent(program, min_tokens=300)


def test_bind_gives_defaults_and_changes_nothing():
    bound = capital.bind(country="Peru", hint="!")
    assert bound.run(backend=FakeBackend()).text().startswith("The capital of Peru! is")
    assert bound.run("Chile", backend=FakeBackend()).text().startswith("The capital of Chile! is")
    assert bound.run(country="Chile", hint="", backend=FakeBackend()).text().startswith("The capital of Chile is")
    assert capital.bound == {}
    with pytest.raises(ramify.ParameterError, match="did you mean 'country'"):
        capital.bind(county="Peru")


def test_wrong_arguments_are_parameter_errors():
    for call, message in [
        (lambda: capital.run(backend=FakeBackend()), "missing a required argument: 'country'"),
        (lambda: capital.run("a", "b", backend=FakeBackend()), "too many positional"),
        (lambda: capital.run("a", hnt="b", backend=FakeBackend()), "did you mean 'hint'"),
        (lambda: capital.run("a", temperature=0, backend=FakeBackend()), r"with_sampling\(temperature=...\)"),
        (lambda: capital.run("a", backend="fake"), "backend must have"),
        (lambda: capital.run("a", backend=FakeBackend(), timeout=0), "timeout must be"),
    ]:
        with pytest.raises(ramify.ParameterError, match=message):
            call()
    with pytest.raises(ramify.ProgramError, match="needs a first parameter"):
        function(lambda: None)
    with pytest.raises(ramify.ProgramError, match="rename it"):
        function(lambda s, timeout: None)


def test_programs_are_methods():
    class Bot:
        def __init__(self, name):
            self.name = name

        @function(temperature=0)
        def greet(self, s, whom):
            s += f"{self.name} to {whom}:" + gen("text")
            return self

        @staticmethod
        @function
        def plain(s):
            s += "plain"

    bot = Bot("Ann")
    result = bot.greet.run("Bob", backend=FakeBackend([" hi"]))
    assert result.value is bot and result.text() == "Ann to Bob: hi"
    assert Bot.plain.run(backend=FakeBackend()).text() == "plain"
    with pytest.raises(ramify.ProgramError, match="call it on an instance"):
        Bot.greet.run("Bob", backend=FakeBackend())


@function(max_tokens=7)
def ask(s, question, name):
    s += ramify.user(question) + ramify.assistant(gen(name))
    return s[name].upper()


def test_a_program_inlined_into_another():
    backend = FakeBackend(["yes", "no", "maybe"])

    @function
    def outer(s):
        first = ask(s, "Really?", "a")
        s += ask("Sure?", name="b")
        with s.assistant():
            s += gen("c")
        return first

    result = outer.run(backend=backend)
    assert result.value == "YES" and dict(result) == {"a": "yes", "b": "no", "c": "maybe"}
    assert [request.sampling.max_tokens for request in backend.requests] == [7, 7, 256]
    assert [message["content"] for message in result.messages()] == ["Really?", "yes", "Sure?", "no", "maybe"]


def test_a_program_run_inside_another_uses_its_backend():
    backend = FakeBackend(["inner", "outer"])

    @function
    def outer(s):
        inner = capital.run("X")
        s += inner["city"] + gen("y")

    assert outer.run(backend=backend).text() == "innerouter"
    assert len(backend.requests) == 2


def test_nothing_is_left_in_the_context():
    other = FakeBackend(["b"])
    with ramify.use(other):
        capital.run("X", backend=FakeBackend(["a"]))
        assert capital.run("X")["city"] == "b"


def test_no_backend_is_a_clear_error(monkeypatch):
    from ramify.interpreter import default_backend

    monkeypatch.setattr(default_backend, "_DEFAULT", default_backend._Default())
    with pytest.raises(ramify.BackendError, match="set_default_backend"):
        capital.run("X")
    made = []
    default_backend.set_default_factory(lambda: made.append(1) or FakeBackend())
    capital.run("X")
    capital.run("X")
    assert made == [1]
    ramify.set_default_backend(FakeBackend(["mine"]))
    assert capital.run("X")["city"] == "mine"


def test_a_backend_without_a_feature_is_refused_before_anything_is_sent():
    bare = FakeBackend(capabilities=replace(CAPABILITIES, constraints=frozenset(), logprobs=False, scoring=False))
    for expression, message in [
        (gen("x", regex="a"), "cannot enforce a regex constraint"),
        (gen("x", logprobs=1), "does not return log-probabilities"),
        (select("x", ["a", "b"]), "cannot score choices"),
    ]:
        with pytest.raises(ramify.GenError, match=message) as caught:
            function(lambda s, e=expression: s.__iadd__("p").__iadd__(e)).run(backend=bare)
        assert isinstance(caught.value.__cause__, ramify.UnsupportedError)
    assert bare.requests == bare.score_requests == []


def test_expressions_are_reusable():
    answer = "A: " + gen("a", stop="\n") + "\n"

    @function
    def program(s):
        left, right = s.fork(2)
        left += answer
        right += answer
        return left["a"], right["a"]

    assert program.run(backend=FakeBackend(["1", "2"])).value == ("1", "2")
