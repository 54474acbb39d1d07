"""The command as a process: Ctrl-C, SIGTERM, kill -9, a reader that has enough, terminals and logs."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
    import ramify

    @ramify.function
    async def ask(s, number: int):
        s += f"{number}?" + ramify.gen("answer", max_tokens=4)
        if number == 1:
            raise ValueError("one is out of order")
"""
# Rows with a high number never end: they are what is under way when the signal comes.
WAITING = (
    PROGRAM
    + """
        if number >= 5:
            import asyncio
            await asyncio.sleep(600)
"""
)


@pytest.fixture
def files(tmp_path, write_rows, monkeypatch):
    """A program whose rows from 5 on wait, the same without waiting, and 20 rows; in the working directory."""
    (tmp_path / "ask.py").write_text(textwrap.dedent(PROGRAM))
    (tmp_path / "waiting.py").write_text(textwrap.dedent(WAITING))
    write_rows([{"number": number} for number in range(20)])
    monkeypatch.chdir(tmp_path)
    return tmp_path


ROWS = ("--backend", "fake", "--inputs", "rows.jsonl")


def lines_of(path):
    text = path.read_text()
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def wait_for_lines(path, count):
    """Return when the file holds that many lines; the test's own time limit ends a wait in vain."""
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        os.sched_yield()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_a_batch_that_is_ended_keeps_its_rows_and_is_gone_on_with(start, files, number, code):
    out = files / "out.jsonl"
    process = start("run", "waiting.py", *ROWS, "--out", out, "--concurrency", "4")
    wait_for_lines(out, 5)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code and "Traceback" not in err
    if number != signal.SIGKILL:
        assert "4 ok, 1 failed" in err and "--resume goes on with it" in err
    before = lines_of(out)
    assert sorted(line["index"] for line in before) == [0, 1, 2, 3, 4]
    process = start("run", "ask.py", *ROWS, "--out", out, "--resume")
    _, err = process.communicate(timeout=30)
    assert process.returncode == 4 and "15 ok" in err and "5 rows were there before, 1 of them failed" in err
    after = lines_of(out)
    assert [line["index"] for line in after] == list(range(20))
    assert after[:5] == sorted(before, key=lambda line: line["index"])


def test_a_reader_that_has_enough_ends_the_batch_quietly(files):
    command = f"{sys.executable} -m ramify run ask.py --backend fake --inputs rows.jsonl --concurrency 1"
    shell = f"{command} --backend-option delay=0.01 | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=60)
    first, code = done.stdout.splitlines()
    assert json.loads(first)["index"] == 0 and code == "141" and done.stderr == ""


def test_a_reader_that_is_slow_gets_every_line(start, files):
    process = start("run", "ask.py", *ROWS, "--quiet")
    lines = [json.loads(line) for line in process.stdout]
    assert sorted(line["index"] for line in lines) == list(range(20))
    assert process.wait(timeout=30) == 4 and process.stderr.read() == ""


def test_rows_are_written_while_stdin_still_gives_more(start, files):
    process = start("run", "ask.py", "--backend", "fake", "--inputs", "-", stdin=subprocess.PIPE)
    process.stdin.write('{"number": 7}\n')
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["ok"]
    out, _ = process.communicate('{"number": 8}\n', timeout=30)
    assert process.returncode == 0 and json.loads(out)["index"] == 1


@pytest.mark.parametrize("locale", ["C.UTF-8", "en_US.ISO-8859-1", "C"])
def test_lines_are_utf_8_whatever_the_locale(start, files, write_rows, locale):
    (files / "say.py").write_text("import ramify\n@ramify.function\ndef say(s, x):\n    s += x\n    return x\n")
    rows = write_rows([{"x": "grün 中文 \U0001f600"}])
    env = {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    process = start("run", "say.py", "--backend", "fake", "--inputs", rows, env=env, encoding="utf-8")
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0 and json.loads(out)["value"] == "grün 中文 \U0001f600" and "中文" in out
    (files / "x.txt").write_text("grün 中文", encoding="utf-8")
    process = start("run", "say.py", "--backend", "fake", "-i", "x=@x.txt", env=env, encoding="latin-1")
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "") and out.startswith("returned: gr")


def test_ctrl_c_that_is_ignored_stays_ignored(start, files):
    ignore = lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)  # noqa: E731
    out = files / "out.jsonl"
    process = start("run", "ask.py", *ROWS, "--out", out, "--concurrency", "1", preexec_fn=ignore)
    wait_for_lines(out, 2)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 4 and len(lines_of(out)) == 20


def test_a_second_ctrl_c_does_not_wait(start, files):
    (files / "deaf.py").write_text(
        "import asyncio, ramify\n@ramify.function\nasync def deaf(s, number):\n"
        "    print('ready', flush=True)\n"
        "    while True:\n        try:\n            await asyncio.sleep(60)\n"
        "        except asyncio.CancelledError:\n            print('deaf', flush=True)\n"
    )
    process = start("run", "deaf.py", *ROWS, "--limit", "1")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "deaf\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=4)
    assert process.returncode == 130 and "Traceback" not in err


def on_a_terminal(files, *arguments, **env):
    """Run the command with stderr on a terminal; return (exit code, what it showed)."""
    shown, terminal = pty.openpty()
    settings = {"TERM": "xterm", "COLUMNS": "80", "NO_COLOR": "", **env}
    with subprocess.Popen(
        [sys.executable, "-m", "ramify", "run", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=terminal,
        env={**os.environ, **settings},
    ) as process:
        os.close(terminal)
        text = b""
        try:
            while piece := os.read(shown, 10_000):
                text += piece
        except OSError:  # how a terminal says that nobody has it open any more
            pass
        code = process.wait(timeout=60)
    os.close(shown)
    return code, text.decode()


def test_a_terminal_of_40_columns_shows_lines_that_fit(files):
    code, text = on_a_terminal(
        files, "ask.py", *ROWS, "--backend-option", "delay=0.15", "--concurrency", "4", COLUMNS="40"
    )
    plain = re.sub(r"\x1b\[\d*m", "", text)
    lines = [line.strip("\r") for line in plain.replace("\x1b[2K", "\n").split("\n")]
    assert code == 4 and max(map(len, lines)) <= 40
    assert any("/20" in line and "left" in line for line in lines) and "19 ok, 1 failed" in text
    assert "\x1b[31m1 failed" in text and "opening fake ..." in text


def test_no_color_means_none_and_a_dumb_terminal_is_not_drawn_on(files):
    arguments = ("ask.py", *ROWS, "--backend-option", "delay=0.05", "--concurrency", "4")
    assert "\x1b[3" not in on_a_terminal(files, *arguments, NO_COLOR="1")[1]
    code, text = on_a_terminal(files, *arguments, TERM="dumb", NO_COLOR="1")
    assert code == 4 and "\x1b" not in text and "19 ok, 1 failed" in text
