"""Whatever the text, reading it ends with diagnostics, and in time that grows with its length only."""

from __future__ import annotations

import random
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ramify
from ramify.lang.script import check, compile_text, explain, format_script, render_all
from ramify.lang.script.diagnostics import MAX_ERRORS

SEEDS = 250


def examine(text: str) -> None:
    """Everything that is done with a text: nothing but `ScriptError` may come out of it."""
    found = check(text, "s.rmf")
    errors = [item for item in found if item.is_error]
    assert len(errors) <= MAX_ERRORS
    assert render_all(found, width=40) and render_all(found, color=True)
    if not errors:
        graph = compile_text(text).graph()
        formatted = format_script(text)
        assert format_script(formatted) == formatted and compile_text(formatted).graph() == graph
        compile(explain(text), "twin.py", "exec", dont_inherit=True)
        return
    with pytest.raises(ramify.ScriptError):
        ramify.parse_script(text)
    try:
        format_script(text)
    except ramify.ScriptError as error:
        assert error.diagnostics


def test_damaged_scripts(damaged) -> None:
    for seed in range(SEEDS):
        examine(damaged(random.Random(seed)))


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=200))
def test_any_text(text: str) -> None:
    examine(text)


@given(
    st.lists(
        st.sampled_from([*'{}@"/\\|()[],:=. \nx', "{{", "}}", "gen ", "@if ", "@end\n", "@for ", "in "]), max_size=60
    )
)
def test_texts_of_signs(parts: list[str]) -> None:
    examine("@program p(x: str)\n" + "".join(parts))


LONG = {
    "lines of text": "All work and no play makes a dull script.\n",
    "escapes": r"\@ \{{ \\ \n ",
    "open holes": "{{",
    "holes with open braces": "{{{ }} ",
    "holes with open texts": '{{" }} ',
    "holes": "{{x}}",
    "blocks": "@if x\n@end\n",
    "open blocks": "@if x\n",
    "wrong directives": "@wrong\n",
    "at signs": "@",
    "sums": "{{" + " + ".join(["x"] * 20) + "}}\n",
    "gens": "{{gen x: {a: int}, max=3}}\n",
    "line ends": "\n",
    "slashes": "{{gen a: /x}} ",
    "one word": "word",
}


def script_of(kind: str, length: int) -> str:
    return "@program p(x: str)\n" + LONG[kind] * (length // len(LONG[kind]))


@pytest.mark.parametrize("kind", LONG)
def test_work_grows_with_the_length_only(kind: str) -> None:
    """Counted in calls: four times the text takes four times as many; quadratic work would take sixteen times."""

    def calls(length: int) -> int:
        num = 0

        def count(*_: object) -> None:
            nonlocal num
            num += 1

        text = script_of(kind, length)
        sys.setprofile(count)
        try:
            check(text, "s.rmf")
        finally:
            sys.setprofile(None)
        return num

    calls(100)  # what is made once
    assert calls(2_400) < 5 * calls(600) + 2_000


SEARCHES = ["escapes", "open holes", "holes with open braces", "holes with open texts", "one word"]


@pytest.mark.parametrize("kind", SEARCHES)
def test_no_search_goes_over_the_text_again_and_again(kind: str) -> None:
    """What happens inside one call is seen in its time only; the bound is far from four and from sixteen times."""

    def seconds(length: int) -> float:
        text = script_of(kind, length)
        times = []
        for _ in range(2):
            start = time.perf_counter()
            check(text, "s.rmf")
            times.append(time.perf_counter() - start)
        return min(times)

    assert seconds(60_000) < 12 * max(seconds(15_000), 0.01)


@pytest.mark.parametrize("inside", ["[" * 5_000, "not " * 5_000 + "x", "x" + ".y" * 5_000, "x" + " + x" * 5_000])
def test_what_is_nested_deeply_is_refused(inside: str) -> None:
    assert any(item.is_error for item in check(f"@program p(x: str)\n{{{{{inside}}}}}\n"))


def test_deep_types_are_refused_and_parentheses_cost_nothing() -> None:
    deep = "list[" * 3_000 + "int" + "]" * 3_000
    assert any(item.code == "E061" for item in check(f"@program p(x: {deep})\n{{{{x}}}}\n"))
    assert check("@program p(x: str)\n{{" + "(" * 2_000 + "x" + ")" * 2_000 + "}}\n") == []
