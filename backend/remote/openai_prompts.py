"""Prompts for OpenAI-compatible servers: pieces back into chat messages, or plain text where there are no roles.

Such servers apply their model's template themselves, so programs are given one of this client's own (`TEMPLATE`), whose
markup stands in `Markup` pieces only and is read off again here. Called by `OpenAIBackend`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...lang.errors import UnsupportedError
from ..api import ChatTemplate, Markup, Piece

TEMPLATE = ChatTemplate(
    source=(
        "{% for message in messages %}<|{{ message.role }}|>\n{{ message.content }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
    )
)

_MARK = re.compile(r"<\|(\w+)\|>\n")


@dataclass(frozen=True, slots=True)
class Messages:
    """A conversation. `is_begun`: the last message is the assistant's own, to be continued."""

    messages: tuple[dict[str, str], ...]
    is_begun: bool


def read_prompt(prompt: tuple[Piece, ...]) -> Messages | str:
    """Return the messages of a prompt, or its text when it has no roles.

    Raises `UnsupportedError` for what no chat endpoint takes: text outside roles beside messages, or a prompt that ends
    in a message of somebody else than the assistant.
    """
    messages: list[dict[str, str]] = []
    outside: list[str] = []
    role: str | None = None
    for piece in prompt:
        if not isinstance(piece, Markup):
            if role is None:
                outside.append(piece.text)
            else:
                messages[-1]["content"] += piece.text
            continue
        for name in _MARK.findall(piece.text):
            role = None if name == "end" else name
            if role is not None:
                messages.append({"role": role, "content": ""})
    if not messages:
        return "".join(outside)
    if any(outside):
        raise UnsupportedError(
            "a chat endpoint takes messages only, but this program has text outside roles; put it into a role"
        )
    if role not in (None, "assistant"):
        raise UnsupportedError(f"a chat endpoint lets the model speak as the assistant only, not in role {role!r}")
    if role == "assistant" and not messages[-1]["content"]:
        messages.pop()
    is_begun = bool(messages) and role == "assistant" and messages[-1]["role"] == "assistant"
    return Messages(tuple(messages), is_begun)
