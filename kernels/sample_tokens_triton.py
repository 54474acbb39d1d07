"""The Triton kernel of `sample_tokens`: a program a row, which goes over its logits a few times and never sorts them.

A cut-off is found by bisection over the bits of the weights, which order non-negative floats; it ends as soon as the
kept set is known. What the passes read stays in the device's L2.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .sample_tokens import Draws

_BLOCK = 4096  # logits at once


@triton.jit  # type: ignore[untyped-decorator]
def _weights(row, first, num_tokens, peak, inverse, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """(BLOCK,) exp((logit - peak) / temperature) of the tokens from `first` on; 0 beyond the vocabulary."""
    token = first + tl.arange(0, BLOCK)
    values = tl.load(row + token, mask=token < num_tokens, other=float("-inf")).to(tl.float32)
    return tl.exp((values - peak) * inverse)


@triton.jit  # type: ignore[untyped-decorator]
def _above(row, num_tokens, peak, inverse, bits, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """How many weights have more than `bits`, and their mass in float64."""
    count = tl.zeros((), tl.int32)
    mass = tl.zeros((), tl.float64)
    for first in range(0, num_tokens, BLOCK):
        weights = _weights(row, first, num_tokens, peak, inverse, BLOCK)
        over = weights.to(tl.int32, bitcast=True) > bits
        count += tl.sum(over.to(tl.int32))
        mass += tl.sum(tl.where(over, weights, 0.0)).to(tl.float64)
    return count, mass


@triton.jit  # type: ignore[untyped-decorator]
def _highest(row, num_tokens, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """The highest logit, the lowest id that has it, and whether there is a NaN."""
    lane = tl.arange(0, BLOCK)
    best = tl.full((BLOCK,), float("-inf"), tl.float32)
    where = tl.full((BLOCK,), 0, tl.int32)
    broken = tl.zeros((BLOCK,), tl.int32)
    for first in range(0, num_tokens, BLOCK):
        inside = first + lane < num_tokens
        values = tl.load(row + first + lane, mask=inside, other=float("-inf")).to(tl.float32)
        broken = broken | (values != values).to(tl.int32)
        where = tl.where(values > best, first + lane, where)
        best = tl.maximum(best, values)
    peak = tl.max(best)
    token = tl.min(tl.where(best == peak, where, 2147483647))
    return peak, token, tl.max(broken) > 0


@triton.jit  # type: ignore[untyped-decorator]
def _sample(  # type: ignore[no-untyped-def]
    logits, rows, temperatures, uniforms, top_ks, top_ps, min_ps, tokens, peaks, num_tokens, stride,
    BLOCK: tl.constexpr, ONE: tl.constexpr,
):  # fmt: skip
    """Program i: row rows[i]. Bits `lowest` and up are kept; ONE are the bits of 1.0, the heaviest token's weight."""
    index = tl.program_id(0).to(tl.int64)
    row = logits + tl.load(rows + index).to(tl.int64) * stride
    peak, token, is_broken = _highest(row, num_tokens, BLOCK)
    tl.store(peaks + index, tl.where(is_broken, float("nan"), peak))
    temperature = tl.load(temperatures + index)
    if (temperature > 0.0) & (peak > float("-inf")) & (peak < float("inf")) & (is_broken == 0):
        inverse = 1.0 / temperature
        lowest = tl.zeros((), tl.int32)
        # top-k: the fewest bits that less than k weights exceed
        top_k = tl.load(top_ks + index)
        if (top_k > 0) & (top_k < num_tokens):
            high = tl.full((), ONE, tl.int32)
            while lowest < high:
                middle = lowest + (high - lowest) // 2
                count, _ = _above(row, num_tokens, peak, inverse, middle, BLOCK)
                # exactly k exceed it: these are the kept ones
                high = tl.where(count < top_k, middle, high)
                lowest = tl.where(count < top_k, lowest, middle + 1)
                high = tl.where(count == top_k, lowest, high)
        # top-p: the fewest bits above which less than the share lies
        top_p = tl.load(top_ps + index)
        if top_p < 1.0:
            _, total = _above(row, num_tokens, peak, inverse, lowest - 1, BLOCK)
            high = tl.full((), ONE, tl.int32)
            while lowest < high:
                middle = lowest + (high - lowest) // 2
                _, mass = _above(row, num_tokens, peak, inverse, middle, BLOCK)
                short = mass < top_p * total
                high = tl.where(short, middle, high)
                lowest = tl.where(short, lowest, middle + 1)
        least = tl.load(min_ps + index)
        lowest = tl.maximum(lowest, tl.maximum(least, 0.0).to(tl.int32, bitcast=True))
        lowest = tl.minimum(tl.maximum(lowest, 1), ONE)  # a weight of zero is never drawn
        _, total = _above(row, num_tokens, peak, inverse, lowest - 1, BLOCK)
        target = tl.load(uniforms + index) * total
        token = _invert(row, num_tokens, peak, inverse, lowest, target, BLOCK)
    tl.store(tokens + index, token.to(tl.int64))


@triton.jit  # type: ignore[untyped-decorator]
def _invert(row, num_tokens, peak, inverse, lowest, target, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """The first kept token at which the running sum of the kept weights exceeds `target`, or the last kept one."""
    before = tl.zeros((), tl.float64)
    token = tl.full((), 2147483647, tl.int32)
    last = tl.zeros((), tl.int32)
    lane = tl.arange(0, BLOCK)
    first = 0
    while (first < num_tokens) & (token == 2147483647):
        weights = _weights(row, first, num_tokens, peak, inverse, BLOCK)
        kept = weights.to(tl.int32, bitcast=True) >= lowest
        weights = tl.where(kept, weights, 0.0)
        mass = tl.sum(weights).to(tl.float64)  # the very sum that the total was made of
        if before + mass > target:
            sums = before + tl.cumsum(weights.to(tl.float64), axis=0)
            token = tl.min(tl.where(kept & (sums > target), first + lane, 2147483647))
        last = tl.maximum(last, tl.max(tl.where(kept, first + lane, 0)))
        before += mass
        first += BLOCK
        # the sum in lanes and the running sum round apart: the block's last kept token is the nearest
        token = tl.where((token == 2147483647) & (before > target), last, token)
    return tl.where(token == 2147483647, last, token)


def sample(logits: Tensor, rows: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """See `sample_tokens.sample_tokens`."""
    assert logits.stride(1) == 1
    tokens = torch.empty(len(rows), dtype=torch.int64, device=logits.device)
    peaks = torch.empty(len(rows), dtype=torch.float32, device=logits.device)
    if len(rows):
        _sample[(len(rows),)](
            logits, rows, draws.temperature, draws.uniform, draws.top_k, draws.top_p, draws.min_p, tokens, peaks,
            logits.shape[1], logits.stride(0), BLOCK=_BLOCK, ONE=0x3F800000, num_warps=8,
        )  # fmt: skip
    return tokens, peaks
