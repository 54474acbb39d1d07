"""`Tokenizer`: prompts in, token ids out, with data kept apart from markup.

Wraps a tokenizer of the tokenizers library; knows nothing of requests or models. Used by the engine's front.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ...lang.errors import ModelError, PromptError, RoleError
from ..api import ChatTemplate, Markup, Piece, Text, Tokens
from .text_cache import TextCache
from .tokenizer_files import SourceTokenizer, open_tokenizer
from .vocabulary import Vocabulary, build_vocabulary

if TYPE_CHECKING:
    from tokenizers import Tokenizer as RustTokenizer

# Where a text may be cut without changing its tokens, for tokenizers that split words before they merge: no pattern in
# use joins letters over a single space, so the state of the splitter there does not depend on either side.
_SAFE_CUT = re.compile(r"(?<=[A-Za-z]) (?=[A-Za-z])")
_BLOCK_LEN = 192  # characters: long enough to amortise a lookup (1 us), short enough that forks share most blocks
_CACHE_CHARACTERS = 4_000_000
_PROBE = "The quick  brown fox's 12 jumps,\n\n over lazy dogs' tail . It was NOT late in May 2024 and\tcost $5 or so "

Place = Literal["start", "after-special", "after-text"]
"""Where in a sequence a stretch of text stands; SentencePiece tokenizers put a space before the first, or more."""


class Tokenizer:
    """Encodes prompts for one model.

    `hf` is a fast tokenizer of transformers, or what its files say; `vocab_size` the width of the model's logits,
    `eos_ids` all ids that end a sequence.
    """

    def __init__(self, hf: SourceTokenizer, *, vocab_size: int, eos_ids: Iterable[int]) -> None:
        from tokenizers import Tokenizer as RustTokenizer

        self.hf = hf
        spec = json.loads(hf.backend_tokenizer.to_str())
        tokens = hf.backend_tokenizer.get_vocab(with_added_tokens=True).items()
        vocabulary = build_vocabulary(spec, tokens, size=vocab_size, eos_ids=eos_ids)
        self._rust: dict[Place, RustTokenizer] = {}
        places: tuple[Place, ...] = ("start", "after-special", "after-text")
        for place in places:
            changed = _spec_at(spec, place)
            if changed == spec and self._rust:
                self._rust[place] = self._rust["start"]
                continue
            rust = RustTokenizer.from_str(json.dumps(changed))
            rust.encode_special_tokens = True  # data: special tokens spelled in it are plain text
            rust.no_padding()
            rust.no_truncation()
            self._rust[place] = rust
        inside = self._rust["after-text"]
        self.vocabulary: Vocabulary = dataclasses.replace(
            vocabulary, tokenize=lambda text: inside.encode(text, add_special_tokens=False).ids
        )
        self._special = {entry["content"]: entry for entry in spec["added_tokens"] if entry["special"]}
        contents = sorted(self._special, key=len, reverse=True)
        self._special_pattern = re.compile("|".join(map(re.escape, contents)) or r"(?!)")
        self._bos_ids = _bos_ids(hf)
        self._cache = TextCache(_CACHE_CHARACTERS)
        self._can_cut = _splits_words(spec) and self._verify_cuts()

    @property
    def bos_ids(self) -> tuple[int, ...]:
        """The ids that the tokenizer puts before a plain text; usually one or none."""
        return self._bos_ids

    @property
    def start_ids(self) -> tuple[int, ...]:
        """What stands before a text that nothing precedes: beginning-of-sequence, else end-of-sequence, if any."""
        if self._bos_ids:
            return self._bos_ids
        first = self.hf.bos_token_id if self.hf.bos_token_id is not None else self.hf.eos_token_id
        return () if first is None else (first,)

    @property
    def chat_template(self) -> ChatTemplate | None:
        """The model's chat template, or None."""
        source = self.hf.chat_template
        if isinstance(source, dict):
            source = source.get("default")
        if not source:
            return None
        special = {name: str(value) for name, value in self.hf.special_tokens_map.items() if isinstance(value, str)}
        return ChatTemplate(source=source, special_tokens=tuple(sorted(special.items())))

    def encode_prompt(self, pieces: Sequence[Piece]) -> list[int]:
        """Return the token ids of a prompt.

        Adjacent text and markup are tokenised as one string between special tokens, so that piece borders do not show;
        special tokens are recognised in markup only; `Tokens` are used as they are. A prompt that begins with data gets
        the beginning-of-sequence token that the tokenizer would add; one that begins with the chat template's markup is
        the template's own affair, as in transformers' `apply_chat_template`.

        >>> tokenizer.encode_prompt((Text("Hello"),))  # doctest: +SKIP
        [1, 15043]
        """
        ids: list[int] = []
        for segment in self._segments(pieces):
            match segment:
                case str():
                    ids += self._encode_text(segment, self._place_after(ids))
                case tuple():
                    ids += segment
        if self._wants_bos(pieces) and tuple(ids[: len(self._bos_ids)]) != self._bos_ids:
            ids[:0] = self._bos_ids
        return ids

    def encode_text(self, text: str) -> list[int]:
        """Return the ids of plain data at the start of a sequence, without a beginning-of-sequence token."""
        return self._encode_text(text, "start")

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`, special tokens left out."""
        return str(self.hf.backend_tokenizer.decode(list(ids), skip_special_tokens=True))

    def has_special(self, text: str) -> bool:
        """True when `text` spells a special token."""
        return self._special_pattern.search(text) is not None

    def render_chat(self, messages: Sequence[dict[str, Any]], tools: Sequence[Mapping[str, Any]] = ()) -> str:
        """Render messages through the chat template, ready for the assistant's answer. `PromptError` without one."""
        template = self.chat_template
        if template is None:
            raise PromptError("this model has no chat template; give the prompt as text instead of messages")
        try:
            return template.render(messages, add_generation_prompt=True, tools=tools)
        except RoleError as error:
            raise PromptError(f"the model's chat template refuses these messages: {error}") from error

    def _wants_bos(self, pieces: Sequence[Piece]) -> bool:
        first = next((piece for piece in pieces if piece.text or isinstance(piece, Tokens)), None)
        match first:
            case None | Tokens():
                return False
            case Markup():
                return self.hf.chat_template is None
            case Text():
                return True

    def _segments(self, pieces: Sequence[Piece]) -> list[str | tuple[int, ...]]:
        """Split a prompt into stretches of text and runs of ids, in order; stretches are never adjacent."""
        segments: list[str | tuple[int, ...]] = []
        text: list[str] = []
        strip_left = False  # the special token before swallows the white space that follows it

        def flush(*, strip_right: bool = False) -> None:
            stretch = "".join(text)
            text.clear()
            stretch = stretch.lstrip() if strip_left else stretch
            stretch = stretch.rstrip() if strip_right else stretch
            if stretch:
                segments.append(stretch)

        for piece in pieces:
            match piece:
                case Text():
                    text.append(piece.text)
                case Tokens():
                    flush()
                    strip_left = False
                    segments.append(piece.ids)
                case Markup():
                    end = 0
                    for found in self._special_pattern.finditer(piece.text):
                        entry = self._special[found[0]]
                        text.append(piece.text[end : found.start()])
                        flush(strip_right=entry["lstrip"])
                        strip_left = entry["rstrip"]
                        segments.append((entry["id"],))
                        end = found.end()
                    text.append(piece.text[end:])
        flush()
        return segments

    def _place_after(self, ids: list[int]) -> Place:
        if not ids:
            return "start"
        return "after-special" if ids[-1] in self.vocabulary.special_ids else "after-text"

    def _encode_text(self, text: str, place: Place) -> list[int]:
        """Encode one stretch of data, from the cache block by block where the tokenizer allows cutting."""
        ids: list[int] = []
        start = 0
        while start < len(text):
            cut = _SAFE_CUT.search(text, start + _BLOCK_LEN) if self._can_cut else None
            end = cut.start() if cut else len(text)
            ids += self._encode_block(text[start:end], place)
            start = end
        return ids

    def _encode_block(self, block: str, place: Place) -> Sequence[int]:
        ids = self._cache.get((place, block))
        if ids is None:
            ids = tuple(self._rust[place].encode(block, add_special_tokens=False).ids)
            self._cache.put((place, block), ids)
        return ids

    def _verify_cuts(self) -> bool:
        """Check on a probe that cutting at every safe place gives the tokens of the whole."""
        text = _PROBE * 3
        starts = [0, *(found.start() for found in _SAFE_CUT.finditer(text)), len(text)]
        rust = self._rust["start"]
        blocks = [text[start:end] for start, end in itertools.pairwise(starts)]
        cut = [token_id for block in blocks for token_id in rust.encode(block, add_special_tokens=False).ids]
        return cut == list(rust.encode(text, add_special_tokens=False).ids)


def load_tokenizer(folder: Path, *, vocab_size: int) -> Tokenizer:
    """Load the tokenizer of a local model folder. `ModelError` when it is missing or of an unsupported kind."""
    hf = open_tokenizer(folder)
    return Tokenizer(hf, vocab_size=vocab_size, eos_ids=read_eos_ids(folder, hf))


def read_eos_ids(folder: Path, hf: SourceTokenizer) -> frozenset[int]:
    """Return every id that ends a sequence: generation_config.json's, else config.json's, and the tokenizer's own."""
    found: set[int] = set()
    for name in ("generation_config.json", "config.json"):
        path = folder / name
        if not path.exists():
            continue
        try:
            value = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id")
        except (ValueError, AttributeError) as error:
            raise ModelError(f"{path} is not a JSON object ({error}); fetch the checkpoint again") from error
        if value is not None:
            found.update(value if isinstance(value, list) else [value])
            break
    if hf.eos_token_id is not None:
        found.add(hf.eos_token_id)
    return frozenset(found)


def _bos_ids(hf: SourceTokenizer) -> tuple[int, ...]:
    plain = hf.backend_tokenizer.encode("a", add_special_tokens=False).ids
    whole = hf.backend_tokenizer.encode("a", add_special_tokens=True).ids
    for start in range(len(whole) - len(plain) + 1):
        if whole[start : start + len(plain)] == plain:
            return tuple(whole[:start])
    return ()


def _spec_at(spec: dict[str, Any], place: Place) -> dict[str, Any]:
    """Return the tokenizer for one place: which spaces it adds by itself depends on what stands before the text.

    Metaspace's scheme "first" adds one at the start only; what it, `Prepend` or `add_prefix_space` add before every
    stretch belongs after special tokens too, but never inside running text.
    """
    if place == "start":
        return spec
    changed = dict(spec)
    inside = place == "after-text"
    pre = spec.get("pre_tokenizer")
    if pre is not None:
        steps = [_step_at(step, inside=inside) for step in _steps(pre)]
        if steps != _steps(pre):
            changed["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
    normalizer = spec.get("normalizer")
    if normalizer is not None and inside:
        steps = [step for step in _steps(normalizer) if step["type"] != "Prepend"]
        if steps != _steps(normalizer):
            changed["normalizer"] = {"type": "Sequence", "normalizers": steps}
    return changed


def _step_at(step: dict[str, Any], *, inside: bool) -> dict[str, Any]:
    match step:
        case {"type": "Metaspace", "prepend_scheme": scheme} if inside or scheme == "first":
            return {**step, "prepend_scheme": "never"}
        case {"type": "ByteLevel"} if inside:
            return {**step, "add_prefix_space": False}
    return step


def _steps(component: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the steps of a tokenizer component, whether it is one or a `Sequence` of them."""
    if component["type"] != "Sequence":
        return [component]
    steps: list[dict[str, Any]] = component.get("pretokenizers") or component["normalizers"]
    return steps


def _splits_words(spec: dict[str, Any]) -> bool:
    """True when words are split before merging, and neither normaliser nor added tokens reach over a space."""
    pre = spec.get("pre_tokenizer")
    steps = [] if pre is None else _steps(pre)
    splits = any((step["type"] == "ByteLevel" and step["use_regex"]) or step["type"] == "Split" for step in steps)
    normalizer = spec.get("normalizer")
    local = normalizer is None or normalizer["type"] in ("NFC", "NFKC")
    reaching = any(" " in entry["content"] or entry["lstrip"] or entry["rstrip"] for entry in spec["added_tokens"])
    return splits and local and not reaching and any(step["type"] == "ByteLevel" for step in steps)
