"""`load_model`: from a folder or hub id to a model ready for the engine.

Decides folder, dtype, device and implementation; the models read their own weights. Called by ModelRunner's maker.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from ....lang.errors import ModelError
from .api import CausalLM
from .checkpoint import Checkpoint, resolve_folder
from .plain_config import plain_config

DType = Literal["auto", "float32", "bfloat16", "float16"]
Implementation = Literal["auto", "native", "transformers"]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model and the folder it came from; its tokenizer is there too."""

    model: CausalLM
    folder: Path


def load_model(
    model: str | Path | None = None,
    *,
    dtype: DType = "auto",
    device: str = "auto",
    implementation: Implementation = "auto",
) -> LoadedModel:
    """Load a model: None is the embedded one, otherwise a folder with safetensors weights or a hub id.

    `dtype="auto"` is the checkpoint's own, in float32 where the CPU would be slow in it; `device="auto"` is CUDA when
    present. `implementation`: the native decoder family where it fits, transformers' own modules for everything else;
    naming one forces it. Raises ModelError that says what is wrong and what to do.
    """
    folder = resolve_folder(model)
    raw = read_config(folder)
    config = None if implementation == "transformers" else plain_config(raw)
    config = config or load_config(folder, raw)
    target = resolve_device(device)
    weights_dtype = resolve_dtype(dtype, config, target)
    from .llama import DecoderConfig, LlamaModel

    native = None if implementation == "transformers" else DecoderConfig.of(config)
    if native is not None:
        return LoadedModel(LlamaModel(native, Checkpoint(folder), weights_dtype, target), folder)
    if implementation == "native":
        raise ModelError(f"{config.model_type!r} is not of the native decoder family; use implementation='auto'")
    from .transformers_model import TransformersModel

    return LoadedModel(TransformersModel(folder, config, weights_dtype, target), folder)


def read_config(folder: Path) -> dict[str, Any]:
    """Read `config.json` as it stands."""
    file = folder / "config.json"
    if not file.is_file():
        raise ModelError(f"{folder} has no config.json; give the folder of a Hugging Face checkpoint")
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{file} is not JSON ({error}); fetch the checkpoint again") from error
    if not isinstance(raw, dict):
        raise ModelError(f"{file} is not a JSON object; fetch the checkpoint again")
    if "quantization_config" in raw:
        raise ModelError(
            f"{folder} holds quantised weights; give an unquantised checkpoint (float32, bfloat16, float16)"
        )
    return raw


def load_config(folder: Path, raw: dict[str, Any]) -> Any:
    """Return the transformers config of a folder whose `config.json` holds `raw`; no remote code is run."""
    file, kind = folder / "config.json", raw.get("model_type")
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (StrictDataclassError, ValueError, KeyError, TypeError, ArithmeticError, OSError) as error:
        raise ModelError(
            f"model type {kind!r} in {file} is unknown to this transformers, or its config is wrong ({error}); "
            "upgrade transformers, or give another model (code shipped with a checkpoint is never run)"
        ) from error
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ModelError(f"{kind!r} ({folder}) is not a causal language model; give a text-generation checkpoint")
    return config


def resolve_device(device: str) -> torch.device:
    """Return the torch device for "auto", "cpu" or "cuda[:n]"."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        target = torch.device(device)
    except RuntimeError as error:
        raise ModelError(f"unknown device {device!r}; use 'auto', 'cpu' or 'cuda'") from error
    if target.type not in ("cpu", "cuda"):
        raise ModelError(f"device {device!r} is not supported; use 'auto', 'cpu' or 'cuda'")
    if target.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"device {device!r} asked for, but torch finds no CUDA device; use device='cpu'")
    return target


def resolve_dtype(dtype: str, config: Any, device: torch.device) -> torch.dtype:
    """Return the dtype of weights and KV."""
    if dtype != "auto":
        if dtype not in _DTYPES:
            raise ModelError(f"unknown dtype {dtype!r}; use 'auto' or one of {', '.join(_DTYPES)}")
        if dtype == "float16" and device.type == "cpu":
            raise ModelError("float16 is not supported on the CPU; use dtype='float32' or 'bfloat16'")
        return _DTYPES[dtype]
    stored = config.dtype if isinstance(config.dtype, torch.dtype) else torch.float32
    if device.type == "cpu" and not (stored == torch.bfloat16 and torch.cpu._is_avx512_bf16_supported()):
        return torch.float32
    return stored if stored in _DTYPES.values() else torch.float32
