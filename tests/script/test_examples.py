"""The scripts in examples/ run on the embedded model, and their Python twins send the same requests."""

from __future__ import annotations

import runpy
from typing import Any

import pytest

import ramify
from ramify.lang.script import check, format_script

PERSON = "Ada is 31 years old, lives in Paris and works as a pilot."
ARTICLES = [
    {"title": "France", "text": "The capital of France is Paris."},
    {"title": "Japan", "text": "The currency of Japan is the yen."},
]
ARGUMENTS: dict[str, dict[str, Any]] = {
    "triage": {"ticket": "The server returns an error. All our users are affected.", "teams": ["billing", "technical"]},
    "self_check": {"sum": "7 + 8?"},
    "document_review": {"document": PERSON, "questions": ["How old is Ada?", "Where does Ada live?"]},
    "tree_of_thought": {"topic": "writing well"},
    "extract_record_script": {"text": PERSON},
    "react": {"question": "What is the capital of France?", "articles": ARTICLES},
}


def test_every_script_has_a_twin(examples):
    names = sorted(path.stem for path in examples.glob("*.rmf"))
    assert names == sorted(ARGUMENTS)
    assert all((examples / f"{name}.py").is_file() for name in names)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_scripts_are_clean_and_formatted(examples, name):
    text = (examples / f"{name}.rmf").read_text(encoding="utf-8")
    assert check(text, name) == []
    assert format_script(text) == text


@pytest.mark.parametrize("name", ARGUMENTS)
def test_twins_send_the_same_requests(examples, run, name):
    script = ramify.load_script(examples / f"{name}.rmf")
    twin = runpy.run_path(str(examples / f"{name}.py"))[name]
    for seed in range(6):  # the invented answers take other arms
        ours, our_requests = run(script, ARGUMENTS[name], seed=seed)
        theirs, their_requests = run(twin, ARGUMENTS[name], seed=seed)
        assert our_requests == their_requests
        assert (ours.value, ours.text()) == (theirs.value, theirs.text())


WHAT_THEY_SAY = {
    "triage": lambda value: value["urgency"] == "high" and value["team"] == "technical" and value["tip"].endswith("."),
    "self_check": lambda value: value["answer"] == 15 and len(value["votes"]) == 3,
    "document_review": lambda value: value["names"] == {"name": "Ada", "city": "Paris"} and "31" in value["answers"][0],
    "tree_of_thought": lambda value: (
        value["best"] in value["tips"] and [len(t) for t in value["thoughts"]] == [2, 2, 2]
    ),
    "extract_record_script": lambda value: value["person"]["job"] == "pilot" and value["is_adult"] is True,
    "react": lambda value: value == {"title": "France", "answer": "Paris"},
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_on_the_embedded_model(examples, engine, capsys, name):
    greedy = {"temperature": 0, "max_tokens": 60}
    value = ramify.load_script(examples / f"{name}.rmf").with_sampling(**greedy).run(**ARGUMENTS[name]).value
    assert WHAT_THEY_SAY[name](value), value
    runpy.run_path(str(examples / f"{name}.py"), run_name="__main__")  # prints each value twice: script, twin
    lines = capsys.readouterr().out.splitlines()
    assert lines and lines[::2] == lines[1::2]
