"""Split a merged QKV projection, normalise and rotate queries and keys, and write keys and values into the pool.

One op because every part of it only moves the same few bytes. Rotary positions: Su et al. 2021 (half-split form).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from . import native
from .rms_norm import rms_norm_reference

MAX_HEAD_DIM = 1024  # the kernel's buffer for one normalised head


@dataclass(frozen=True, slots=True)
class HeadNorm:
    """RMSNorm of each head of queries and keys before rotation: weights (head_dim,)."""

    query: Tensor
    key: Tensor
    eps: float


@dataclass(frozen=True, slots=True)
class Rotation:
    """Angles of this forward's tokens: `cos`, `sin` (tokens, head_dim / 2) float32."""

    cos: Tensor
    sin: Tensor


def rotary_to_cache(
    qkv: Tensor,
    rotation: Rotation,
    norm: HeadNorm | None,
    key_cache: Tensor,
    value_cache: Tensor,
    slots: Tensor,
) -> Tensor:
    """Write the keys and values of `qkv` at `slots` and return the rotated queries.

    `qkv` (tokens, (heads + 2 * kv_heads) * head_dim): queries, keys, values. Caches (slots, kv_heads, head_dim) of one
    layer; `slots` (tokens,) int64. Returns (tokens, heads, head_dim).
    """
    if qkv.device.type == "cuda":
        from .rotary_to_cache_triton import rotate_and_store  # loading Triton takes a third of a second

        return rotate_and_store(qkv, rotation, norm, key_cache, value_cache, slots)
    library = native.library_for(qkv)
    num_kv_heads, head_dim = key_cache.shape[1:]
    if library is None or key_cache.dtype != qkv.dtype or head_dim > MAX_HEAD_DIM:
        return rotary_to_cache_reference(qkv, rotation, norm, key_cache, value_cache, slots)
    tokens = len(qkv)
    num_heads = qkv.shape[1] // head_dim - 2 * num_kv_heads
    query = torch.empty((tokens, num_heads, head_dim), dtype=qkv.dtype)
    query_norm, key_norm, eps = (None, None, 0.0)
    if norm is not None:
        query_norm, key_norm, eps = norm.query.data_ptr(), norm.key.data_ptr(), norm.eps
    library.rotary_to_cache(
        qkv.data_ptr(), rotation.cos.data_ptr(), rotation.sin.data_ptr(), query_norm, key_norm, eps,
        query.data_ptr(), key_cache.data_ptr(), value_cache.data_ptr(), slots.data_ptr(),
        tokens, num_heads, num_kv_heads, head_dim, native.is_half(qkv), torch.get_num_threads(),
    )  # fmt: skip
    return query


def rotary_to_cache_reference(
    qkv: Tensor,
    rotation: Rotation,
    norm: HeadNorm | None,
    key_cache: Tensor,
    value_cache: Tensor,
    slots: Tensor,
) -> Tensor:
    """The same in plain torch."""
    num_kv_heads, head_dim = key_cache.shape[1:]
    heads = qkv.view(len(qkv), -1, head_dim)
    num_heads = heads.shape[1] - 2 * num_kv_heads
    query, key, value = torch.split(heads, [num_heads, num_kv_heads, num_kv_heads], dim=1)
    if norm is not None:
        query = rms_norm_reference(query, norm.query, norm.eps)
        key = rms_norm_reference(key, norm.key, norm.eps)
    cos, sin = rotation.cos[:, None].to(qkv.dtype), rotation.sin[:, None].to(qkv.dtype)
    key_cache[slots] = _rotate(key, cos, sin).to(key_cache.dtype)
    value_cache[slots] = value.to(value_cache.dtype)
    return _rotate(query, cos, sin)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
