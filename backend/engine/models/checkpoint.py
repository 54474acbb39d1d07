"""A model folder on disk: where it is, and its safetensors weights read one tensor at a time.

Never unpickles and never runs code that came with a checkpoint. Used by the loader and the models.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ....lang.errors import ModelError

INDEX_NAME = "model.safetensors.index.json"
_PICKLE_PATTERNS = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_HUB_PATTERNS = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]


def resolve_folder(model: str | Path | None) -> Path:
    """Return the folder of `model`: None is the embedded model, otherwise a folder or a hub id (downloaded once).

    Raises ModelError when there is no such folder, or the hub has no such model or cannot be reached.
    """
    if model is None:
        from .embedded import MODEL_DIR

        return Path(MODEL_DIR)
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    name = str(model)
    if path.exists():
        raise ModelError(f"{name!r} is a file; give the folder that holds config.json and *.safetensors")
    if isinstance(model, Path) or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelError(f"no model folder at {name!r}; give a folder with config.json and *.safetensors, or a hub id")
    return _download(name)


def _download(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, allow_patterns=_HUB_PATTERNS))
    except HFValidationError as error:
        raise ModelError(f"{hub_id!r} is neither a folder nor a hub id (owner/name): {error}") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"no folder {hub_id!r}, and the hub gave no model of that name: {type(error).__name__}: {error}. "
            "Check the spelling and the network, or download it and give the folder"
        ) from error


class Checkpoint:
    """The weights of a folder: one `*.safetensors` file, or shards listed by an index.

    Raises ModelError for a folder without safetensors weights, for damaged files, and for missing or misshapen tensors.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, Path] = {}
        for file in _weight_files(folder):
            for name in _tensor_names(file):
                self._files[name] = file

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def tensor(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Read tensor `name`, which must have `shape`, as `dtype` on the CPU."""
        file = self._files.get(name)
        if file is None:
            raise ModelError(
                f"tensor {name!r} is missing from {self.folder}; config.json and the weights do not belong together, "
                "or a shard is missing: fetch the checkpoint again"
            )
        try:
            with safe_open(file, framework="pt") as reader:
                tensor: Tensor = reader.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise _damaged(file, error) from error
        if tuple(tensor.shape) != shape:
            raise ModelError(
                f"tensor {name!r} in {file.name} has shape {tuple(tensor.shape)}, but config.json asks for {shape}; "
                "config.json and the weights do not belong together"
            )
        return tensor.to(dtype)

    def stacked(self, names: Iterable[str], shapes: Iterable[tuple[int, ...]], dtype: torch.dtype) -> Tensor:
        """Read several tensors and stack them along their first axis."""
        return torch.cat([self.tensor(name, shape, dtype) for name, shape in zip(names, shapes, strict=True)])


def _weight_files(folder: Path) -> list[Path]:
    index = folder / INDEX_NAME
    if index.exists():
        return _indexed_files(index)
    files = sorted(folder.glob("*.safetensors"))
    if files:
        return files
    pickles = [file.name for pattern in _PICKLE_PATTERNS for file in folder.glob(pattern)]
    if pickles:
        raise ModelError(
            f"{folder} holds only pickled weights ({pickles[0]}), which can run code when opened and are never loaded; "
            "convert them once with transformers: `model.save_pretrained(folder)` writes safetensors"
        )
    raise ModelError(f"{folder} holds no *.safetensors weights; fetch the checkpoint again or give another folder")


def _indexed_files(index: Path) -> list[Path]:
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = sorted(set(weight_map.values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{index} is not a safetensors index ({error!r}); fetch the checkpoint again") from error
    for name in names:
        # an index is data: it may only name files beside itself
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise ModelError(f"{index} names {name!r}, which is not a safetensors file of its folder")
        if not (index.parent / name).is_file():
            raise ModelError(f"shard {name} of {index.parent} is missing; fetch the checkpoint again")
    return [index.parent / name for name in names]


def _tensor_names(file: Path) -> list[str]:
    try:
        with safe_open(file, framework="pt") as reader:
            return list(reader.keys())
    except (SafetensorError, OSError) as error:
        raise _damaged(file, error) from error


def _damaged(file: Path, error: Exception) -> ModelError:
    return ModelError(
        f"{file} is not a readable safetensors file ({error}); it is cut short or damaged: fetch it again"
    )
