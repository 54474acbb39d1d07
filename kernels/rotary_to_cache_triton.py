"""The Triton kernel of `rotary_to_cache`: projections in, queries out, keys and values written where their slots are.

Imported by `rotary_to_cache` for CUDA tensors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl
from torch import Tensor

if TYPE_CHECKING:
    from .rotary_to_cache import HeadNorm, Rotation

_HEADS = 8  # of a program


@triton.jit  # type: ignore[untyped-decorator]
def _rotate_and_store(  # type: ignore[no-untyped-def]
    qkv, cosine, sine, query_norm, key_norm, out, key_cache, value_cache, slots, eps,
    heads, kv_heads, qkv_stride, cache_stride, cache_head_stride,
    HALF: tl.constexpr, BLOCK: tl.constexpr, HEADS: tl.constexpr, NORMED: tl.constexpr,
):  # fmt: skip
    """Program (i, j): heads [j * HEADS, (j + 1) * HEADS) of token i of `qkv`, which has

        heads queries | kv_heads keys | kv_heads values     each of 2 * HALF numbers, rotated in pairs (d, d + HALF)

    Values are neither normalised nor rotated: their angle is zero.
    """
    token = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1) * HEADS + tl.arange(0, HEADS)
    dims = tl.arange(0, BLOCK)
    inside = dims < HALF
    is_query, is_value = head < heads, head >= heads + kv_heads
    is_key = (head >= heads) & (head < heads + kv_heads)
    shown = (head < heads + 2 * kv_heads)[:, None] & inside[None, :]

    source = qkv + token * qkv_stride + (head * (2 * HALF))[:, None] + dims[None, :]
    first = tl.load(source, mask=shown, other=0.0).to(tl.float32)  # (HEADS, BLOCK)
    second = tl.load(source + HALF, mask=shown, other=0.0).to(tl.float32)
    if NORMED:
        mean = (tl.sum(first * first, axis=1) + tl.sum(second * second, axis=1)) / (2 * HALF)
        factor = tl.where(is_value, 1.0, tl.rsqrt(mean + eps))[:, None]
        first_scale, second_scale = _scales(query_norm, key_norm, is_query, is_key, dims, inside, HALF)
        first, second = first * factor * first_scale, second * factor * second_scale
    turned = (~is_value)[:, None] & inside[None, :]
    angles = tl.zeros((HEADS, 1), tl.int64) + (token * HALF + dims)[None, :]
    cos = tl.load(cosine + angles, mask=turned, other=1.0)
    sin = tl.load(sine + angles, mask=turned, other=0.0)
    low, high = first * cos - second * sin, second * cos + first * sin

    to_query = out + token * heads * (2 * HALF) + (head * (2 * HALF))[:, None] + dims[None, :]
    tl.store(to_query, low.to(out.dtype.element_ty), mask=shown & is_query[:, None])
    tl.store(to_query + HALF, high.to(out.dtype.element_ty), mask=shown & is_query[:, None])
    slot = tl.load(slots + token).to(tl.int64) * cache_stride
    to_key = key_cache + slot + ((head - heads) * cache_head_stride)[:, None] + dims[None, :]
    tl.store(to_key, low.to(key_cache.dtype.element_ty), mask=shown & is_key[:, None])
    tl.store(to_key + HALF, high.to(key_cache.dtype.element_ty), mask=shown & is_key[:, None])
    to_value = value_cache + slot + ((head - heads - kv_heads) * cache_head_stride)[:, None] + dims[None, :]
    tl.store(to_value, low.to(value_cache.dtype.element_ty), mask=shown & is_value[:, None])
    tl.store(to_value + HALF, high.to(value_cache.dtype.element_ty), mask=shown & is_value[:, None])


@triton.jit  # type: ignore[untyped-decorator]
def _scales(query_norm, key_norm, is_query, is_key, dims, inside, HALF: tl.constexpr):  # type: ignore[no-untyped-def]
    """(HEADS, BLOCK) weights of the norm for both halves of each head; one for values."""
    of_query, of_key = is_query[:, None], is_key[:, None]
    query = tl.load(query_norm + dims, mask=inside, other=0.0).to(tl.float32)[None, :]
    key = tl.load(key_norm + dims, mask=inside, other=0.0).to(tl.float32)[None, :]
    first = tl.where(of_query, query, tl.where(of_key, key, 1.0))
    query = tl.load(query_norm + HALF + dims, mask=inside, other=0.0).to(tl.float32)[None, :]
    key = tl.load(key_norm + HALF + dims, mask=inside, other=0.0).to(tl.float32)[None, :]
    return first, tl.where(of_query, query, tl.where(of_key, key, 1.0))


def rotate_and_store(
    qkv: Tensor, rotation: Rotation, norm: HeadNorm | None, key_cache: Tensor, value_cache: Tensor, slots: Tensor
) -> Tensor:
    """See `rotary_to_cache.rotary_to_cache`."""
    tokens = len(qkv)
    kv_heads, head_dim = key_cache.shape[1:]
    heads = qkv.shape[1] // head_dim - 2 * kv_heads
    half = head_dim // 2
    assert qkv.stride(1) == 1 and key_cache.stride() == value_cache.stride() and key_cache.stride(2) == 1
    assert rotation.cos.is_contiguous() and rotation.sin.is_contiguous()
    out = torch.empty((tokens, heads, head_dim), dtype=qkv.dtype, device=qkv.device)
    weights = (norm.query, norm.key) if norm else (qkv, qkv)
    if tokens:
        _rotate_and_store[(tokens, triton.cdiv(heads + 2 * kv_heads, _HEADS))](
            qkv, rotation.cos, rotation.sin, *weights, out, key_cache, value_cache, slots, norm.eps if norm else 0.0,
            heads, kv_heads, qkv.stride(0), key_cache.stride(0), key_cache.stride(1),
            HALF=half, BLOCK=triton.next_power_of_2(half), HEADS=_HEADS, NORMED=norm is not None, num_warps=4,
        )  # fmt: skip
    return out
