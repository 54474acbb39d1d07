"""`docs/cli.md`: every command on the page prints what the page shows."""

from __future__ import annotations

import contextlib
import re
import shlex
from pathlib import Path

import pytest

import ramify
from ramify import __main__ as root

PAGE = (Path(ramify.__file__).resolve().parent / "docs" / "cli.md").read_text()
BLOCKS = re.findall(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
# How fast a machine is, and which rows meet in its batches.
TIMES = re.compile(r'in \d+:\d\d, .*|"cached_tokens": ?\d+')


@pytest.fixture(scope="module")
def engine():
    with ramify.Engine() as made:
        yield made


def test_every_output_is_what_the_command_prints(call, tmp_path, monkeypatch, engine):
    open_backend = root.open_backend
    monkeypatch.setattr(
        root,
        "open_backend",
        lambda name, *rest: contextlib.nullcontext(engine) if name == "engine" else open_backend(name, *rest),
    )
    monkeypatch.chdir(tmp_path)
    for kind, name, text in BLOCKS:
        if name:
            Path(name).write_text(text)
        elif kind == "console":
            shown = "".join(session(call, line[2:]) for line in text.splitlines() if line.startswith("$ "))
            assert TIMES.sub("", shown) == TIMES.sub("", text)


def session(call, command):
    """What a terminal shows of a command: the command, stdout and stderr, and the exit code if it is not 0."""
    program, *arguments = shlex.split(command)
    if program == "cat":
        return f"$ {command}\n{Path(arguments[0]).read_text()}"
    code, out, err = call(*arguments)
    return f"$ {command}\n{out}{err}" + (f"(exit code {int(code)})\n" if code else "")


def test_the_page_names_every_flag_of_rows_and_every_exit_code(call):
    from ramify.interpreter.cli_options import ExitCode

    _, help_text, _ = call("run", "--help")
    rows = help_text.partition("Rows (with --inputs):")[2].partition("Sampling:")[0]
    assert all(f"`{flag}" in PAGE for flag in re.findall(r"(--[a-z-]+)", rows))
    codes = {int(code) for line in re.findall(r"^\| ([\d, ]+) \|", PAGE, re.MULTILINE) for code in line.split(",")}
    assert codes == set(map(int, ExitCode))
