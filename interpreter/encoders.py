"""Tokenizers of all kinds as one function from the pieces of a prompt to token ids. For counting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..backend.api import ChatTemplate, Piece, Tokens
from ..lang.errors import ParameterError

Encode = Callable[[tuple[Piece, ...]], Sequence[int]]


def encoder_of(tokenizer: Any) -> tuple[Encode, ChatTemplate | None]:
    """Return what turns pieces into ids: an engine's own tokenizer, another library's, or a function of text."""
    found = getattr(tokenizer, "tokenizer", tokenizer)
    if hasattr(found, "encode_prompt"):
        return found.encode_prompt, found.chat_template
    if hasattr(found, "encode_ordinary"):  # tiktoken
        return _piecewise(found.encode_ordinary), None
    if hasattr(found, "encode") and not isinstance(found, str):  # transformers, tokenizers
        return _piecewise(lambda text: _ids(found.encode(text, add_special_tokens=False))), _template_of(found)
    if not callable(tokenizer):
        kind = type(tokenizer).__name__
        raise ParameterError(f"cost takes an engine, a tokenizer or a function from text to token ids, got a {kind}")
    return _piecewise(tokenizer), None


def _ids(encoded: Any) -> Sequence[int]:
    found: Sequence[int] = getattr(encoded, "ids", encoded)
    return found


def _template_of(tokenizer: Any) -> ChatTemplate | None:
    source = getattr(tokenizer, "chat_template", None)
    if not isinstance(source, str):
        return None
    special = {name: value for name, value in tokenizer.special_tokens_map.items() if isinstance(value, str)}
    return ChatTemplate(source=source, special_tokens=tuple(special.items()))


def _piecewise(encode_text: Callable[[str], Sequence[int]]) -> Encode:
    """Return what encodes a prompt: text between generated tokens as one."""

    def encode(prompt: tuple[Piece, ...]) -> list[int]:
        ids: list[int] = []
        text = ""
        for piece in prompt:
            if isinstance(piece, Tokens):
                ids += [*(encode_text(text) if text else ()), *piece.ids]
                text = ""
            else:
                text += piece.text
        return [*ids, *(encode_text(text) if text else ())]

    return encode
