"""docs/server.md: its programs run against a server, its tables are those of the code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ramify.backend.remote.openai import DIALECTS
from ramify.backend.server.settings import Settings

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "server.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_programs_run(program: str, server: Any, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(program.replace("http://127.0.0.1:8000", server.url), encoding="utf-8")
    environment = {**os.environ, "OPENAI_API_KEY": "none"}
    command = [sys.executable, "-P", "program.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout and "False" not in done.stdout


def test_the_table_of_settings() -> None:
    section = PAGE.split("\n## Settings\n")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", section, re.MULTILINE))
    expected = {}
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else f"`{json.dumps(field.default)}`"
        expected[name] = f"{default} | {field.description}"
    assert rows == expected
    assert len(expected) <= 40


def test_every_route_is_there_and_no_other(server: Any) -> None:
    listed = {tuple(route.split()) for route in re.findall(r"`((?:GET|POST) /[^`]*)`", PAGE)} - {
        ("GET", "/openapi.json")
    }
    paths = server.get("/openapi.json").json()["paths"]
    assert listed == {(method.upper(), path) for path, methods in paths.items() for method in methods}


def test_the_table_of_flavours() -> None:
    words = {"regex": "regex", "JSON schema": "json_schema", "grammar": "grammar", "choices": "choices"}
    rows = re.findall(r"^\| `([\w.]+)` \| ([^|]*) \| (yes|no) \|$", PAGE, re.MULTILINE)
    found = {name: ({words[kind] for kind in kinds.split(", ")}, goes_on == "yes") for name, kinds, goes_on in rows}
    assert found == {name: (set(d.constraints), d.continues is not None) for name, d in DIALECTS.items()}
