"""Folders with randomly initialised models, for tests and benchmarks: real files, loaded like any other checkpoint."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")


def save_random_model(
    config: PretrainedConfig, folder: Path, *, seed: int = 0, tokenizer_from: Path | None = None
) -> Path:
    """Write config and safetensors weights of `config`, initialised from `seed`, into `folder`; return it.

    `tokenizer_from`: a model folder whose tokenizer is copied along. Takes what transformers initialises, so outputs of
    small models are nearly uniform noise: good for equality and speed, meaningless as text.
    """
    from transformers import AutoModelForCausalLM

    generator_state = torch.get_rng_state()
    torch.manual_seed(seed)
    try:
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    finally:
        torch.set_rng_state(generator_state)
    if tokenizer_from is not None:
        for name in _TOKENIZER_FILES:
            if (tokenizer_from / name).exists():
                shutil.copy(tokenizer_from / name, folder / name)
    return folder
