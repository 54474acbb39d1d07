"""Models of real shapes with random weights made where they run, and an engine around them: no files, no network."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

import ramify
from ramify.backend.engine.models.llama import DecoderConfig, LlamaModel
from ramify.backend.engine.models.loader import LoadedModel

_EMBEDDED = Path(ramify.__file__).parent / "backend" / "engine" / "models" / "embedded"


@dataclass(frozen=True, slots=True)
class Shape:
    """A model type and the sizes of its config."""

    kind: str
    sizes: dict[str, Any]


def _sizes(hidden: int, inner: int, layers: int, heads: tuple[int, int, int], vocabulary: int) -> dict[str, Any]:
    return dict(
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads[0],
        num_key_value_heads=heads[1],
        head_dim=heads[2],
        vocab_size=vocabulary,
        max_position_embeddings=8192,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )


SHAPES = {
    "qwen3-0.6b": Shape("qwen3", _sizes(1024, 3072, 28, (16, 8, 128), 151_936) | dict(tie_word_embeddings=True)),
    "llama-3.2-1b": Shape("llama", _sizes(2048, 8192, 16, (32, 8, 64), 128_256) | dict(tie_word_embeddings=True)),
    "llama-3-8b": Shape("llama", _sizes(4096, 14_336, 32, (32, 8, 128), 128_256) | dict(tie_word_embeddings=False)),
    "tiny": Shape("qwen3", _sizes(64, 96, 2, (4, 2, 16), 5000) | dict(tie_word_embeddings=True)),
}


class RandomWeights:
    """Answers like a checkpoint, with tensors drawn on `device`: norms are one, matrices keep the scale of a stream."""

    def __init__(self, device: str) -> None:
        self._device = device

    def tensor(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """One tensor; `name` only says whether it is a norm's."""
        empty = torch.empty(shape, dtype=dtype, device=self._device)
        return empty.fill_(1.0) if "norm" in name else empty.normal_(0.0, shape[-1] ** -0.5)

    def stacked(self, names: Sequence[str], shapes: Sequence[tuple[int, ...]], dtype: torch.dtype) -> Tensor:
        """Several, their rows one after the other."""
        pairs = zip(names, shapes, strict=True)
        return torch.cat([self.tensor(name, shape, dtype) for name, shape in pairs])


def make_config(name: str) -> Any:
    """The transformers config of a shape."""
    from transformers import AutoConfig

    shape = SHAPES[name]
    return AutoConfig.for_model(shape.kind, **shape.sizes)


def make_engine(name: str, device: str, folder: Path, *, max_total_tokens: int, max_running: int) -> ramify.Engine:
    """Return an engine on random weights in bfloat16, with the embedded tokenizer; its vocabulary is the shape's."""
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(_EMBEDDED / file, folder / file)
    (folder / "config.json").write_text(json.dumps({"model_type": SHAPES[name].kind}))
    decoder = DecoderConfig.of(make_config(name))
    assert decoder is not None
    weights: Any = RandomWeights(device)
    model = LlamaModel(decoder, weights, torch.bfloat16, torch.device(device))
    loaded = LoadedModel(model, folder)
    with mock.patch("ramify.backend.engine.engine.load_model", lambda *args, **options: loaded):
        return ramify.Engine(
            str(folder),
            max_total_tokens=max_total_tokens,
            max_running=max_running,
            chunked_prefill_size=2048,
        )


def read_bytes(name: str) -> int:
    """Bytes of weights that a decode step reads, in bfloat16: all matrices; of an untied embedding a few rows."""
    sizes = SHAPES[name].sizes
    hidden, inner, layers = sizes["hidden_size"], sizes["intermediate_size"], sizes["num_hidden_layers"]
    heads, kv_heads, dim = sizes["num_attention_heads"], sizes["num_key_value_heads"], sizes["head_dim"]
    layer = hidden * (2 * heads + 2 * kv_heads) * dim + 3 * hidden * inner
    return 2 * (layers * layer + hidden * sizes["vocab_size"])


def kv_bytes(name: str) -> int:
    """Bytes of one token's keys and values over all layers."""
    sizes = SHAPES[name].sizes
    return int(2 * 2 * sizes["num_hidden_layers"] * sizes["num_key_value_heads"] * sizes["head_dim"])
