"""Line ends against an oracle that knows at run time what the layout has to know before: whether text follows."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import ramify
from ramify import FakeBackend

# A block is a list of: a text, "" for a blank line, (condition, arm, else arm or None), or (passes, body).
texts = st.sampled_from(["a", "b", "c", "", ""])
blocks = st.recursive(
    st.lists(texts, max_size=4),
    lambda inner: st.lists(
        st.one_of(
            texts,
            st.tuples(st.booleans(), inner, st.one_of(st.none(), inner)),
            st.tuples(st.integers(0, 3), inner),
        ),
        max_size=4,
    ),
    max_leaves=12,
)


class Oracle:
    """Writes line ends when the next text comes."""

    def __init__(self) -> None:
        self.written = ""
        self.waiting = 0

    def block(self, items: list[Any]) -> None:
        for item in items:
            match item:
                case "":
                    self.waiting += 1
                case str():
                    self.written += "\n" * self.waiting + item
                    self.waiting = 1
                case (bool(holds), arm, other):
                    self.block(arm if holds else other or [])
                case (int(passes), body):
                    for _ in range(passes):
                        self.block(body)


def lines_of(items: list[Any]) -> list[str]:
    lines: list[str] = []
    for item in items:
        match item:
            case str():
                lines.append(item)
            case (bool(holds), arm, other):
                lines += [f"@if {'yes' if holds else 'no'}", *lines_of(arm)]
                lines += [] if other is None else ["@else", *lines_of(other)]
                lines.append("@end")
            case (int(passes), body):
                name = f"i{len(lines)}_{id(item)}"
                lines += [f"@for {name} in range({passes})", *lines_of(body), "@end"]
    return lines


@settings(max_examples=150)
@given(blocks)
def test_line_ends_stand_where_they_should(items: list[Any]) -> None:
    """Behind a first line; only at the very end there may be line ends that nothing followed after all."""
    block = ["start", *items]
    oracle = Oracle()
    oracle.block(block)
    script = "\n".join(["@program p(yes: bool = true, no: bool = false)", *lines_of(block)])
    text = ramify.parse_script(script).run(backend=FakeBackend()).text()
    assert text.rstrip("\n") == oracle.written, script
