"""Random-init models for the benchmark, a 5M Llama and the shape of SmolLM2-135M; a tokenizer of one token a letter.

Speed does not depend on what the weights are, and one letter a token makes every token count exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

FIRST_MADE_UP = 256  # ids below are the 256 bytes


@dataclass(frozen=True, slots=True)
class Shape:
    """What a benchmark model looks like, and the dtypes it is measured in."""

    name: str
    dtypes: tuple[str, ...]
    config: dict[str, Any]


SHAPES = {
    shape.name: shape
    for shape in (
        Shape(
            "llama-5m",
            ("float32",),
            dict(vocab_size=4096, hidden_size=256, intermediate_size=688, num_hidden_layers=6)
            | dict(num_attention_heads=8, num_key_value_heads=4, max_position_embeddings=2048),
        ),
        Shape(
            "smollm2-135m",
            ("bfloat16", "float32"),
            dict(vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30)
            | dict(num_attention_heads=9, num_key_value_heads=3, max_position_embeddings=8192),
        ),
        Shape(
            "tiny",
            ("float32",),
            dict(vocab_size=320, hidden_size=64, intermediate_size=96, num_hidden_layers=2)
            | dict(num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512),
        ),
    )
}


def save_model(shape: Shape, folder: Path) -> Path:
    """Write config, weights (from a fixed seed) and tokenizer to `folder`; return it."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    # Layers that keep the scale of what passes through them, over small embeddings: with the usual 0.02 everywhere, a
    # model with tied embeddings only repeats its last token, and equal outputs would prove nothing.
    spread = shape.config["hidden_size"] ** -0.5
    config = LlamaConfig(**shape.config, tie_word_embeddings=True, initializer_range=spread)
    config.bos_token_id = config.eos_token_id = None
    config.pad_token_id = 0
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(0.2)
    model.save_pretrained(folder)
    save_tokenizer(shape.config["vocab_size"], folder)
    return folder


def save_tokenizer(vocab_size: int, folder: Path) -> None:
    """A byte-level tokenizer without merges: every letter of a prompt is one token, and every id decodes to letters."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made_up = [f"q{number:x}x" for number in range(FIRST_MADE_UP, vocab_size)]
    vocabulary = {token: token_id for token_id, token in enumerate([*letters, *made_up])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
