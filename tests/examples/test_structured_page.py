"""The programs of docs/structured.md run as they stand, on one engine, and print what the page says."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

import ramify

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "structured.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture(scope="module")
def engine() -> Iterator[ramify.Engine]:
    with ramify.Engine() as made:
        yield made


@pytest.mark.parametrize(("program", "output"), BLOCKS, ids=range(len(BLOCKS)))
def test_program_prints_what_the_page_shows(
    program: str, output: str, engine: ramify.Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "program.py"
    path.write_text(program, encoding="utf-8")
    with ramify.use(engine):
        runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out == output


def test_every_program_shows_its_output() -> None:
    assert len(BLOCKS) == TEXT.count("```python\n") >= 8


def test_links_lead_somewhere() -> None:
    titles = [line[3:].lower() for line in TEXT.splitlines() if line.startswith("## ")]
    headings = {re.sub(r"[^a-z0-9 -]", "", title).replace(" ", "-") for title in titles}
    for link in re.findall(r"\]\(([^)]+)\)", TEXT):
        if link.startswith("#"):
            assert link[1:] in headings, link
        elif not link.startswith("http"):
            assert (PAGE.parent / link).exists(), link
