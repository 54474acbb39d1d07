"""Graphs as JSON: stable (golden files), refused by path, never executed, and nothing but typed errors for nonsense."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ramify
from ramify import FakeBackend, RequestGraph, function, gen, select
from ramify.lang.graph import Limits

GOLDEN = Path(__file__).parent / "golden"


class Size(Enum):
    SMALL = "small"
    LARGE = 7


class Point(TypedDict):
    x: int


@dataclass
class Person:
    name: str
    born: date


@function(temperature=0)
def everything(s, topic, note="x"):
    s += ramify.system("Be brief.") + ramify.user(f"About {topic:>8}, {note}")
    with s.assistant(), s.var_scope("all"):
        s += gen("ideas", max_tokens=9, n=2, stop=["\n", "."], logit_bias={3: -1.5}, seed=4)
        s.keep("ideas", 1)
        branches = s.fork(2)
        for i, branch in enumerate(branches):
            branch += f"Tip {i}: " + gen("tip", type=int) + branch["ideas"][0]
        branches.join()
        s += "é" + gen(regex="[a-z]+") + gen("p", type=Point, max_tokens=30)
        s += select("mood", ["good", s["ideas"][0]], method="greedy_token_selection")
    s.set("k", {"mood": s["mood"], "list": [1, (2.5, None), True]})
    return s["k"], s["tip"]


@pytest.fixture(params=["everything", "control"])
def golden(request, control_graph):
    return request.param, everything.compile() if request.param == "everything" else control_graph


def test_it_is_what_it_was(golden):
    name, graph = golden
    expected = (GOLDEN / f"{name}.json").read_text(encoding="utf-8")
    assert graph.to_json(indent=1) + "\n" == expected
    again = RequestGraph.from_json(expected)
    assert again == graph and again.to_json(indent=1) + "\n" == expected
    again.verify()


def test_types_are_read_back():
    kinds = {"i": int, "f": float, "b": bool, "s": str, "l": Literal["a", 1, None], "e": Size, "li": list[int]}
    answers = ["3", "2.5", "true", "text", "1", "7", "[1, 2]", '{"x":1}', '{"name":"Ann","born":"2020-01-02"}']
    answers += ["2020-01-02", "aa", '{"y": 1}']

    @function
    def program(s):
        s += "x"
        for name, kind in kinds.items():
            s += gen(name, type=kind)
        s += gen("d", type=Point) + gen("c", type=Person) + gen("day", type=date) + gen("r", regex="a+")
        s += gen("j", json_schema={"type": "object"})

    live = dict(program.run(backend=FakeBackend(answers)))
    decoded = dict(RequestGraph.from_json(program.compile().to_json()).run(backend=FakeBackend(answers)))
    assert live["e"] is Size.LARGE and decoded["e"] == 7  # its own classes stay with the program
    assert live["c"] == Person("Ann", date(2020, 1, 2)) and decoded["c"] == {"name": "Ann", "born": "2020-01-02"}
    assert live["day"] == date(2020, 1, 2) and decoded["day"] == "2020-01-02"
    same = live.keys() - {"e", "c", "day"}
    assert {name: (live[name], type(live[name])) for name in same} == {
        name: (decoded[name], type(decoded[name])) for name in same
    }


def test_a_value_without_a_json_form_is_refused_by_its_place():
    with pytest.raises(
        ramify.ProgramError, match=r"node 0 \(Set\) \(.*test_json.py:\d+\) holds a value of type object"
    ):
        function(lambda s: s.set("k", object())).compile().to_json()
    with pytest.raises(ramify.ProgramError, match=r"the graph's result holds the number inf"):
        function(lambda s: float("inf")).compile().to_json()
    with pytest.raises(ramify.ProgramError, match="holds a value of type dict"):
        function(lambda s: {1: 2}).compile().to_json()


def changed(plain: Any, *path: str | int, value: Any) -> str:
    found = plain = copy.deepcopy(plain)
    for key in path[:-1]:
        found = found[key]
    found[path[-1]] = value
    return json.dumps(plain)


WRONG = [
    (("version",), 2, "version is 2; this release reads graphs of version 1"),
    (("version",), True, "version is True"),
    (("surprise",), 1, "the graph has no field 'surprise'"),
    (("end",), 5, "ends at node 5, but its main prompt ends at node"),
    (("end",), "x", "end has to be an integer, not a string"),
    (("nodes",), {}, "nodes has to be a list, not an object"),
    (("nodes", 1, "op"), "fil", r"nodes\[1\].op is 'fil', which is no operation \(did you mean 'fill'\?\)"),
    (("nodes", 1, "valu"), 1, r"nodes\[1\] has no field 'valu' \(did you mean 'value'\?\)"),
    (("nodes", 1, "parent"), 7, r"node 1 \(Fill\) has parent 7"),
    (("nodes", 1, "parent"), 0.5, r"nodes\[1\].parent has to be an integer, not a number"),
    (("nodes", 1, "value"), {"ref": 0}, r"nodes\[1\].value lacks the field 'name'"),
    (("nodes", 1, "value"), {"what": 0}, r"nodes\[1\].value is no value"),
    (("nodes", 1, "value"), {"apply": "eval", "to": ["1"]}, "applies 'eval', which is not a function"),
    (("nodes", 1, "value"), {"input": "nobody"}, "reads 'nobody', which is not an input"),
    (("nodes", 1, "value"), "\ud800", r"nodes\[1\].value is broken: .*surrogate"),
    (("nodes", 10, "sampling", "max_tokens"), -1, r"nodes\[10\].sampling: max_tokens must be at least 0"),
    (("nodes", 10, "sampling", "top_q"), 1, r"nodes\[10\].sampling has no field 'top_q' \(did you mean 'top_p'\?\)"),
    (("nodes", 10, "constraint"), {"regex": "("}, r"nodes\[10\].constraint.regex: regex '\(' is not a valid pattern"),
    (("nodes", 10, "constraint"), {"regex": "a", "choices": []}, "has to be an object with one of regex"),
    (("nodes", 10, "type"), "pickle", r"nodes\[10\].type has to be one of int, float"),
    (("nodes", 10, "type"), {"members": [[]]}, r"nodes\[10\].type.members\[0\] has to be a string"),
    (("inputs", 0, "schema"), "{", r"inputs\[0\].schema: json_schema is not a JSON document"),
    (("inputs", 0, "name"), "a b", "'a b' is no name for an input"),
]


@pytest.mark.parametrize(("path", "value", "message"), WRONG, ids=[str(case[0][-1]) for case in WRONG])
def test_what_is_wrong_is_refused_by_its_path(path, value, message):
    plain = json.loads((GOLDEN / "everything.json").read_text(encoding="utf-8"))
    with pytest.raises(ramify.ProgramError, match=message):
        RequestGraph.from_json(changed(plain, *path, value=value))


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '{"version": NaN}', "[" * 100_000, "1" * 5000, b"\xff"])
def test_what_is_no_graph_at_all(text):
    with pytest.raises(ramify.ProgramError):
        RequestGraph.from_json(text)


def test_limits_hold_after_decoding(control_graph):
    text = control_graph.to_json()
    for limits, message in (
        (Limits(nodes=10), "more than the 10 nodes"),
        (Limits(nesting=1), "nested more than 1 blocks"),
        (Limits(passes=4), "at most 4 are allowed"),
        (Limits(forks=7), "at most 7 are allowed"),
        (Limits(characters=20), "more than 20 characters"),
        (Limits(tokens=100), r"may generate 120 tokens; at most 100"),
    ):
        with pytest.raises(ramify.ProgramError, match=message):
            RequestGraph.from_json(text, limits)
    assert RequestGraph.from_json(text, Limits(tokens=120)) == control_graph


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 40) | st.floats(allow_nan=False) | st.sampled_from(["", "x", "fill"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["ref", "name", "to"]), inner),
    max_leaves=4,
)


def places(found: Any, path: tuple[str | int, ...] = ()):
    yield path
    items = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


@settings(max_examples=250)
@given(data=st.data(), name=st.sampled_from(["everything", "control"]))
def test_mutated_json_is_a_graph_or_a_typed_error(data, name):
    plain = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(places(plain))[1:]))
        found = plain
        for key in path[:-1]:
            found = found[key]
        if data.draw(st.booleans()):
            del found[path[-1]]
        else:
            found[path[-1]] = data.draw(JSON)
    try:
        graph = RequestGraph.from_json(json.dumps(plain))
    except ramify.ProgramError:
        return
    assert RequestGraph.from_json(graph.to_json()) == graph
    str(graph)
