"""Vocabularies of real sizes: byte-level BPE learnt from the Python and documentation files of the installed packages.

What a mask costs depends on how many tokens there are and how they share beginnings, which text of letters does not
show. A tokenizer of a real model can be given instead.
"""

from __future__ import annotations

import shutil
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CORPUS_BYTES = 48 << 20
_SUFFIXES = (".py", ".md", ".rst", ".txt", ".pyi")
_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def save_tokenizer(size: int, folder: Path, *, corpus_bytes: int = CORPUS_BYTES) -> Path:
    """Learn a byte-level tokenizer of `size` tokens, the end of sequence the first, and save it to `folder`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(corpus_bytes), trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>").save_pretrained(folder)
    return folder


def copy_tokenizer(source: Path, folder: Path) -> Path:
    """Copy the tokenizer of a model folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in _FILES:
        if (source / name).exists():
            shutil.copy(source / name, folder / name)
    return folder


def corpus(num_bytes: int) -> Iterator[str]:
    """The files of the installed packages, in the order of their paths, up to `num_bytes`."""
    left = num_bytes
    for path in sorted(Path(sysconfig.get_paths()["purelib"]).rglob("*")):
        if path.suffix not in _SUFFIXES or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        left -= len(text)
        yield text
        if left < 0:
            return


def save_large_model(tokenizer: Path, folder: Path) -> Path:
    """A random-init Llama of 100M parameters with the tokenizer of the folder `tokenizer`: its files, in `folder`."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    loaded: Any = AutoTokenizer.from_pretrained(tokenizer)
    size = -(-len(loaded) // 128) * 128  # logits are often wider than the vocabulary
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=512,
        intermediate_size=1408,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        initializer_range=512**-0.5,
        bos_token_id=None,
        eos_token_id=loaded.eos_token_id,
        pad_token_id=loaded.eos_token_id,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(0.2)
    model.save_pretrained(folder)
    return copy_tokenizer(tokenizer, folder)
