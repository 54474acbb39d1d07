"""`ramify check`, `fmt`, `explain`, and scripts under `run`: what is printed where, and the exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pytest

GOOD = """\
@program triage(ticket: str, teams: list[str]) -> str
@system
You sort support tickets.
@user
Ticket: {{ticket}}
@assistant
Team: {{select team from teams}}
@return team
"""
UNTIDY = GOOD.replace("(ticket: str, teams", "( ticket:str,teams").replace("{{ticket}}", "{{ ticket }}")
BAD = GOOD.replace("@system", "@sytem").replace("{{ticket}}", "{{tikcet}}")
PROGRAMS = """
    import ramify

    @ramify.function
    def fine(s, x):
        s += f"{x}" + ramify.gen("y")

    @ramify.function
    def decides(s, x):
        s += ramify.gen("y")
        if s["y"] == x:
            s += "!"

    @ramify.function
    def wrong(s):
        s += ramify.gen("y") + ramify.gen("y")
"""


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.rmf").write_text(GOOD)
    (tmp_path / "untidy.rmf").write_text(UNTIDY)
    (tmp_path / "bad.rmf").write_text(BAD)
    (tmp_path / "programs.py").write_text(textwrap.dedent(PROGRAMS))
    return tmp_path


# ---- check -----------------------------------------------------------------------------------------------------------


def test_a_good_script_is_ok(call, files):
    assert call("check", "good.rmf") == (0, "good.rmf: ok\n", "")
    assert call("check", "-", stdin=GOOD)[:2] == (0, "-: ok\n")


def test_a_bad_script_is_told_place_by_place(call, files):
    code, out, err = call("check", "bad.rmf", "good.rmf")
    assert code == 2
    assert "bad.rmf:2:1: error[E001]: unknown directive '@sytem'\n 2 | @sytem\n   | ^^^^^^\n   = did you mean" in out
    assert "bad.rmf:5:11: error[E010]: unknown name 'tikcet'" in out and out.endswith("good.rmf: ok\n")
    assert err == "2 files, 2 errors, 0 warnings\n" and "\x1b" not in out + err


def test_findings_as_json_for_editors(call, files):
    code, out, _ = call("check", "bad.rmf", "programs.py", "--format", "json")
    first, second, *of_python = json.loads(out)
    assert code == 2 and (first["code"], first["file"], first["line"], first["column"]) == ("E001", "bad.rmf", 2, 1)
    assert second["hint"] == "did you mean 'ticket'?"
    assert [(item["code"], item["severity"], item["line"]) for item in of_python] == [
        ("TraceError", "warning", 11),
        ("VariableError", "error", 16),
    ]
    assert set(of_python[0]) == set(first)
    assert json.loads(call("check", "good.rmf", "--format", "json")[1]) == []


def test_programs_are_traced_and_verified(call, files):
    assert call("check", "programs.py:fine") == (0, "programs.py:fine: ok\n", "")
    code, out, _ = call("check", "programs.py:decides")
    assert code == 0 and out.startswith("programs.py:decides: warning: it runs, but cannot be compiled: ")
    assert call("check", "programs.py:decides", "--strict")[0] == 2
    code, out, _ = call("check", "programs.py:wrong")
    assert code == 2 and "programs.py:wrong: error: " in out and "programs.py:16" in out


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("broken.py", "def f(:\n", "SyntaxError"),
        ("raises.py", "1 / 0\n", "ZeroDivisionError: division by zero (raises.py:1)"),
        ("empty.py", "x = 1\n", "holds no program"),
    ],
)
def test_files_that_cannot_be_imported_are_findings(call, files, name, text, message):
    (files / name).write_text(text)
    code, out, err = call("check", name)
    assert code == 2 and message in out and "Traceback" not in out + err


def test_graphs_are_verified(call, files):
    call("graph", "good.rmf", "-o", "good.json")
    assert call("check", "good.json") == (0, "good.json: ok\n", "")
    (files / "broken.json").write_text((files / "good.json").read_text().replace('"parent": 0', '"parent": 99'))
    code, out, _ = call("check", "broken.json")
    assert code == 2 and out.startswith("broken.json: error: ") and "99" in out


def test_folders_stand_for_their_scripts(call, files):
    (files / "more" / "deep").mkdir(parents=True)
    (files / "more" / "deep" / "x.rmf").write_text(GOOD)
    assert call("check", "more") == (0, "more/deep/x.rmf: ok\n", "")
    (files / "none").mkdir()
    assert call("check", "none")[0] == 2


def test_files_that_are_not_there(call, files):
    for command in (["check"], ["fmt"], ["explain"], ["run"]):
        code, out, err = call(*command, "nowhere.rmf")
        assert (code, out) == (2, "") and "nowhere.rmf" in err and "Traceback" not in err


# ---- fmt -------------------------------------------------------------------------------------------------------------


def test_fmt_writes_what_is_untidy_and_nothing_else(call, files):
    before = os.stat(files / "good.rmf")
    os.chmod(files / "untidy.rmf", 0o640)
    code, out, err = call("fmt", "good.rmf", "untidy.rmf")
    assert (code, out) == (0, "") and err == "untidy.rmf: formatted\n1 of 2 files formatted\n"
    assert (files / "untidy.rmf").read_text() == GOOD and os.stat(files / "untidy.rmf").st_mode & 0o777 == 0o640
    assert os.stat(files / "good.rmf").st_mtime_ns == before.st_mtime_ns
    assert call("fmt", "good.rmf", "untidy.rmf")[2] == "0 of 2 files formatted\n"
    assert not [path for path in files.iterdir() if path.name.startswith(".")]


def test_fmt_follows_links_and_keeps_them(call, files):
    (files / "link.rmf").symlink_to(files / "untidy.rmf")
    call("fmt", "link.rmf")
    assert (files / "link.rmf").is_symlink() and (files / "untidy.rmf").read_text() == GOOD


def test_fmt_of_stdin_goes_to_stdout(call, files):
    assert call("fmt", "-", stdin=UNTIDY) == (0, GOOD, "")


def test_fmt_check_and_diff_write_nothing(call, files):
    code, out, err = call("fmt", "untidy.rmf", "--check")
    assert (code, out, err) == (1, "", "untidy.rmf: would change\n") and call("fmt", "good.rmf", "--check")[0] == 0
    code, out, _ = call("fmt", "untidy.rmf", "--diff")
    assert code == 1 and "--- untidy.rmf\n+++ untidy.rmf (formatted)\n" in out
    assert "-Ticket: {{ ticket }}\n+Ticket: {{ticket}}\n" in out
    assert (files / "untidy.rmf").read_text() == UNTIDY


def test_fmt_leaves_a_broken_script_and_goes_on(call, files):
    code, _, err = call("fmt", "bad.rmf", "untidy.rmf")
    assert code == 2 and "error[E001]" in err and (files / "bad.rmf").read_text() == BAD
    assert (files / "untidy.rmf").read_text() == GOOD
    assert call("fmt", "programs.py")[0] == 2


# ---- explain and run -------------------------------------------------------------------------------------------------


def test_explain_prints_a_program_that_runs(call, files):
    code, out, err = call("explain", "good.rmf", "--python")
    assert (code, err) == (0, "") and "@ramify.function\ndef triage(s, ticket: str, teams: list[str]):" in out
    (files / "twin.py").write_text(out)
    arguments = ["--backend", "fake", "-i", "ticket=Help", "-i", 'teams=["a", "b"]', "--json"]
    assert call("run", "twin.py", *arguments) == call("run", "good.rmf", *arguments)


def test_explain_tells_what_a_code_means(call, files):
    assert call("explain", "e010") == (0, "E010: There is no such name here.\n", "")
    code, _, err = call("explain", "E999")
    assert code == 2 and "there is no code E999" in err
    assert call("explain", "bad.rmf")[0] == 2
    code, _, err = call("explain", "programs.py")
    assert code == 2 and "programs.py is neither a script (.rmf) nor a code" in err


def test_a_script_runs_with_typed_inputs(call, files):
    code, out, err = call("run", "good.rmf", "--backend", "fake", "-i", "ticket=Help", "-i", 'teams=["a", "b"]')
    assert (code, err) == (0, "") and out.splitlines()[0] in ("team: a", "team: b")
    for given, message in (
        ("teams=a", "teams='a' is not of type list[str]"),
        ("teams=[1]", "not of type"),
        ("teem=a", "did you mean"),
    ):
        code, out, err = call("run", "good.rmf", "--backend", "fake", "-i", "ticket=Help", "-i", given)
        assert (code, out) == (2, "") and message in err


def test_records_are_inputs_of_a_script_and_of_its_twin(call, files):
    (files / "either.rmf").write_text("@program p(x: {a: int} | {b: str})\n{{x}}{{gen y, max=2}}\n")
    (files / "either.py").write_text(call("explain", "either.rmf", "--python")[1])
    for name in ("either.rmf", "either.py"):
        code, out, err = call("run", name, "--backend", "fake", "-i", 'x={"b": "q"}', "--json")
        assert (code, err) == (0, "") and out.startswith("{") and json.loads(out)["text"].startswith('{"b": "q"}')
        code, _, err = call("run", name, "--backend", "fake", "-i", "x={}")
        assert code == 2 and "x='{}' is not of type" in err and "ramify" not in err.rpartition("Error:")[2]


def test_a_script_with_errors_does_not_run(call, files):
    code, out, err = call("run", "bad.rmf", "--backend", "fake", "-i", "ticket=x")
    assert (code, out) == (2, "") and "error[E001]" in err and err.endswith("2 errors\n")


def test_a_script_runs_over_rows(call, files, write_rows):
    rows = write_rows([{"ticket": "a", "teams": ["x"]}, {"ticket": "b", "teams": []}, {"ticket": "c", "teams": "x"}])
    code, out, _ = call("run", "good.rmf", "--backend", "fake", "--inputs", rows)
    lines = sorted(map(json.loads, out.splitlines()), key=lambda line: line["index"])
    assert code == 4 and [line["ok"] for line in lines] == [True, False, False]
    assert lines[0]["value"] == "x" and "teams" in lines[2]["error"]["message"]


# ---- graph -----------------------------------------------------------------------------------------------------------


def test_a_graph_in_words_and_as_json_that_runs(call, files):
    code, out, err = call("graph", "good.rmf")
    assert (code, err) == (0, "") and "fill 'Ticket: '" in out and "select team from {teams}" in out
    assert call("graph", "good.rmf", "-o", "good.json") == (0, "", "")
    assert (files / "good.json").read_text() == call("graph", "good.rmf", "--format", "json")[1]
    arguments = ["--backend", "fake", "-i", "ticket=Help", "-i", 'teams=["a", "b"]', "--json"]
    assert call("run", "good.json", *arguments) == call("run", "good.rmf", *arguments)


def test_arguments_that_are_given_are_part_of_the_graph(call, files):
    code, out, _ = call("graph", "good.rmf", "-i", "ticket=My own")
    assert code == 0 and "'My own'" in out and "{teams}" in out
    assert "'My own'" in call("graph", "programs.py:fine", "-i", "x=My own")[1]


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("g.txt", "input ticket: "),
        ("g.json", "{"),
        ("g.mmd", "flowchart"),
        ("g.mermaid", "flowchart"),
        ("g.dot", "digraph"),
        ("g.gv", "digraph"),
        ("g.svg", "<svg"),
        ("g.html", "<!doctype html>"),
    ],
)
def test_the_name_of_the_file_says_in_which_form(call, files, name, start):
    assert call("graph", "good.rmf", "-o", name) == (0, "", "")
    text = (files / name).read_text()
    assert text.lower().startswith(start) and text.endswith("\n") and "ticket" in text


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["good.rmf", "--tokens", "--format", "dot"], 2, "--tokens counts for text, svg, html, not for dot"),
        (["good.rmf", "--tokens", "--backend", "fakee"], 3, "did you mean 'fake'"),
        (["good.rmf", "-o", "x.jsn"], 2, "does not say in which form (did you mean '.json'?)"),
        (["good.rmf", "-o", "nowhere/x.json"], 2, "cannot write nowhere/x.json"),
        (["good.rmf", "-i", "tikcet=x"], 2, "did you mean 'ticket'"),
        (["programs.py"], 2, "several programs: fine, decides, wrong"),
        (["programs.py:decides"], 1, "programs.py:11"),
        (["bad.rmf"], 2, "error[E001]"),
        (["good.rmf:triage"], 2, "good.rmf is one program; leave out :triage"),
        (["good.rmf", "--tokens", "--backend", "fake", "--model", "x"], 2, "loads no model; leave out --model"),
        (["broken.json"], 1, "JSON"),
    ],
)
def test_what_has_no_graph(call, files, arguments, code, message):
    (files / "broken.json").write_text("{")
    found, out, err = call("graph", *arguments)
    assert (found, out) == (code, "") and message in err and "Traceback" not in err


WITHOUT_AN_ENGINE = """
import sys
from ramify.__main__ import main

for command in ("check", "fmt", "explain", "graph"):
    try:
        main([command, "good.rmf"])
    except SystemExit as end:
        assert not end.code, (command, end.code)
print(*sys.modules)
"""


def test_looking_at_scripts_loads_no_engine(files):
    done = subprocess.run([sys.executable, "-c", WITHOUT_AN_ENGINE], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not {"torch", "transformers", "numpy", "uvicorn"} & set(done.stdout.splitlines()[-1].split())
