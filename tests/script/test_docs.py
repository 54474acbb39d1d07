"""docs/scripts.md is right: its scripts compile, run and fail as it says, and its tables are complete."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import ramify
from ramify import FakeBackend
from ramify.lang.script import check, format_script, render_all
from ramify.lang.script.codes import CODES
from ramify.lang.script.inference import FUNCTIONS
from ramify.lang.script.kinds import SCALARS
from ramify.lang.script.options import GEN_OPTIONS
from ramify.lang.script.reader import DIRECTIVES

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "scripts.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```rmf\n(.*?)```\n(?:\n```text\n(.*?)```)?", PAGE, re.DOTALL)


@pytest.mark.parametrize(("script", "shown"), BLOCKS, ids=range(len(BLOCKS)))
def test_scripts_of_the_page(script: str, shown: str) -> None:
    found = check(script, "triage.rmf")
    if "error[" in shown:
        assert render_all(found) + "\n" == shown
        return
    assert not found, render_all(found)
    assert format_script(script) == script
    program = ramify.parse_script(script)
    if shown:
        assert program.run(backend=FakeBackend()).text() + "\n" == shown


def test_the_script_of_the_readme_is_the_example_and_says_what_it_shows(engine: ramify.Engine) -> None:
    script, shown = re.search(r"```rmf\n(.*?)```\n\n```console\n(.*?)```", README, re.DOTALL).groups()
    assert script == (ROOT / "examples" / "triage.rmf").read_text(encoding="utf-8")
    command, *lines = re.sub(r" \\\n *", " ", shown).splitlines()
    (ticket,) = re.findall(r'-i ticket="(.*?)"', command)
    (teams,) = re.findall(r"-i teams:='(.*?)'", command)
    program = ramify.parse_script(script).with_sampling(temperature=0)
    result = program.run(ticket, json.loads(teams))
    assert lines == [*(f"{name}: {result[name]}" for name in result), f"returned: {result.value}"]


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_every_code_is_listed_with_its_meaning() -> None:
    assert dict(re.findall(r"^\| `([EW]\d+)` \| (.*) \|$", section("Diagnostics"), re.MULTILINE)) == dict(CODES)


def test_every_directive_and_no_more_than_twenty_constructs() -> None:
    rows = [line for line in section("All constructs").splitlines() if line.startswith("| `")]
    named = set(re.findall(r"`@([a-z]+)", "".join(row.split(" | ")[0] for row in rows)))
    assert named == set(DIRECTIVES)
    assert len(DIRECTIVES) + len(["@#", "{{value}}", "{{gen}}", "{{select}}"]) <= 20


def test_every_function_option_and_type_is_explained() -> None:
    assert set(re.findall(r"`([a-z]+)\(", section("Values"))) == set(FUNCTIONS)
    options = re.findall(
        r"`([a-z_]+)`", "".join(re.findall(r"^\|.*$", section("Options of gen and select"), re.MULTILINE))
    )
    assert set(options) == set(GEN_OPTIONS)
    assert set(SCALARS) <= set(re.findall(r"`([a-z]+)`", section("Types")))
