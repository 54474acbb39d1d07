"""The gated activation of the feed-forward block. SwiGLU: Shazeer 2020."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

from . import native


def silu_and_mul(gate_up: Tensor) -> Tensor:
    """Return `silu(gate) * up`; `gate_up` (tokens, 2 * dim) holds gate, then up. Result (tokens, dim)."""
    if gate_up.device.type == "cuda":
        from .silu_and_mul_triton import gate  # loading Triton takes a third of a second

        return gate(gate_up)
    library = native.library_for(gate_up)
    if library is None:
        return silu_and_mul_reference(gate_up)
    rows, both = gate_up.shape
    out = torch.empty((rows, both // 2), dtype=gate_up.dtype)
    half = native.is_half(gate_up)
    library.silu_and_mul(gate_up.data_ptr(), out.data_ptr(), rows, both // 2, half, torch.get_num_threads())
    return out


def silu_and_mul_reference(gate_up: Tensor) -> Tensor:
    """`silu_and_mul` in plain torch."""
    gate, up = gate_up.chunk(2, dim=-1)
    return functional.silu(gate) * up
