"""The Triton kernel of `rms_norm`: a program a row, which it reads once. Imported by `rms_norm` for CUDA tensors."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit  # type: ignore[untyped-decorator]
def _normalise(  # type: ignore[no-untyped-def]
    x, residual, weight, out, dim, eps, x_stride, residual_stride, ADDED: tl.constexpr, BLOCK: tl.constexpr
):
    """Row i of `x`, or of `residual` after `x` was added to it in place, normalised into row i of `out` (rows, dim)."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = column < dim
    wide = tl.load(x + row * x_stride + column, mask=inside, other=0.0).to(tl.float32)
    if ADDED:
        places = residual + row * residual_stride + column
        # rounded as it is stored, so that the norm is that of the stream
        rounded = (tl.load(places, mask=inside, other=0.0).to(tl.float32) + wide).to(residual.dtype.element_ty)
        tl.store(places, rounded, mask=inside)
        wide = rounded.to(tl.float32)
    wide = wide * tl.rsqrt(tl.sum(wide * wide) / dim + eps)
    scale = tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    rounded_norm = wide.to(out.dtype.element_ty).to(tl.float32)
    tl.store(out + row * dim + column, (rounded_norm * scale).to(out.dtype.element_ty), mask=inside)


def normalise(x: Tensor, residual: Tensor | None, weight: Tensor, eps: float) -> Tensor:
    """See `rms_norm.rms_norm` and, with a `residual` (tokens, dim), `rms_norm.add_rms_norm`."""
    dim = x.shape[-1]
    rows = x.reshape(-1, dim)
    assert rows.stride(1) == 1 and (residual is None or residual.stride(1) == 1)
    out = torch.empty(rows.shape, dtype=x.dtype, device=x.device)
    block = triton.next_power_of_2(dim)
    if len(rows):
        _normalise[(len(rows),)](
            rows, rows if residual is None else residual, weight, out, dim, eps,
            rows.stride(0), 0 if residual is None else residual.stride(0),
            ADDED=residual is not None, BLOCK=block, num_warps=max(1, min(16, block // 512)),
        )  # fmt: skip
    return out.view(x.shape)
