"""Root-mean-square normalisation, alone or after adding to the residual stream. RMSNorm: Zhang and Sennrich 2019."""

from __future__ import annotations

import torch
from torch import Tensor

from . import native


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Return `x / sqrt(mean(x^2) + eps) * weight` over the last axis; `x` (..., dim), mean in float32."""
    if x.device.type == "cuda":
        from .rms_norm_triton import normalise  # loading Triton takes a third of a second

        return normalise(x, None, weight, eps)
    library = native.library_for(x)
    if library is None:
        return rms_norm_reference(x, weight, eps)
    out = torch.empty_like(x)
    dim = x.shape[-1]
    library.rms_norm(
        x.data_ptr(), None, weight.data_ptr(), out.data_ptr(),
        x.numel() // dim, dim, eps, native.is_half(x), torch.get_num_threads(),
    )  # fmt: skip
    return out


def add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Add `x` to `residual` in place, both (tokens, dim), and return the norm of the sum."""
    if x.device.type == "cuda":
        from .rms_norm_triton import normalise

        return normalise(x, residual, weight, eps)
    library = native.library_for(x)
    if library is None or not residual.is_contiguous():
        return add_rms_norm_reference(x, residual, weight, eps)
    out = torch.empty_like(x)
    dim = x.shape[-1]
    library.rms_norm(
        x.data_ptr(), residual.data_ptr(), weight.data_ptr(), out.data_ptr(),
        x.numel() // dim, dim, eps, native.is_half(x), torch.get_num_threads(),
    )  # fmt: skip
    return out


def rms_norm_reference(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """`rms_norm` in plain torch."""
    wide = x.float()
    wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return weight * wide.to(x.dtype)


def add_rms_norm_reference(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> Tensor:
    """`add_rms_norm` in plain torch."""
    residual.add_(x)
    return rms_norm_reference(residual, weight, eps)
