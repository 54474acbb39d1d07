"""Normalisation, gated activation, rotation into the pool: against references computed in float64."""

from __future__ import annotations

import pytest
import torch

from ramify.kernels.rms_norm import add_rms_norm, add_rms_norm_reference, rms_norm, rms_norm_reference
from ramify.kernels.rotary_to_cache import HeadNorm, Rotation, rotary_to_cache, rotary_to_cache_reference
from ramify.kernels.silu_and_mul import silu_and_mul, silu_and_mul_reference

DTYPES = [torch.float32, torch.bfloat16]
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 3e-2}


def close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    tolerance = TOLERANCE[actual.dtype]
    torch.testing.assert_close(actual.float(), expected.float(), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "dim"), [(1, 1), (3, 31), (2, 48), (130, 256)])
def test_rms_norm(implementation: str, rows: int, dim: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x, residual, weight = torch.randn(rows, dim).to(dtype), torch.randn(rows, dim).to(dtype), torch.rand(dim).to(dtype)
    close(rms_norm(x, weight, 1e-5), rms_norm_reference(x.float(), weight.float(), 1e-5))
    total, expected_total = residual.clone(), residual.clone().float()
    expected = add_rms_norm_reference(x.float(), expected_total, weight.float(), 1e-5)
    close(add_rms_norm(x, total, weight, 1e-5), expected)
    close(total, expected_total)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "dim"), [(1, 1), (3, 31), (70, 688)])
def test_silu_and_mul(implementation: str, rows: int, dim: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = (torch.randn(rows, 2 * dim) * 4).to(dtype)
    x[0, 0] = -200.0  # exp(200) overflows: the result must be -0, not NaN
    close(silu_and_mul(x), silu_and_mul_reference(x.double()).to(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), [(1, 1, 2), (6, 2, 16), (4, 4, 40), (8, 1, 256)])
def test_rotary_to_cache(
    implementation: str, heads: int, kv_heads: int, head_dim: int, normed: bool, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    tokens, slots = 5, torch.tensor([7, 1, 3, 9, 2])
    qkv = torch.randn(tokens, (heads + 2 * kv_heads) * head_dim).to(dtype)
    angles = torch.randn(tokens, head_dim // 2)
    rotation = Rotation(angles.cos(), angles.sin())
    norm = wide_norm = None
    if normed:
        weights = torch.rand(2, head_dim).to(dtype)
        norm = HeadNorm(weights[0], weights[1], 1e-6)
        wide_norm = HeadNorm(weights[0].float(), weights[1].float(), 1e-6)
    caches = torch.full((2, 11, kv_heads, head_dim), 5.0).to(dtype)
    expected_caches = caches.float()
    query = rotary_to_cache(qkv, rotation, norm, caches[0], caches[1], slots)
    expected = rotary_to_cache_reference(
        qkv.float(), rotation, wide_norm, expected_caches[0], expected_caches[1], slots
    )
    assert query.dtype == dtype and query.shape == (tokens, heads, head_dim)
    close(query, expected)
    close(caches, expected_caches)
    untouched = [slot for slot in range(11) if slot not in slots]
    assert (caches[:, untouched] == 5.0).all()
