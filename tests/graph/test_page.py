"""The programs of docs/graphs.md run as they stand, one after the other, and print what the page says."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "graphs.md"
BLOCKS = re.compile(r"```python\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)


def test_programs_print_what_the_page_shows(tmp_path):
    names = {"__name__": "page", "__file__": str(tmp_path / "page.py")}
    found = BLOCKS.findall(PAGE.read_text(encoding="utf-8"))
    assert len(found) == 5
    lines = 0
    for program, expected in found:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * lines + program, names["__file__"], "exec"), names)  # lines count through the page
        lines += len(program.splitlines())
        assert printed.getvalue() == expected


def test_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)#]+)\)", PAGE.read_text(encoding="utf-8")):
        assert (PAGE.parent / link).exists()
