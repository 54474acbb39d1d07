"""Every example runs on the embedded model, offline, and what it prints is right in substance."""

from __future__ import annotations

import ast
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import ramify

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py"))


@pytest.fixture(scope="module")
def engine():
    with ramify.Engine() as made:
        yield made


@pytest.fixture
def output_of(engine, capsys):
    """Run an example as a script; where it makes no engine of its own, on the one of this module."""

    def run(name):
        with ramify.use(engine):
            runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    return run


def percentage(text):
    return int(re.search(r"(\d+)%", text)[1])


def test_each_is_short_and_has_a_docstring():
    assert NAMES
    for name in NAMES:
        source = (EXAMPLES / f"{name}.py").read_text()
        assert len(source.splitlines()) <= 60 and source.startswith('"""')


def test_quickstart(output_of):
    out = output_of("quickstart")
    lines = dict(re.findall(r"^(\S[^:]*): +(.*)$", out, re.MULTILINE))
    assert (lines["Urgency"], lines["Team"]) == ("high", "technical")
    assert sum(map(int, re.findall(r"(\d+)% (?:billing|technical|sales)$", out, re.MULTILINE))) in range(99, 102)
    assert all(re.fullmatch(r"[A-Z][a-z ]+\.", lines[f"Tip {number}"]) for number in (1, 2))
    assert lines["Tip 1"] != lines["Tip 2"]
    assert "server error" in lines["Summary"] and lines["Summary"].endswith(".")
    assert lines["3 + 4"] == "7, an int"
    assert percentage(lines["Cache"]) >= 50


def test_few_shot_batch(output_of):
    *rows, last = output_of("few_shot_batch").splitlines()
    assert [row.split()[0] for row in rows] == ["positive", "negative"] * 4
    assert percentage(last) >= 60


def test_multi_turn_chat(output_of):
    out = output_of("multi_turn_chat")
    answers = re.findall(r"^Ramify: (.*)$", out, re.MULTILINE)
    for answer, word in zip(answers, ["Mara", "Tokyo", "12", "Mara", "Oslo"], strict=True):
        assert word in answer
    prompt, cached = map(int, re.search(r"prompt's (\d+) tokens, (\d+)", out).groups())
    assert cached / prompt > 0.8


def test_fork_join_tips(output_of):
    *tips, last = output_of("fork_join_tips").splitlines()
    assert [tip[:3] for tip in tips] == ["1. ", "2. ", "3. "]
    for tip in tips:
        title, paragraph = tip[3:].split(". ", 1)
        assert len(title.split()) >= 2 and len(paragraph.split()) >= 6 and paragraph.endswith(".")
    assert len({tip[3:] for tip in tips}) == 3
    prompt, cached = map(int, re.search(r"branch's (\d+) prompt tokens, (\d+)", last).groups())
    assert cached / prompt > 0.7


def test_react_agent(output_of):
    traces = output_of("react_agent").strip().split("\n\n")
    assert [trace.rpartition("Answer: ")[2] for trace in traces] == ["Paris", "56", "yen"]
    assert "Action: lookup[France]\nObservation: The capital of France is Paris." in traces[0]
    assert "Action: calculate[7 x 8]\nObservation: 56" in traces[1]
    assert "Action: lookup[Japan]" in traces[2]


def test_extract_record(output_of):
    *lines, refused = output_of("extract_record").splitlines()
    people = ["'Ada', age=31, city='Paris', job='pilot'", "'Tom', age=45, city='Rome', job='nurse'"]
    assert [line for line in lines if line.startswith("Person(")][:2] == [f"Person(name={person})" for person in people]
    partials = [ast.literal_eval(line) for line in lines if line.startswith("{")]
    whole = {"name": "Ada", "age": 31, "city": "Paris", "job": "pilot"}
    assert len(partials) >= 2 and all(partial.items() <= whole.items() for partial in partials)
    assert lines[-1] == "name='Ada' age=31 city='Paris' job='pilot'"
    assert refused.startswith("Refused: type list[Pet], at [].tags: set[str] cannot be enforced")


def test_labelled_list(output_of):
    *items, labels = output_of("labelled_list").splitlines()
    pairs = [tuple(item.split()) for item in items]
    right = {("salmon", "fish"), ("pig", "mammal"), ("crocodile", "reptile"), ("duck", "bird"), ("bee", "insect")}
    right |= {("camel", "mammal"), ("sheep", "mammal"), ("butterfly", "insect"), ("penguin", "bird"), ("crow", "bird")}
    assert len(pairs) == 5 and len(right & set(pairs)) >= 4
    assert sum(map(int, re.findall(r"\d+", labels))) == 5


def test_sql_query(output_of):
    blocks = re.findall(r"^(\S.*)\n  (SELECT .*;)\n  (\[.*\])$", output_of("sql_query"), re.MULTILINE)
    assert len(blocks) == 4
    answers = [rows for _, _, rows in blocks]
    assert answers[:3] == ["[('Paris',)]", "[('yen',)]", "[('Kenya',), ('Egypt',)]"]
    assert "name = 'Brazil'" in blocks[3][1] and answers[3].count("',)") == 1


def test_a_script_runs_from_anywhere_and_ends(tmp_path):
    """As a user starts it: a process of its own, with the default engine made and closed for it."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "react_agent.py")], cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("Answer: ") == 3
