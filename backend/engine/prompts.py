"""What users may give as a prompt, turned into pieces: text, token ids, chat messages, pieces, or a list of such.

Knows the tokenizer's chat template and nothing of requests. Called by `Engine`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ...lang.errors import ParameterError, PromptError
from ..api import Markup, Piece, Text, Tokens
from .tokenizer import Tokenizer

Message = Mapping[str, Any]
Prompt = str | Piece | Sequence[int] | Sequence[Message] | tuple[Piece, ...]
"""One prompt: text, a piece or a tuple of pieces, token ids, or chat messages."""

_PIECES = (Text, Markup, Tokens)


def is_batch(prompt: object) -> bool:
    """True for a list of prompts; a list of token ids or of messages is one prompt, and so is a tuple of pieces."""
    if isinstance(prompt, (str, *_PIECES)):
        return False
    if isinstance(prompt, tuple) and all(isinstance(item, _PIECES) for item in prompt):
        return False
    if not isinstance(prompt, Sequence):
        raise ParameterError(f"a prompt is text, token ids, messages or pieces; got {type(prompt).__name__}")
    return not (prompt and all(isinstance(item, (int, float, Mapping)) for item in prompt))


def as_pieces(prompt: Any, tokenizer: Tokenizer) -> tuple[Piece, ...]:
    """Return one prompt as pieces. Text is data: special tokens spelled in it are not recognised; `Markup`'s are."""
    match prompt:
        case str():
            return (Text(prompt),)
        case Text() | Markup() | Tokens():
            return (prompt,)
        case (*items,) if isinstance(prompt, tuple) and items and all(isinstance(item, _PIECES) for item in items):
            return tuple(items)
        case [*items] if items and all(isinstance(item, int) and not isinstance(item, bool) for item in items):
            return (Tokens(tuple(items), ""),)
        case [*items] if items and all(isinstance(item, Mapping) for item in items):
            return chat_pieces(items, tokenizer)
        case []:
            raise PromptError("the prompt is empty; it needs at least one token")
    raise ParameterError(f"a prompt is text, token ids, messages or pieces; got {prompt!r}")


def chat_pieces(
    messages: Sequence[Message], tokenizer: Tokenizer, tools: Sequence[Mapping[str, Any]] = ()
) -> tuple[Piece, ...]:
    """Render messages through the model's chat template, with their contents kept apart from its markup.

    `tools`: functions that the template tells the model of, in the form that transformers' templates expect.

    The template is rendered with marks in place of the contents. Where it does more with a content than print it whole
    or trimmed, the rendered text is used as it is, unless that would let the contents spell special tokens.
    """
    for message in messages:
        if not isinstance(message.get("role"), str) or not isinstance(message.get("content"), str):
            raise ParameterError(f"a message needs a 'role' and a 'content', both text; got {dict(message)!r}")
    contents = [message["content"] for message in messages]
    if any(tokenizer.has_special(json.dumps(given, ensure_ascii=False)) for given in (*tools, *map(_calls, messages))):
        raise PromptError("a tool or a call of one spells a special token of this model; remove it")
    rendered = tokenizer.render_chat([dict(message) for message in messages], tools)
    marks = [f"\ue000{index}\ue001" for index in range(len(messages))]
    marked = tokenizer.render_chat(
        [{**message, "content": mark} for message, mark in zip(messages, marks, strict=True)], tools
    )
    for data in (contents, [content.strip() for content in contents]):
        pieces = _fill(marked, marks, data)
        if "".join(piece.text for piece in pieces) == rendered:
            return pieces
    if any(tokenizer.has_special(content) for content in contents):
        raise PromptError(
            "the chat template rewrites the contents of messages, and one of them spells a special token; remove it, "
            "or render the prompt yourself and give it as Markup"
        )
    return (Markup(rendered),)


def _calls(message: Message) -> Any:
    return message.get("tool_calls")


def _fill(marked: str, marks: Sequence[str], data: Sequence[str]) -> tuple[Piece, ...]:
    """Split at the marks that occur, in their order in the text, and put the data there."""
    pieces: list[Piece] = []
    places = sorted((marked.find(mark), mark, text) for mark, text in zip(marks, data, strict=True))
    end = 0
    for at, mark, text in places:
        if at >= 0:
            pieces += [Markup(marked[end:at]), Text(text)]
            end = at + len(mark)
    return (*pieces, Markup(marked[end:]))
