"""What the attention kernels for CUDA share: one block of keys and values folded into a running softmax.

Softmax without a second pass: Milakov and Gimelshein 2018; over tiles: FlashAttention, Dao et al. 2022. All powers are
of two, because that is what the hardware has. Called inside the kernels of decode, tree and extend attention.
"""

from __future__ import annotations

import os

import torch
import triton
import triton.language as tl
from torch import Tensor

LOG2_E = 1.4426950408889634
_OPERANDS = {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}


@triton.jit  # type: ignore[untyped-decorator]
def load_heads(cache, slots, inside, stride, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr):  # type: ignore[no-untyped-def]
    """(slots, BLOCK_D): one head of each slot, zero where not `inside` and beyond HEAD_DIM; `slots` are int64."""
    dims = tl.arange(0, BLOCK_D)
    places = cache + slots[:, None] * stride + dims[None, :]
    if HEAD_DIM == BLOCK_D:
        return tl.load(places, mask=inside[:, None], other=0.0)
    return tl.load(places, mask=inside[:, None] & (dims < HEAD_DIM)[None, :], other=0.0)


@triton.jit  # type: ignore[untyped-decorator]
def fold_block(  # type: ignore[no-untyped-def]
    acc, total, top, query, key_head, value_head, slots, start, stop, lowest, highest, stride, scale, softcap,
    BLOCK_N: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr,
    CAUSAL: tl.constexpr, WINDOWED: tl.constexpr, CAPPED: tl.constexpr,
):  # fmt: skip
    """Fold positions [start, min(start + BLOCK_N, stop)) of one sequence into (acc, total, top); returns the three.

    - `query` (M, BLOCK_D). `acc` (M, BLOCK_D) float32 weighted values, `total` (M,) weights, `top` (M,) highest score,
      minus infinity before the first key. `slots`: the sequence's table of slots, int32.
    - `highest`, `lowest` (M,): positions that query m sees at most (CAUSAL) and at least (WINDOWED).
    - `scale` holds log2(e); where CAPPED it does not, and scores are `softcap * tanh(score * scale / softcap)`.
    """
    positions = start + tl.arange(0, BLOCK_N)
    inside = positions < stop
    # a pool of 2^31 elements is some 30 layers of 100k tokens: slots times stride needs 64 bits
    block = tl.load(slots + positions, mask=inside, other=0).to(tl.int64)
    keys = load_heads(key_head, block, inside, stride, HEAD_DIM, BLOCK_D).to(query.dtype)
    # "ieee": float32 queries are not rounded to tf32; says nothing to half precision
    scores = tl.dot(query, tl.trans(keys), input_precision="ieee") * scale
    if CAPPED:
        half = tl.exp2(scores * (2.0 * 1.4426950408889634 / softcap))  # tanh(x) = 1 - 2 / (exp(2 x) + 1)
        scores = (softcap * 1.4426950408889634) * (1.0 - 2.0 / (half + 1.0))
    seen = inside[None, :]
    if CAUSAL:
        seen = seen & (positions[None, :] <= highest[:, None])
    if WINDOWED:
        seen = seen & (positions[None, :] >= lowest[:, None])
    scores = tl.where(seen, scores, float("-inf"))
    higher = tl.maximum(top, tl.max(scores, axis=1))
    base = tl.where(higher == float("-inf"), 0.0, higher)  # a query that has seen nothing yet: no infinity minus itself
    decay = tl.exp2(top - base)
    weights = tl.exp2(scores - base[:, None])
    values = load_heads(value_head, block, inside, stride, HEAD_DIM, BLOCK_D).to(query.dtype)
    acc = acc * decay[:, None] + tl.dot(weights.to(query.dtype), values, input_precision="ieee")
    return acc, total * decay + tl.sum(weights, axis=1), higher


@triton.jit  # type: ignore[untyped-decorator]
def nothing_seen(BLOCK_M: tl.constexpr, BLOCK_D: tl.constexpr):  # type: ignore[no-untyped-def]
    """(acc, total, top) before the first key."""
    top = tl.full((BLOCK_M,), float("-inf"), tl.float32)
    return tl.zeros((BLOCK_M, BLOCK_D), tl.float32), tl.zeros((BLOCK_M,), tl.float32), top


@triton.jit  # type: ignore[untyped-decorator]
def fold(  # type: ignore[no-untyped-def]
    acc, total, top, query, key_head, value_head, slots, start, stop, lowest, highest, stride, scale, softcap,
    BLOCK_N: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK_D: tl.constexpr,
    CAUSAL: tl.constexpr, WINDOWED: tl.constexpr, CAPPED: tl.constexpr,
):  # fmt: skip
    """Fold positions [start, stop) block by block; see `fold_block`."""
    for at in range(start, stop, BLOCK_N):
        acc, total, top = fold_block(
            acc, total, top, query, key_head, value_head, slots, at, stop, lowest, highest, stride, scale, softcap,
            BLOCK_N, HEAD_DIM, BLOCK_D, CAUSAL, WINDOWED, CAPPED,
        )  # fmt: skip
    return acc, total, top


def block_sizes(head_dim: int, dtype: torch.dtype) -> tuple[int, int]:
    """Return (keys of a block, padded head size): 32 KiB of keys and values; 16 in float32, which needs registers."""
    padded = max(16, triton.next_power_of_2(head_dim))
    return max(16, min(128, 8192 // padded if dtype.itemsize == 2 else 2048 // padded)), padded


def operand(query: Tensor) -> tl.dtype:
    """Return the type that products are taken in: the query's; the interpreter has none of bfloat16."""
    widened = query.dtype == torch.bfloat16 and os.environ.get("TRITON_INTERPRET") == "1"
    return tl.float32 if widened else _OPERANDS[query.dtype]


def scaling(scale: float, softcap: float) -> float:
    """Return the factor of scores that `fold_block` wants."""
    return scale if softcap else scale * LOG2_E


def check(query: Tensor, key_cache: Tensor, value_cache: Tensor) -> None:
    """Assert the layout that the kernels index by: heads contiguous, keys and values alike."""
    assert query.is_contiguous() and key_cache.stride() == value_cache.stride() and key_cache.stride(2) == 1
    assert key_cache.dtype == value_cache.dtype and query.shape[1] % key_cache.shape[1] == 0
