"""Every code has a golden file: a script that is wrong in that way, and what the user is shown.

`python tests/script/test_diagnostics.py` writes them anew; read the difference before you commit it.
"""

from __future__ import annotations

import functools
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


@functools.cache
def found_in(name: str) -> list[Diagnostic]:
    return check(SCRIPTS[name], f"{name}.rmf")


def shown(name: str) -> str:
    return render_all(found_in(name)) + "\n"


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_is_shown(name: str) -> None:
    assert shown(name) == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_golden_file_shows_its_code(name: str) -> None:
    assert name[:4] in {found.code for found in found_in(name)}


def test_every_code_has_a_golden_file_and_none_is_left_over() -> None:
    assert {name[:4] for name in SCRIPTS} == set(CODES)
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_places_are_those_of_the_text(name: str) -> None:
    """Lines and columns count from 1; the marked stretch lies in its line, or just behind it."""
    lines = [*SCRIPTS[name].split("\n"), ""]
    for found in found_in(name):
        text = lines[found.line - 1]
        assert found.text == text
        assert 1 <= found.column < found.end_column <= max(len(text), found.column) + 1


def one(text: str) -> Diagnostic:
    (found,) = check(text, "s.rmf")
    return found


def test_code_points_are_counted_and_wide_ones_are_shown_wide() -> None:
    found = one("@program p()\n\té漢{{nam}}\n")
    assert (found.line, found.column, found.end_column) == (2, 6, 9)
    assert found.render().splitlines()[1:3] == [" 2 |  é漢{{nam}}", "   |       ^^^"]


def test_what_a_terminal_would_obey_is_not_sent_to_it() -> None:
    assert "\x1b" not in one("@program p()\n\x1b[31mred {{nam}}\n").render()


def test_long_lines_are_shown_in_part() -> None:
    found = one("@program p()\n" + "word " * 400 + "{{nam}}" + " word" * 400 + "\n")
    for width in (40, 80, 100):
        lines = found.render(width=width).splitlines()
        assert all(len(line) <= width for line in lines[1:3])
        assert lines[1][lines[2].index("^") :].startswith("nam")


def test_color_only_where_it_is_asked_for() -> None:
    found = one("@program p()\n{{nam}}\n")
    assert "\x1b[31m" in found.render(color=True) and "\x1b" not in found.render()


def test_no_more_than_twenty_errors() -> None:
    found = check("@program p()\n" + "{{nam}}\n" * 100, "s.rmf")
    assert len(found) == MAX_ERRORS and [item.line for item in found] == list(range(2, 22))
    assert render_all(found).endswith("20 errors; only so many are reported")


def test_the_error_holds_the_diagnostics() -> None:
    with pytest.raises(ramify.ScriptError) as caught:
        ramify.parse_script("@program p(name: str)\n{{nam}}\n", "s.rmf")
    error = caught.value
    assert isinstance(error, ramify.ProgramError)
    assert [found.code for found in error.diagnostics] == ["E010"]
    assert str(error) == render_all(error.diagnostics)
    assert json.loads(json.dumps(error.to_json())) == [
        {
            "code": "E010",
            "severity": "error",
            "message": "unknown name 'nam'",
            "file": "s.rmf",
            "line": 2,
            "column": 3,
            "end_column": 6,
            "hint": "did you mean 'name'?",
        }
    ]


def test_warnings_do_not_stop_a_script() -> None:
    script = ramify.parse_script("@program p(name: str)\nHello.\n", "s.rmf")
    assert [found.code for found in script.script.warnings] == ["W001"]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_every_kind_of_line_end(newline: str) -> None:
    found = one(newline.join(["\ufeff@program p()", "", "{{nam}}"]))
    assert (found.line, found.column) == (3, 3)


if __name__ == "__main__":
    for name in SCRIPTS:
        (GOLDEN / f"{name}.txt").write_text(shown(name), encoding="utf-8")
