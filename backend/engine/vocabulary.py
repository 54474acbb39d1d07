"""`Vocabulary`: the bytes that every token id stands for, and which ids are special.

Built once from a tokenizer's serialised form; knows nothing of text, sampling or grammars. Read by the detokenizer, the
sampler and the grammar compilers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ...lang.errors import ModelError

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>\Z")

LeadingSpace = Literal["keep", "strip-one", "strip-first-token"]
"""What decoding does to the space that begins a text: nothing (byte-level), drops one (SentencePiece), or drops the
first token's (the Metaspace decoder)."""


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """The bytes of every token id, as decoding with special tokens skipped would spell them.

    `token_bytes` has `size` entries, the width of the model's logits, which may exceed the tokenizer's length: ids that
    no token uses are empty, as is any token without text. `special_ids` never show in text. `eos_ids` end a sequence.
    `byte_fallback_ids` are SentencePiece's `<0xNN>`, whose runs decode as a whole. `tokenize`, where a tokeniser is at
    hand, gives the ids of text inside a sequence, special tokens never among them.
    """

    token_bytes: tuple[bytes, ...]
    special_ids: frozenset[int] = frozenset()
    eos_ids: frozenset[int] = frozenset()
    byte_fallback_ids: frozenset[int] = frozenset()
    leading_space: LeadingSpace = "keep"
    tokenize: Callable[[str], Sequence[int]] | None = None

    @property
    def size(self) -> int:
        """Number of ids: the width of the logits."""
        return len(self.token_bytes)

    def token_text(self, token_id: int) -> str:
        """Return the text of one token alone; bytes that are no whole character become U+FFFD."""
        return self.token_bytes[token_id].decode("utf-8", errors="replace")


def build_vocabulary(
    tokenizer: Mapping[str, Any], tokens: Iterable[tuple[str, int]], *, size: int, eos_ids: Iterable[int]
) -> Vocabulary:
    """Build a `Vocabulary` from the parsed `tokenizer.json` and all (token, id) pairs, added tokens included.

    `size` is the width of the logits; tokens beyond it cannot be generated and are left out. Raises `ModelError` for a
    decoder whose tokens have no bytes of their own (WordPiece and kin).
    """
    pairs = [(token, token_id) for token, token_id in tokens if token_id < size]
    steps = _steps(tokenizer.get("decoder"))
    special_ids = frozenset(entry["id"] for entry in tokenizer["added_tokens"] if entry["special"])
    kinds = {step["type"] for step in steps}
    if not kinds or not kinds <= {"ByteLevel", "Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"}:
        found = ", ".join(sorted(kinds)) or "no decoder"
        raise ModelError(f"the tokenizer decodes with {found}; only byte-level and SentencePiece tokenizers are known")
    token_bytes = [b""] * size
    byte_fallback: set[int] = set()
    table = _byte_of_character()
    for token, token_id in pairs:
        if "ByteLevel" in kinds:
            token_bytes[token_id] = _byte_level_bytes(token, table)
        elif "ByteFallback" in kinds and (match := _BYTE_TOKEN.match(token)):
            byte_fallback.add(token_id)
            token_bytes[token_id] = bytes([int(match[1], 16)])
        else:
            token_bytes[token_id] = _replaced(token, steps).encode()
    return Vocabulary(
        tuple(token_bytes), special_ids, frozenset(eos_ids), frozenset(byte_fallback), _leading_space(tokenizer)
    )


def _steps(decoder: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """Return the steps of a decoder, whether it is one or a `Sequence` of them."""
    if decoder is None:
        return []
    return list(decoder["decoders"]) if decoder["type"] == "Sequence" else [decoder]


def _replaced(token: str, steps: list[Mapping[str, Any]]) -> str:
    for step in steps:
        if step["type"] == "Replace":
            token = token.replace(step["pattern"]["String"], step["content"])
        elif step["type"] == "Metaspace":
            token = token.replace(step["replacement"], " ")
    return token


def _leading_space(tokenizer: Mapping[str, Any]) -> LeadingSpace:
    for step in _steps(tokenizer.get("decoder")):
        if step["type"] == "Strip" and step["start"] > 0:
            return "strip-one"
        if step["type"] == "Metaspace" and step.get("prepend_scheme", "always") != "never":
            return "strip-first-token"
    return "keep"


def _byte_of_character() -> dict[str, int]:
    """Map GPT-2's printable stand-ins to the bytes they stand for: the printable Latin-1 ones are themselves."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    table = {chr(byte): byte for byte in printable}
    table.update({chr(256 + offset): byte for offset, byte in enumerate(others)})
    return table


def _byte_level_bytes(token: str, table: Mapping[str, int]) -> bytes:
    """Return a byte-level token's bytes; one with any other character (an added token) is itself, as in decoding."""
    if all(character in table for character in token):
        return bytes(table[character] for character in token)
    return token.encode("utf-8")
