"""Every code has a golden file: a script that is wrong in that way, and what the user is shown.

`python tests/script/test_diagnostics.py` writes them anew; read the difference before you commit it.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import ramify
from ramify.lang.script import check, render_all
from ramify.lang.script.codes import CODES
from ramify.lang.script.diagnostics import MAX_ERRORS, Diagnostic

GOLDEN = Path(__file__).resolve().parent / "golden"
HEAD = "@program p()\n@assistant\n"
# What is too large, or no text, to lie in the folder.
MADE = {
    "E007": "@program p()\n@user\nA file of another \udce9ncoding.\n",
    "E060": HEAD + "All work and no play makes a dull script.\n" * 7_000,
    "E061": HEAD + "@if true\n" * 33 + "deep\n" + "@end\n" * 33 + "{{" + "(" * 80 + "1" + ")" * 80 + "}}\n"
    "{{" + "not " * 80 + "true}}\n",
    "E062": HEAD + "{{1}}" * 10_001 + "\n",
}


def scripts() -> dict[str, str]:
    stored = {path.stem: path.read_text(encoding="utf-8") for path in GOLDEN.glob("*.rmf")}
    return dict(sorted({**stored, **MADE}.items()))


SCRIPTS = scripts()


def shown(name: str) -> str:
    return render_all(check(SCRIPTS[name], f"{name}.rmf")) + "\n"


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_is_shown(name: str) -> None:
    assert shown(name) == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_golden_file_shows_its_code(name: str) -> None:
    assert name[:4] in {found.code for found in check(SCRIPTS[name], name)}


def test_every_code_has_a_golden_file_and_none_is_left_over() -> None:
    assert {name[:4] for name in SCRIPTS} == set(CODES)
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_places_are_those_of_the_text(name: str) -> None:
    """Lines and columns count from 1; the marked stretch lies in its line, or just behind it."""
    lines = [*SCRIPTS[name].split("\n"), ""]
    for found in check(SCRIPTS[name], name):
        text = lines[found.line - 1]
        assert found.text == text
        assert 1 <= found.column < found.end_column <= max(len(text), found.column) + 1


if __name__ == "__main__":
    for name in SCRIPTS:
        (GOLDEN / f"{name}.txt").write_text(shown(name), encoding="utf-8")
