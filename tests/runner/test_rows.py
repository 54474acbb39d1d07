"""`ramify run --inputs`: every row's line, what goes on after an earlier run, and the exit codes."""

from __future__ import annotations

import json
import os
import textwrap

import pytest

PROGRAM = """
    from typing import Literal
    import ramify

    @ramify.function
    def ask(s, word: str, times: int = 1, mood: Literal["good", "bad"] = "good"):
        if word == "wrong":
            raise ValueError("a wrong word")
        s += ramify.user(word) + ramify.assistant("It is " + ramify.gen("answer", max_tokens=8))
        return s["answer"] * times
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    path = tmp_path / "ask.py"
    path.write_text(textwrap.dedent(PROGRAM))
    monkeypatch.chdir(tmp_path)
    return path


@pytest.fixture
def run(call, program):
    """Run the program over a file; return (exit code, lines, stderr)."""

    def command(*arguments, stdin=""):
        code, out, err = call("run", program, "--backend", "fake", *arguments, stdin=stdin)
        assert "Traceback" not in err
        return code, [json.loads(line) for line in out.splitlines()], " ".join(err.split())

    return command


def lines_of(path):
    text = path.read_text()
    assert not text or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def words(*names):
    return [{"word": name} for name in names]


def test_a_line_a_row_on_stdout_and_a_summary_on_stderr(run, write_rows):
    code, lines, err = run("--inputs", write_rows(words("a", "b", "c")))
    assert code == 0 and sorted(line["index"] for line in lines) == [0, 1, 2]
    assert all(line["ok"] and line["value"] == line["variables"]["answer"] for line in lines)
    assert lines[0]["usage"]["completion_tokens"] == 8 and len(lines[0]["hash"]) == 16
    assert set(lines[0]) == {"index", "hash", "ok", "value", "variables", "usage"}
    assert err.startswith("3 ok in 0:00, ") and "rows/s" in err and "tokens/s" in err and "% cached" in err
    assert run("--inputs", write_rows(words("a")), "--quiet")[2] == ""


def test_the_file_is_in_the_order_of_the_rows(run, write_rows, tmp_path):
    rows = write_rows(words(*(f"w{number}" for number in range(60))))
    code, lines, _ = run("--inputs", rows, "--out", tmp_path / "out.jsonl")
    assert (code, lines) == (0, [])
    found = lines_of(tmp_path / "out.jsonl")
    assert [line["index"] for line in found] == list(range(60))
    assert sorted(path.name for path in tmp_path.iterdir() if "out" in path.name) == ["out.jsonl"]


def test_failed_rows_are_lines_too_and_exit_with_4(run, write_rows):
    code, lines, err = run("--inputs", write_rows([{"word": "a"}, {"word": "wrong"}, {"word": 5}, ["b"]]))
    assert code == 4
    by_index = {line["index"]: line for line in lines}
    assert by_index[0]["ok"] and not any(by_index[index]["ok"] for index in (1, 2, 3))
    assert by_index[1]["error"]["type"] == "ValueError" and "ask.py" in by_index[1]["error"]["message"]
    assert by_index[2]["error"]["message"].endswith("3: word=5 is not of type str, which the program declares")
    assert "not an object of argument names" in by_index[3]["error"]["message"]
    assert "1 ok, 3 failed" in err and "ValueError: a wrong word" in err


def test_a_failing_gen_is_told_with_its_node_place_and_cause(call, tmp_path, write_rows):
    path = tmp_path / "long.py"
    path.write_text(
        "import ramify\n@ramify.function\ndef long(s, w):\n"
        "    s += w + ramify.gen('number', regex='[0-9]{40}', max_tokens=4)\n"
    )
    code, out, err = call("run", path, "--backend", "fake", "--inputs", write_rows([{"w": "a"}] * 5))
    error = json.loads(out.splitlines()[0])["error"]
    assert code == 4 and error["type"] == "GenError" and error["cause"] == "TruncationError"
    assert error["node"] == "number" and error["location"].endswith("long.py:4") and len(error["partial"]) == 4
    assert err.count("\nfailed: ") == 2 and "... and 2 more, all in the output" in err


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "rows.json", "rows.jsonl", "-"])
def test_every_kind_of_input(run, tmp_path, name):
    mark = {"rows.tsv": "\t"}.get(name, ",")
    table = f'\ufeffword{mark}times\n"a{mark} b"{mark}2\nc{mark}1\n'
    values = [{"word": f"a{mark} b", "times": 2}, {"word": "c", "times": 1}]
    text = {
        "rows.csv": table,
        "rows.tsv": table,
        "rows.json": json.dumps(values),
        "rows.jsonl": "\ufeff" + "\r\n\r\n".join(json.dumps(value) for value in values),
        "-": "".join(json.dumps(value) + "\n" for value in values),
    }[name]
    (tmp_path / name).write_text(text, newline="")
    code, lines, _ = run("--inputs", name, "--include", "inputs", "--include", "text", stdin=text)
    lines.sort(key=lambda line: line["index"])
    assert code == 0 and [line["text"].count(f"a{mark} b") for line in lines] == [1, 0]
    assert [line["inputs"]["word"] for line in lines] == [f"a{mark} b", "c"]
    assert lines[0]["value"] == lines[0]["variables"]["answer"] * 2


def test_lines_that_are_no_json_are_failed_rows_and_the_others_run(run, tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(b'{"word": "a"}\n{"word": "b"\n\n{"word": "\xff"}\n{"word": "d"}\n')
    code, lines, _ = run("--inputs", "rows.jsonl")
    lines.sort(key=lambda line: line["index"])
    assert code == 4 and [line["ok"] for line in lines] == [True, False, False, True]
    assert lines[1]["error"]["message"].startswith("rows.jsonl:2 is not JSON: ")
    assert lines[2]["error"]["message"].startswith("rows.jsonl:4 is not JSON: ")


def test_arguments_of_the_command_line_hold_for_rows_that_do_not_say_otherwise(run, write_rows):
    rows = write_rows([{"word": "a"}, {"word": "b", "times": 1}])
    _, lines, _ = run("--inputs", rows, "-i", "times=3", "-i", 'mood:="bad"')
    lines.sort(key=lambda line: line["index"])
    assert [len(line["value"]) for line in lines] == [24, 8]


def test_limit_and_fields_that_are_no_arguments(run, write_rows):
    rows = write_rows([{"word": "a", "id": 7}, {"word": "b", "id": 8}, {"word": "c", "id": 9}])
    code, _, err = run("--inputs", rows)
    assert code == 2 and "rows.jsonl:1: the program has no argument 'id'; it takes word, times, mood" in err
    assert "--ignore-unknown" in err
    code, lines, _ = run("--inputs", rows, "--ignore-unknown", "--limit", "2", "--include", "inputs")
    assert code == 0 and sorted(line["inputs"]["id"] for line in lines) == [7, 8]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--inputs", "nowhere.jsonl"], "there is no file nowhere.jsonl"),
        (["--inputs", "."], ". is a folder"),
        (["--inputs", "rows.jsonl", "--resume"], "--resume needs --out"),
        (["--inputs", "rows.jsonl", "--retry-failed"], "--resume needs --out"),
        (["--inputs", "rows.jsonl", "--out", "x", "--resume", "--overwrite"], "exclude each other"),
        (["--inputs", "rows.jsonl", "--include", "txt"], "--include does not know 'txt' (did you mean 'text'?"),
        (["--inputs", "rows.jsonl", "--stream"], "--stream and --inputs exclude each other"),
        (["--inputs", "rows.jsonl", "--concurrency", "0"], "--concurrency"),
        (["--inputs", "rows.jsonl", "-i", "wrod=x"], "no argument 'wrod' (did you mean 'word'?"),
        (["--inputs", "rows.jsonl", "--out", "nowhere/x"], "cannot write nowhere/x"),
        (["--inputs", "rows.jsonl", "--out", "rows.jsonl", "--overwrite"], "is the file that --inputs reads"),
        (["--inputs", "-", "-i", "word=@-"], "stdin can be read once only"),
        (["-i", "word=a", "--out", "x"], "--out is for rows; give a file of them with --inputs"),
        (["-i", "word=a", "--retry-failed"], "--retry-failed is for rows"),
        (["--inputs", "odd.jsonl"], "odd.jsonl:1: times='many' is not of type int"),
        (["--inputs", "object.json"], "must hold an array of objects"),
        (["--inputs", "half.json"], "half.json is not JSON"),
        (["--inputs", "rows.jsonl", "--out", "foreign.jsonl", "--resume"], "foreign.jsonl:1 is not a line of a batch"),
        (["--inputs", "rows.jsonl", "--out", "foreign.jsonl"], "foreign.jsonl exists; add --resume"),
        (["--inputs", "rows.jsonl", "--backend-option", "dealy=1"], "no option 'dealy' (did you mean 'delay'?"),
        (["--inputs", "rows.jsonl", "--backend-option", "delay"], "'delay' is not of the form name=value"),
        (["--inputs", "rows.jsonl", "--backend", "./nowhere", "--model", "x"], "leave out --model"),
        (["--inputs", "rows.jsonl", "--out", "huge.jsonl", "--resume"], "huge.jsonl:1 has no row number"),
    ],
)
def test_misuse_exits_with_2_before_anything_runs(run, write_rows, tmp_path, arguments, message):
    write_rows(words("a"))
    write_rows([{"word": "a", "times": "many"}], "odd.jsonl")
    write_rows([{"word": "a"}], "object.json")
    write_rows([{"id": 1, "text": "somebody else's"}], "foreign.jsonl")
    write_rows([{"index": 10**12, "hash": "0" * 16, "ok": True}], "huge.jsonl")
    (tmp_path / "half.json").write_text('[{"word":')
    code, lines, err = run(*arguments)
    assert (code, lines) == (2, []) and message in err


# ---- going on with an earlier run ------------------------------------------------------------------------------------


def test_resume_runs_the_rows_that_are_missing(run, write_rows, tmp_path):
    out = tmp_path / "out.jsonl"
    rows = write_rows(words("a", "b", "wrong", "d"))
    assert run("--inputs", rows, "--out", out, "--limit", "3")[0] == 4
    first = lines_of(out)
    code, _, err = run("--inputs", rows, "--out", out, "--resume")
    assert code == 4 and lines_of(out)[:3] == first and lines_of(out)[3]["ok"]
    assert "1 ok in" in err and "3 rows were there before, 1 of them failed: --retry-failed runs these again" in err
    code, _, err = run("--inputs", rows, "--out", out, "--resume")
    assert code == 4 and err.startswith("no rows to run")


def test_retry_failed_replaces_their_lines(run, write_rows, tmp_path, program):
    out, rows = tmp_path / "out.jsonl", write_rows(words("a", "wrong", "c"))
    assert run("--inputs", rows, "--out", out)[0] == 4
    before = lines_of(out)
    program.write_text(program.read_text().replace('"wrong"', '"never"'))
    code, _, err = run("--inputs", rows, "--out", out, "--retry-failed")
    after = lines_of(out)
    assert code == 0 and "1 ok in" in err and [line["index"] for line in after] == [0, 1, 2]
    assert after[1]["ok"] and [after[0], after[2]] == [before[0], before[2]]


def test_resume_notices_rows_whose_input_has_changed(run, write_rows, tmp_path):
    out = tmp_path / "out.jsonl"
    run("--inputs", write_rows(words("a", "b", "c", "d")), "--out", out)
    before = lines_of(out)
    code, _, err = run("--inputs", write_rows(words("a", "B", "c")), "--out", out, "--resume")
    after = lines_of(out)
    assert code == 0 and "1 of them were there for another input" in err
    assert [line["index"] for line in after] == [0, 1, 2]  # the row that the input lacks now is gone
    assert [after[0], after[2]] == [before[0], before[2]] and after[1]["hash"] != before[1]["hash"]
    code, _, err = run("--inputs", "rows.jsonl", "--out", out, "--resume", "-i", "times=2")
    assert code == 0 and "3 ok" in err and all(len(line["value"]) == 16 for line in lines_of(out))


def test_a_line_cut_off_at_the_end_is_run_again(run, write_rows, tmp_path):
    out, rows = tmp_path / "out.jsonl", write_rows(words("a", "b", "c"))
    run("--inputs", rows, "--out", out)
    before = lines_of(out)
    out.write_bytes(out.read_bytes()[:-20])
    code, _, err = run("--inputs", rows, "--out", out, "--resume")
    assert code == 0 and "ended inside a line" in err and "1 ok in" in err and lines_of(out)[:2] == before[:2]
    assert lines_of(out)[2]["value"] == before[2]["value"]


def test_lines_that_a_tool_has_written_anew_are_understood(run, write_rows, tmp_path):
    out, rows = tmp_path / "out.jsonl", write_rows(words("a", "b"))
    run("--inputs", rows, "--out", out)
    lines = [json.dumps(dict(sorted(line.items(), reverse=True)), indent=None) for line in lines_of(out)]
    out.write_text("\n".join([*lines, ""]))
    assert run("--inputs", rows, "--out", out, "--resume")[2].startswith("no rows to run")


def test_overwrite_begins_anew(run, write_rows, tmp_path):
    out = tmp_path / "out.jsonl"
    run("--inputs", write_rows(words("a", "b", "c")), "--out", out)
    assert run("--inputs", write_rows(words("x")), "--out", out, "--overwrite")[0] == 0
    assert len(lines_of(out)) == 1


def test_two_runs_cannot_write_one_file(run, write_rows, tmp_path):
    import fcntl

    out = tmp_path / "out.jsonl"
    with out.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        code, _, err = run("--inputs", write_rows(words("a")), "--out", out)
    assert code == 2 and "another run is writing" in err


def test_a_link_stays_a_link(run, write_rows, tmp_path):
    (tmp_path / "real.jsonl").touch()
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "real.jsonl")
    rows = write_rows(words(*(f"w{number}" for number in range(20))))
    assert run("--inputs", rows, "--out", "link.jsonl")[0] == 0
    assert (tmp_path / "link.jsonl").is_symlink()
    assert [line["index"] for line in lines_of(tmp_path / "real.jsonl")] == list(range(20))


def test_lines_that_cannot_be_sorted_are_there_all_the_same(run, write_rows, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    out, rows = tmp_path / "out.jsonl", write_rows(words("a", "b", "wrong"))
    run("--inputs", rows, "--out", out)
    monkeypatch.setattr(os, "replace", refuse)
    code, _, err = run("--inputs", rows, "--out", out, "--retry-failed")
    assert code == 4 and "has every line, but not in the order of the rows" in err and len(lines_of(out)) == 4
    monkeypatch.undo()
    assert run("--inputs", rows, "--out", out, "--resume")[0] == 4
    assert [line["index"] for line in lines_of(out)] == [0, 1, 2]


def test_an_out_that_is_no_file_takes_the_lines(run, write_rows, tmp_path):
    assert run("--inputs", write_rows(words("a")), "--out", "/dev/null")[0] == 0


# ---- the backend, and rows that stop a batch -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backend", "fakee"], "unknown plugin 'fakee' in ramify.backends (did you mean 'fake'?"),
        (["--backend", "http://127.0.0.1:9"], "127.0.0.1:9"),
    ],
)
def test_no_backend_exits_with_3(call, program, write_rows, arguments, message):
    for what in (["-i", "word=a"], ["--inputs", write_rows(words("a", "b"))]):
        code, out, err = call("run", program, *what, *arguments)
        assert (code, out) == (3, "") and err.startswith("error: ") and message in err and "Traceback" not in err


GOES_AWAY = """
    import ramify

    class Gone(ramify.FakeBackend):
        async def generate(self, request):
            if len(self.requests) >= 3:
                raise ramify.UnreachableError("http://there cannot be reached")
            async for chunk in super().generate(request):
                yield chunk
"""


def test_a_backend_that_goes_away_stops_the_batch_and_leaves_its_rows_to_be_run(
    call, program, write_rows, tmp_path, monkeypatch
):
    (tmp_path / "gone.py").write_text(textwrap.dedent(GOES_AWAY))
    info = tmp_path / "gone-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gone\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ramify.backends]\ngone = gone:Gone\n")
    monkeypatch.syspath_prepend(tmp_path)
    out, rows = tmp_path / "out.jsonl", write_rows(words(*"abcdefgh"))
    arguments = ["run", program, "--inputs", rows, "--out", out, "--concurrency", "1"]
    code, _, err = call(*arguments, "--backend", "gone")
    assert code == 3 and "http://there cannot be reached" in err and "--resume goes on with it" in err
    assert [line["index"] for line in lines_of(out)] == [0, 1, 2] and all(line["ok"] for line in lines_of(out))
    code, _, err = call(*arguments, "--backend", "fake", "--resume")
    assert code == 0 and err.startswith("5 ok in") and len(lines_of(out)) == 8


def test_the_backend_is_not_opened_when_there_is_nothing_to_run(call, program, write_rows, tmp_path):
    out, rows = tmp_path / "out.jsonl", write_rows(words("a"))
    call("run", program, "--inputs", rows, "--out", out, "--backend", "fake")
    assert call("run", program, "--inputs", rows, "--out", out, "--resume", "--backend", "http://127.0.0.1:9")[0] == 0


def test_fail_fast_stops_at_the_first_failure(run, write_rows, tmp_path):
    out = tmp_path / "out.jsonl"
    rows = write_rows(words("a", "wrong", *(f"w{number}" for number in range(50))))
    rows = rows.name
    code, _, err = run("--inputs", rows, "--out", out, "--fail-fast", "--concurrency", "1", "--quiet")
    assert code == 1 and err == "error: rows.jsonl:2 failed, and --fail-fast is set"
    code, _, err = run("--inputs", rows, "--out", out, "--fail-fast", "--concurrency", "1", "--overwrite")
    assert code == 1 and "rows.jsonl:2 failed, and --fail-fast is set" in err and len(lines_of(out)) <= 4


def test_the_time_limit_is_for_each_row(run, write_rows):
    rows = write_rows(words("a", "b"))
    code, lines, _ = run("--inputs", rows, "--timeout", "0.05", "--backend-option", "delay=5")
    assert code == 4 and {line["error"]["type"] for line in lines} <= {"DeadlineError", "GenError"}


def test_what_json_has_no_form_for(call, tmp_path, write_rows):
    path = tmp_path / "odd.py"
    path.write_text(
        "import ramify\n@ramify.function\ndef odd(s, x):\n"
        "    s += 'a' + ramify.gen('b', max_tokens=2)\n"
        "    return {'nan': float('nan'), 'half': '\\ud800', 'o': object}\n"
    )
    code, out, _ = call("run", path, "--backend", "fake", "--inputs", write_rows([{"x": "\u2028 ü"}]))
    assert code == 0 and len(out.splitlines()) == 1
    assert json.loads(out)["value"] == {"nan": None, "half": "\ud800", "o": "<class 'object'>"}


def test_a_result_that_json_cannot_hold_fails_its_row_only(call, tmp_path, write_rows):
    path = tmp_path / "loops.py"
    path.write_text(
        "import ramify, sys\n@ramify.function\ndef loops(s, x):\n"
        "    if x == 2:\n        sys.exit('enough')\n    ring = [x]\n"
        "    if x == 1:\n        ring.append(ring)\n    return ring\n"
    )
    rows = write_rows([{"x": x} for x in range(4)])
    code, out, _ = call("run", path, "--backend", "fake", "--inputs", rows, "--include", "inputs")
    lines = sorted(map(json.loads, out.splitlines()), key=lambda line: line["index"])
    assert code == 4 and [line["ok"] for line in lines] == [True, False, False, True]
    assert "cannot be written as JSON" in lines[1]["error"]["message"] and lines[1]["inputs"] == {"x": 1}
    assert lines[2]["error"]["message"] == "the program called sys.exit('enough')"


def test_a_long_batch_writes_a_line_into_a_log_now_and_then(run, write_rows, monkeypatch):
    monkeypatch.setattr("ramify.interpreter.progress.LOG_SECONDS", 0.02)
    rows = write_rows(words(*(f"w{number}" for number in range(8))))
    delays = ("--backend-option", "delay=0.05", "--concurrency", "2")
    _, _, err = run("--inputs", rows, *delays)
    assert "/8 " in err and "left" in err and "\x1b" not in err and "━" not in err
    assert run("--inputs", rows, *delays, "--quiet")[2] == ""


def test_a_full_disk_ends_the_run_and_leaves_whole_lines(run, write_rows, tmp_path, monkeypatch):
    out, written = tmp_path / "out.jsonl", []
    real = os.write

    def full(file, data):
        if len(data) > 100 and len(written) == 2:
            real(file, data[:10])
            raise OSError(28, "No space left on device")
        written.append(data)
        return real(file, data)

    monkeypatch.setattr(os, "write", full)
    code, _, err = run("--inputs", write_rows(words("a", "b", "c", "d")), "--out", out, "--concurrency", "1")
    monkeypatch.undo()
    assert code == 1 and "No space left on device" in err and [line["index"] for line in lines_of(out)] == [0, 1]
