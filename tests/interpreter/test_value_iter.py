"""Values while they are generated: from streams and states, sync and async, and how they end."""

from __future__ import annotations

import datetime
import itertools
from dataclasses import dataclass

import pytest

import ramify
from ramify import FakeBackend, function, gen


@dataclass
class Stay:
    guest: str
    nights: list[datetime.date]


TEXT = '{"guest": "Ada Lovelace", "nights": ["2024-02-28", "2024-02-29"]}'
DAYS = [datetime.date(2024, 2, 28), datetime.date(2024, 2, 29)]
PARTS = [
    {"guest": "Ada Lovelace"},
    {"guest": "Ada Lovelace", "nights": DAYS[:1]},
    {"guest": "Ada Lovelace", "nights": DAYS},
    Stay("Ada Lovelace", DAYS),
]


@function
def book(s, **parameters):
    s += "Stay: " + gen("stay", **({"type": Stay} | parameters))


def backend(*texts):
    return FakeBackend(list(texts or [TEXT]), piece_len=1)


def test_a_stream_yields_the_parts_and_at_last_the_value():
    stream = book.stream(backend=backend())
    assert list(stream.value_iter("stay")) == PARTS
    assert list(stream.value_iter("stay")) == PARTS  # every reader has it from the start
    assert stream["stay"] == PARTS[-1]


async def test_an_async_stream_does_so_too():
    stream = book.astream(backend=backend())
    assert [value async for value in stream.value_iter("stay")] == PARTS


def test_a_body_reads_its_own_values():
    @function
    def act(s):
        s += "Stay: " + gen("stay", type=Stay)
        return list(s.value_iter("stay"))

    @function
    async def act_async(s):
        s += "Stay: " + gen("stay", type=Stay)
        return [value async for value in s.value_iter("stay")]

    assert act.run(backend=backend()).value == PARTS
    assert act_async.run(backend=backend()).value == PARTS


def test_open_strings_grow():
    seen = list(book.stream(backend=backend()).value_iter("stay", open_strings=True))
    assert {"guest": "Ada Lo"} in seen
    assert [value for value, _ in itertools.groupby(seen) if value in PARTS] == PARTS


def test_each_sample_has_its_values():
    stream = book.stream(n=2, backend=backend([TEXT, TEXT.replace("Ada", "Bob")]))
    assert next(stream.value_iter("stay", sample=1)) == {"guest": "Bob Lovelace"}
    assert list(stream.value_iter("stay", sample=0)) == PARTS
    with pytest.raises(ramify.ParameterError, match="no sample 2"):
        list(stream.value_iter("stay", sample=2))


@pytest.mark.parametrize(
    ("parameters", "text", "values"),
    [
        ({"type": int}, "12", [12]),
        ({"type": datetime.date}, "2024-02-29", [DAYS[1]]),
        ({"type": str}, "ab", ["ab"]),
        ({"type": None, "regex": "[ab]+"}, "ab", ["ab"]),
        ({"type": None, "json_schema": {"type": "array"}}, "[1, [2]]", [[1], [1, [2]], [1, [2]]]),
        ({"type": None}, "ab", ["ab"]),
    ],
    ids=str,
)
def test_values_of_other_gens(parameters, text, values):
    assert list(book.stream(backend=backend(text), **parameters).value_iter("stay")) == values


def test_text_grows_when_asked_for():
    stream = book.stream(backend=backend("abc"), type=None)
    assert list(stream.value_iter("stay", open_strings=True)) == ["a", "ab", "abc", "abc"]


def test_variables_that_are_not_generated_have_their_value():
    @function
    def act(s):
        s += "x"
        s.set("given", [1])
        s += ramify.select("chosen", ["a"])

    stream = act.stream(backend=FakeBackend())
    assert list(stream.value_iter("given")) == [[1]]
    assert list(stream.value_iter("chosen")) == ["a"]
    with pytest.raises(ramify.VariableError, match="without defining 'stay'"):
        list(stream.value_iter("stay"))


def test_parts_come_before_the_failure():
    broken = FakeBackend([TEXT], piece_len=1, failures={0: (30, ramify.DeadEndError("the end"))})
    parts = book.stream(backend=broken).value_iter("stay")
    assert next(parts) == PARTS[0]
    with pytest.raises(ramify.GenError, match="the end") as raised:
        list(parts)
    assert raised.value.partial == TEXT[:30]

    wrong = book.stream(backend=backend(TEXT.replace("02-29", "02-31"))).value_iter("stay")
    assert next(wrong) == PARTS[0]
    with pytest.raises(ramify.GenError, match=r"nights\[1\]: Input should be a valid date.*got '2024-02-31'") as raised:
        list(wrong)
    assert isinstance(raised.value.__cause__, ramify.ParseError)


def test_a_value_that_is_cut_off_keeps_its_text():
    with pytest.raises(ramify.GenError, match="max_tokens=30 ended the") as raised:
        book.with_sampling(max_tokens=30).run(backend=backend())
    assert isinstance(raised.value.__cause__, ramify.TruncationError)
    assert raised.value.__cause__.partial == raised.value.partial == TEXT[:30]


def test_values_are_not_known_while_tracing():
    @function
    def act(s):
        s += "x" + gen("stay", type=Stay)
        list(s.value_iter("stay"))

    with pytest.raises(ramify.TraceError, match="value_iter"):
        act.trace()


@pytest.mark.parametrize("strict", [True, False])
def test_values_of_schemas_are_validated_whatever_the_backend_held(strict):
    schema = {
        "properties": {"a": {"items": {"enum": [1, 2]}}, "b": {"multipleOf": 0.1}, "c": {"format": "date"}},
        "required": ["a"],
    }

    def answer(text):
        return book.run(backend=backend(text), type=None, json_schema=schema, strict=strict)["stay"]

    assert answer('{"a": [1, 2], "b": 1233.1}') == {"a": [1, 2], "b": 1233.1}
    for text, reason in [
        ("{}", "'a' is a required property"),
        ('{"a": [1, 3]}', r"a\[1\]: 3 is not one of \[1, 2\]"),
        ('{"a": [], "b": 0.15}', "b: 0.15 is not a multiple of 0.1"),
        ('{"a": [], "c": "2023-02-29"}', "c: '2023-02-29' is not a 'date'"),
        ('{"a": NaN}', "NaN is no JSON value"),
    ]:
        with pytest.raises(ramify.GenError, match=reason) as raised:
            answer(text)
        assert isinstance(raised.value.__cause__, ramify.ParseError)
        assert raised.value.partial == text


def test_what_no_mask_holds_is_checked_at_the_end():
    schema = {"type": "array", "items": {"not": {"const": 3}}, "uniqueItems": True}
    asked = {"type": None, "json_schema": schema, "strict": False}
    assert book.run(backend=backend("[1, 2]"), **asked)["stay"] == [1, 2]
    with pytest.raises(ramify.GenError, match=r"\[1, 1\] has non-unique elements"):
        book.run(backend=backend("[1, 1]"), **asked)
    with pytest.raises(ramify.GenError, match=r"\[0\]: 3 should not be valid under"):
        book.run(backend=backend("[3]"), **asked)
    assert book.run(backend=backend('["a", "a"]'), type=set[str], strict=False)["stay"] == {"a"}
