"""The programs of README.md run as they stand and print what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

BLOCKS = re.compile(r"```python\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)
EXAMPLES = BLOCKS.findall((Path(__file__).resolve().parent.parent.parent / "README.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("program", "output"), EXAMPLES, ids=range(len(EXAMPLES)))
def test_program_prints_what_the_readme_shows(program: str, output: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(program, encoding="utf-8")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-P", "program.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == output


def test_the_first_program_is_short() -> None:
    lines = [line for line in EXAMPLES[0][0].splitlines() if line.strip()]
    assert len(lines) <= 10


def test_the_two_commands_stand_first(root: Path) -> None:
    commands = [
        line.split("#")[0].strip() for line in (root / "README.md").read_text().splitlines() if line[:4] == "    "
    ]
    assert commands[:2] == ["make demo", "make test"]


def test_links_lead_somewhere(root: Path) -> None:
    for page in (root / "README.md", root / "docs" / "architecture.md"):
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"
