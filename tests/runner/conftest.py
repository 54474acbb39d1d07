"""The command line called in this process, and a file of programs to call it on."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest

from ramify.__main__ import main


@pytest.fixture
def call(capsys, monkeypatch):
    """Run the command in this process; return (exit code, stdout, stderr)."""

    def run(*arguments, stdin=""):
        stream = io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8")
        monkeypatch.setattr(sys, "stdin", stream)
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return caught.value.code or 0, out, err

    return run


@pytest.fixture
def start():
    """Start the command as a process of its own, with pipes; it is killed at the end if it still runs."""
    processes = []

    def run(*arguments, env=None, **options):
        settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
        command = [sys.executable, "-m", "ramify", *map(str, arguments)]
        process = subprocess.Popen(command, env={**os.environ, **(env or {})}, **settings)
        processes.append(process)
        return process

    yield run
    for process in processes:
        with process:
            if process.poll() is None:
                process.kill()


@pytest.fixture
def write_rows(tmp_path):
    """Write rows as JSON lines; return the path."""

    def write(rows, name="rows.jsonl"):
        path = tmp_path / name
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        return path

    return write
