"""Finds and binds the C kernels of `csrc/`, compiled per instruction set when the package was installed.

Knows signatures, not maths. The ops ask `library()`; None means that they run in torch.
"""

from __future__ import annotations

import ctypes
import functools
import os
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# best first; the index from the end is what `ramify_cpu_level` returns at least
_VARIANTS = ("avx512_bf16", "avx512", "avx2", "generic")
SWITCH = "RAMIFY_NATIVE_KERNELS"  # "0" turns the C kernels off; the name of a variant asks for that one

_POINTER = ctypes.c_void_p
_SIZE = ctypes.c_int64
_FLOAT = ctypes.c_float
_INT = ctypes.c_int

_SIGNATURES: dict[str, tuple[list[Any], Any]] = {
    "panel_width": ([], _INT),
    "cpu_level": ([], _INT),
    "item_size": ([], _SIZE),
    "linear_float32": ([_POINTER] * 4 + [_SIZE] * 3 + [_INT], None),
    "linear_bfloat16": ([_POINTER] * 4 + [_SIZE] * 3 + [_INT] * 2, None),
    "walk_lexer": (
        [_POINTER, _SIZE] * 2
        + [_POINTER] * 2
        + [_POINTER, _SIZE] * 2
        + [_POINTER] * 2
        + [_SIZE] * 2
        + [_POINTER] * 2
        + [_SIZE],
        _SIZE,
    ),
    "token_mask": ([_POINTER] + [_SIZE] + [_POINTER] * 2 + [_SIZE] * 3, None),
    "rms_norm": ([_POINTER] * 4 + [_SIZE] * 2 + [_FLOAT, _INT, _INT], None),
    "silu_and_mul": ([_POINTER] * 2 + [_SIZE] * 2 + [_INT] * 2, None),
    "rotary_to_cache": ([_POINTER] * 5 + [_FLOAT] + [_POINTER] * 4 + [_SIZE] * 4 + [_INT] * 2, None),
    "plan_attention": ([_POINTER, _SIZE] + [_POINTER] * 3 + [_SIZE] * 2 + [_POINTER, _SIZE], _SIZE),
    "decoder_stack": ([_POINTER] * 5, _INT),
    "index_token_trie": ([_POINTER] + [_SIZE] * 2 + [_POINTER] * 2 + [_SIZE], _SIZE),
    "walk_token_trie": ([_POINTER] + [_SIZE] * 2 + [_POINTER] * 4 + [_SIZE] * 2 + [_POINTER], None),
    "attention": ([_POINTER] * 5 + [_SIZE] * 5 + [_FLOAT] * 2 + [_SIZE] + [_INT] * 2, None),
}


class Library:
    """The loaded kernels: one attribute per function of `csrc/` without its prefix, and facts about the build."""

    def __init__(self, path: Path) -> None:
        shared = ctypes.CDLL(str(path))
        self.path = path
        for name, (arguments, result) in _SIGNATURES.items():
            function = getattr(shared, "ramify_" + name)
            function.argtypes = arguments
            function.restype = result
            setattr(self, name, function)
        self.width: int = shared.ramify_panel_width()
        self.item_bytes: int = shared.ramify_item_size()

    def __getattr__(self, name: str) -> ctypes._NamedFuncPointer:
        raise AttributeError(name)


@functools.cache
def library() -> Library | None:
    """Return the best build that this machine can run, or None: not built, not loadable, or switched off.

    `RAMIFY_NATIVE_KERNELS=0` in the environment switches the kernels off, the name of a variant chooses it.
    """
    wanted = os.environ.get(SWITCH, "")
    generic = _find("generic")
    if wanted == "0" or generic is None:
        return None
    # torch is imported above: its OpenMP runtime is in the process, and the kernels link to that one
    level = Library(generic).cpu_level()
    runnable = _VARIANTS[len(_VARIANTS) - 1 - level :]
    for name in runnable:
        path = _find(name)
        if path is not None and wanted in ("", name):
            return Library(path)
    return None


def _find(name: str) -> Path | None:
    folder = Path(__file__).parent
    for suffix in EXTENSION_SUFFIXES:
        path = folder / f"_native_{name}{suffix}"
        if path.exists():
            return path
    return None


def library_for(x: Tensor) -> Library | None:
    """Return the kernels if they can work on `x`: contiguous float32 or bfloat16 on the CPU."""
    if x.device.type != "cpu" or (x.dtype != torch.float32 and x.dtype != torch.bfloat16) or not x.is_contiguous():
        return None
    return library()


def is_half(x: Tensor) -> bool:
    """True for bfloat16, the kernels' other element type."""
    return x.dtype == torch.bfloat16
