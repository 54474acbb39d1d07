"""The Triton kernel of `silu_and_mul`. Imported by `silu_and_mul` for CUDA tensors."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 1024


@triton.jit  # type: ignore[untyped-decorator]
def _gate(gate_up, out, dim, stride, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Columns [j * BLOCK, (j + 1) * BLOCK) of row i of `out` (rows, dim), program (i, j)."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < dim
    gate = tl.load(gate_up + row * stride + column, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(gate_up + row * stride + dim + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row * dim + column, (gate * tl.sigmoid(gate) * up).to(out.dtype.element_ty), mask=inside)


def gate(gate_up: Tensor) -> Tensor:
    """See `silu_and_mul.silu_and_mul`: (rows, 2 * dim) to (rows, dim)."""
    rows, both = gate_up.shape
    assert gate_up.stride(1) == 1
    dim = both // 2
    out = torch.empty((rows, dim), dtype=gate_up.dtype, device=gate_up.device)
    if rows:
        _gate[(rows, triton.cdiv(dim, _BLOCK))](gate_up, out, dim, gate_up.stride(0), BLOCK=_BLOCK, num_warps=4)
    return out
