"""Opens the tokenizer of a model folder: straight from its files where they say all, else through transformers.

Importing transformers takes longer than everything else an engine needs to start, and for the tokenizer class that is
nothing but `tokenizer.json` it adds nothing. Called by `tokenizer.py`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ...lang.errors import ModelError

if TYPE_CHECKING:
    from tokenizers import Tokenizer as RustTokenizer

# Classes of transformers whose behaviour is that of tokenizer.json, whatever the model.
_PLAIN_CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend")
_SPECIAL_NAMES = ("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token")


class SourceTokenizer(Protocol):
    """The part of a transformers tokenizer that ours is made from."""

    @property
    def backend_tokenizer(self) -> RustTokenizer:
        """The tokenizer of the tokenizers library."""
        ...

    @property
    def bos_token_id(self) -> int | None:
        """The id that begins a sequence, if any."""
        ...

    @property
    def eos_token_id(self) -> int | None:
        """The id that ends a sequence, if any."""
        ...

    @property
    def chat_template(self) -> Any:
        """Jinja source, a dict of several by name, or None."""
        ...

    @property
    def special_tokens_map(self) -> dict[str, Any]:
        """Special tokens by role, such as `bos_token`."""
        ...


@dataclass(frozen=True, slots=True)
class FileTokenizer:
    """A `SourceTokenizer` read from `tokenizer.json` and `tokenizer_config.json`."""

    backend_tokenizer: RustTokenizer
    chat_template: Any
    special_tokens_map: dict[str, Any]

    @property
    def bos_token_id(self) -> int | None:
        """The id that begins a sequence, if any."""
        return self._id_of("bos_token")

    @property
    def eos_token_id(self) -> int | None:
        """The id that ends a sequence, if any."""
        return self._id_of("eos_token")

    def _id_of(self, name: str) -> int | None:
        token = self.special_tokens_map.get(name)
        return None if token is None else self.backend_tokenizer.token_to_id(token)


def open_tokenizer(folder: Path) -> SourceTokenizer:
    """Open the tokenizer of a local model folder. `ModelError` when it is missing or of an unsupported kind."""
    plain = _open_plain(folder)
    return plain if plain is not None else _open_with_transformers(folder)


def _open_plain(folder: Path) -> FileTokenizer | None:
    """Return the tokenizer if its files are all there is to it; every doubt is left to transformers."""
    from tokenizers import Tokenizer as RustTokenizer

    file, config_file = folder / "tokenizer.json", folder / "tokenizer_config.json"
    if not file.is_file() or not config_file.is_file() or (folder / "special_tokens_map.json").exists():
        return None
    try:
        config = json.loads(config_file.read_text(encoding="utf-8"))
        spec = json.loads(file.read_text(encoding="utf-8"))
        known = {entry["content"] for entry in spec["added_tokens"]}
    except (ValueError, KeyError, TypeError):
        return None  # transformers says what is wrong
    if not isinstance(config, dict) or config.get("tokenizer_class") not in _PLAIN_CLASSES:
        return None
    if any(config.get(name) for name in ("added_tokens_decoder", "extra_special_tokens", "additional_special_tokens")):
        return None
    special = {name: config[name] for name in _SPECIAL_NAMES if config.get(name) is not None}
    if any(not isinstance(token, str) or token not in known for token in special.values()):
        return None
    template_file = folder / "chat_template.jinja"
    template = template_file.read_text(encoding="utf-8") if template_file.is_file() else config.get("chat_template")
    if not isinstance(template, str | None) or (folder / "additional_chat_templates").exists():
        return None
    return FileTokenizer(RustTokenizer.from_str(json.dumps(spec)), template, special)


def _open_with_transformers(folder: Path) -> SourceTokenizer:
    from transformers import AutoTokenizer

    try:
        hf = AutoTokenizer.from_pretrained(str(folder), use_fast=True, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises nothing narrower for a file it cannot read
        raise ModelError(f"no usable tokenizer in {folder} ({error}); fetch the checkpoint again") from error
    if not getattr(hf, "is_fast", False):
        raise ModelError(f"the tokenizer in {folder} has no fast form; convert it to tokenizer.json first")
    opened: SourceTokenizer = hf
    return opened
