"""The gated activation of the feed-forward block. SwiGLU: Shazeer 2020."""

from __future__ import annotations

import torch.nn.functional as functional
from torch import Tensor


def silu_and_mul(gate_up: Tensor) -> Tensor:
    """Return `silu(gate) * up`; `gate_up` (tokens, 2 * dim) holds gate, then up. Result (tokens, dim)."""
    return silu_and_mul_reference(gate_up)


def silu_and_mul_reference(gate_up: Tensor) -> Tensor:
    """`silu_and_mul` in plain torch."""
    gate, up = gate_up.chunk(2, dim=-1)
    return functional.silu(gate) * up
