"""Chat markup from a model's own template: what stands before each message's content, and after the last.

The template is rendered with marks in place of contents, so user data never passes through it and the markup depends
on the order of roles only. Used by `conversation.py` alone.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import NoReturn

from ..backend.api import ChatTemplate
from ..lang.errors import RoleError

# What a model without a template sees: plain paragraphs, as base models know them from the web.
PLAIN_TEMPLATE = ChatTemplate(
    source=(
        "{% for message in messages %}{{ message['role'] | capitalize }}:\n{{ message['content'] }}\n\n{% endfor %}"
        "{% if add_generation_prompt %}Assistant:\n{% endif %}"
    )
)

PAD = "\u2003"  # white space that no template writes; it disappears beside a mark when the template trims contents
MARK = re.compile(f"({PAD}?)\ue000([0-9]+)\ue001({PAD}?)")


@dataclass(frozen=True, slots=True)
class Opening:
    """Markup before a message's content, and whether the template trims the content's ends."""

    markup: str
    trim_left: bool
    trim_right: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """The openings of messages `start, start + 1, ...` and the markup after the last one's content."""

    openings: tuple[Opening, ...]
    tail: str


class ChatFormat:
    """The markup of one template.

    A prompt only ever grows, while some templates write a message differently once others follow it (a system prompt
    moved into the last user message, reasoning dropped from earlier turns). So the caller asks for the markup of the
    messages from `start` on, those before having been sent already; what the template would now do to them is ignored.
    """

    def __init__(self, template: ChatTemplate | None) -> None:
        self._template = template or PLAIN_TEMPLATE
        self._template.check()
        self.layout = functools.lru_cache(maxsize=512)(self._layout)

    def _layout(self, roles: tuple[str, ...], *, start: int = 0, is_open: bool = False) -> Layout:
        """Return the markup of messages `start` .. of a conversation with these roles.

        `is_open`: the last message is being written, so the template's generation prompt opens an assistant's. Raises
        `RoleError` with the template's own words when it refuses the roles.
        """
        refusal: str | None = None
        for first in range(_num_leading_system(roles, start) + 1):
            for rendered in self._renderings(roles[first:], is_open=is_open):
                if rendered.error is not None:
                    refusal = refusal or rendered.error
                    continue
                layout = _cut(rendered.text, len(roles) - first, start - first, is_open=is_open)
                if layout is not None:
                    return layout
        if refusal is None and len(roles) - start > 1:
            return self._layout_by_turns(roles, start, is_open=is_open)
        _refuse(roles, refusal or "its text for these roles does not hold every message once and in order")

    def _layout_by_turns(self, roles: tuple[str, ...], start: int, *, is_open: bool) -> Layout:
        """Lay the messages out as if each had been sent before the next was known: the template moves contents."""
        layouts = [
            self.layout(roles[: end + 1], start=end, is_open=is_open and end == len(roles) - 1)
            for end in range(start, len(roles))
        ]
        return Layout(tuple(opening for layout in layouts for opening in layout.openings), layouts[-1].tail)

    def _renderings(self, roles: tuple[str, ...], *, is_open: bool) -> list[_Rendering]:
        """Return renderings to read the markup from, best first."""
        whole = self._render(roles)
        followed = [self._render((*roles, "user"))]  # for a message that no template writes alone
        if not is_open or roles[-1] != "assistant":
            return [whole, *followed]
        prompted = self._render(roles[:-1], add_generation_prompt=True)
        if prompted.error is not None:
            return [whole, prompted, *followed]
        last = [mark[0] for mark in MARK.finditer(whole.text) if int(mark[2]) == len(roles) - 1]
        by_prompt = _Rendering(prompted.text + (last[0] if last else f"{PAD}{_mark(len(roles) - 1)}{PAD}"), None)
        bare = self._render(roles[:-1])
        if prompted.text == bare.text and whole.error is None:
            # The template has no generation prompt; its messages say what opens one, but a bare space is the answer's.
            opened = whole.text[: _position(whole.text, len(roles) - 1)]
            if not (opened.startswith(prompted.text) and not opened[len(prompted.text) :].strip()):
                return [whole, by_prompt]
        return [by_prompt, whole, *followed]

    def _render(self, roles: tuple[str, ...], *, add_generation_prompt: bool = False) -> _Rendering:
        messages = [{"role": role, "content": f"{PAD}{_mark(i)}{PAD}"} for i, role in enumerate(roles)]
        try:
            text = self._template.render(messages, add_generation_prompt=add_generation_prompt)
        except RoleError as error:
            return _Rendering("", str(error))
        return _Rendering(text, None)


@dataclass(frozen=True, slots=True)
class _Rendering:
    text: str
    error: str | None


@functools.lru_cache(maxsize=32)
def chat_format(template: ChatTemplate | None) -> ChatFormat:
    """Return the format of a template; None is the plain-text one."""
    return ChatFormat(template)


def _num_leading_system(roles: tuple[str, ...], start: int) -> int:
    """How many system messages at the front were sent already and may be left out of a rendering."""
    num = 0
    while num < start and roles[num] == "system":
        num += 1
    return num


def _mark(index: int) -> str:
    return f"\ue000{index}\ue001"


def _position(text: str, index: int) -> int:
    found = re.search(f"{PAD}?{_mark(index)}", text)
    return len(text) if found is None else found.start()


def _cut(text: str, num: int, start: int, *, is_open: bool) -> Layout | None:
    """Split a rendering of at least `num` messages at its marks; None when those from `start` on are out of order."""
    marks = list(MARK.finditer(text))
    order = [int(mark[2]) for mark in marks]
    expected = list(range(max(start - 1, 0), num))
    positions = [order.index(index) if order.count(index) == 1 else -1 for index in expected]
    if -1 in positions or positions != list(range(positions[0], positions[0] + len(positions))):
        return None
    if start == 0 and positions[0] != 0:
        return None
    openings = []
    for index in range(start, num):
        place = positions[index - expected[0]]
        mark = marks[place]
        begin = marks[place - 1].end() if place else 0
        openings.append(Opening(text[begin : mark.start()], not mark[1], not mark[3]))
    last = positions[-1]
    if is_open or last + 1 < len(marks):
        return Layout(tuple(openings), "")
    return Layout(tuple(openings), text[marks[last].end() :])


def _refuse(roles: tuple[str, ...], reason: str) -> NoReturn:
    raise RoleError(f"the model's chat template refuses the roles {', '.join(roles)}: {reason}")
