"""Reads a `config.json` of the native family that leaves nothing to defaults, without importing transformers.

That import takes longer than everything else an engine needs to start. Whatever is missing, old-fashioned or odd is
transformers' to read and to judge; so what this returns is what it would return. Called by the loader.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

_SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
)
_FLAGS: dict[str, tuple[str, ...]] = {
    "llama": ("attention_bias", "mlp_bias"),
    "mistral": (),
    "qwen2": (),
    "qwen3": ("attention_bias",),
}
_DTYPES = ("float32", "bfloat16", "float16")


def plain_config(raw: dict[str, Any]) -> Any | None:
    """Return the config as an object with transformers' attribute names, or None when transformers has to read it.

    >>> plain_config({"model_type": "llama"}) is None
    True
    """
    kind = raw.get("model_type")
    if kind not in _FLAGS or raw.get("dtype") not in _DTYPES or raw.get("hidden_act") not in ("silu", "swish"):
        return None
    if any(type(raw.get(name)) is not int or raw[name] <= 0 for name in _SIZES):
        return None
    if any(type(raw.get(name)) is not bool for name in (*_FLAGS[kind], "tie_word_embeddings")):
        return None
    if type(raw.get("rms_norm_eps")) is not float or not _is_plain_rope(raw.get("rope_parameters")):
        return None
    if kind != "llama" and not _has_windows(raw):
        return None
    return SimpleNamespace(**{**raw, "dtype": getattr(torch, raw["dtype"])})


def _is_plain_rope(rope: Any) -> bool:
    return (
        isinstance(rope, dict)
        and rope.keys() == {"rope_type", "rope_theta"}
        and rope["rope_type"] == "default"
        and type(rope["rope_theta"]) in (int, float)
        and rope["rope_theta"] > 0
    )


def _has_windows(raw: dict[str, Any]) -> bool:
    """True when the sliding windows are spelled out."""
    if "sliding_window" not in raw or not (raw["sliding_window"] is None or type(raw["sliding_window"]) is int):
        return False
    kinds = raw.get("layer_types")
    if raw["model_type"] == "mistral":
        return True
    return (
        isinstance(kinds, list)
        and len(kinds) == raw["num_hidden_layers"]
        and set(kinds) <= {"full_attention", "sliding_attention"}
    )
