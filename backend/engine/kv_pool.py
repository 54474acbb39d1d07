"""`TokenToKVPool`: the memory of all keys and values, addressed by slot.

Knows nothing of requests: whose slot is whose is the allocator's business. Sized by ModelRunner, used by the models.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class KVShape:
    """Sizes of one token's keys and values."""

    num_layers: int
    num_kv_heads: int
    head_dim: int
    dtype: torch.dtype

    @property
    def bytes_per_token(self) -> int:
        """Bytes of one slot over all layers."""
        return self.num_layers * 2 * self.num_kv_heads * self.head_dim * self.dtype.itemsize


class TokenToKVPool:
    """Keys and values of `num_slots` tokens: one tensor (layers, 2, slots, kv_heads, head_dim), zero at first.

    Slot 0 (page 0) is a dummy that padding may read and write. `keys[layer]` and `values[layer]` are views
    (slots, kv_heads, head_dim).
    """

    def __init__(self, shape: KVShape, num_slots: int, device: torch.device) -> None:
        self.shape = shape
        self.num_slots = num_slots
        self.data = _zeros((shape.num_layers, 2, num_slots, shape.num_kv_heads, shape.head_dim), shape.dtype, device)
        self.keys: tuple[Tensor, ...] = tuple(self.data[:, 0].unbind(0))
        self.values: tuple[Tensor, ...] = tuple(self.data[:, 1].unbind(0))

    def write(self, layer: int, slots: Tensor, key: Tensor, value: Tensor) -> None:
        """Store `key` and `value` (tokens, kv_heads, head_dim) at `slots` (tokens,) of one layer."""
        self.keys[layer][slots] = key.to(self.shape.dtype)
        self.values[layer][slots] = value.to(self.shape.dtype)


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    # numpy's zeros come from calloc: pages of a large, mostly empty pool are only made when first written
    num_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    return torch.from_numpy(np.zeros(num_bytes, dtype=np.uint8)).view(dtype).view(shape)
