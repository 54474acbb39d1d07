"""The one-call stack against the same layers op by op in float64."""

from __future__ import annotations

import pytest
import torch

from ramify.kernels.decoder_stack import DecoderLayer, DecoderStack, StepInputs
from ramify.kernels.linear import PackedLinear
from ramify.kernels.paged_attention import AttentionSpec, PagedLayout
from ramify.kernels.rotary_to_cache import HeadNorm, Rotation

HIDDEN, INNER, SLOTS = 40, 52, 40


def make_stack(heads: int, kv_heads: int, head_dim: int, dtype: torch.dtype, *, rich: bool) -> DecoderStack:
    """`rich`: biases, norms of heads and windows."""
    generator = torch.Generator().manual_seed(1)

    def random(*shape: int) -> torch.Tensor:
        # rounded to bfloat16 first, so that every dtype computes with the same weights
        return (torch.randn(shape, generator=generator) / shape[-1] ** 0.5).bfloat16().to(dtype)

    def linear(inputs: int, outputs: int) -> PackedLinear:
        return PackedLinear(random(outputs, inputs), random(outputs) if rich else None)

    layers = []
    for index in range(3):
        norm = HeadNorm(1 + random(head_dim), 1 + random(head_dim), 1e-5) if rich else None
        layers.append(
            DecoderLayer(
                input_norm=1 + random(HIDDEN),
                qkv=linear(HIDDEN, (heads + 2 * kv_heads) * head_dim),
                head_norm=norm,
                attention=AttentionSpec(head_dim**-0.5, window=5 * index if rich else 0),
                output=linear(heads * head_dim, HIDDEN),
                mlp_norm=1 + random(HIDDEN),
                gate_up=linear(HIDDEN, 2 * INNER),
                down=linear(INNER, HIDDEN),
            )
        )
    return DecoderStack(layers, 1 + random(HIDDEN), 1e-5)


def make_inputs(kv_heads: int, head_dim: int, dtype: torch.dtype) -> tuple[torch.Tensor, StepInputs]:
    """Two rows: 3 new tokens after 10 whose keys are in the pool, and 20 new tokens."""
    generator = torch.Generator().manual_seed(2)
    table = (1 + torch.randperm(SLOTS - 1, generator=generator)[:36]).to(torch.int32).view(2, 18)
    table = torch.cat([table, table[:, :3] * 0], dim=1)
    lens = torch.tensor([13, 18])
    slots = torch.cat([table[0, 10:13], table[1, :18]]).long()
    positions = torch.cat([torch.arange(10, 13), torch.arange(18)])
    angles = positions[:, None] / torch.logspace(0, 2, head_dim // 2)
    pool = torch.randn(3, 2, SLOTS, kv_heads, head_dim, generator=generator).bfloat16().to(dtype)
    embedded = torch.randn(len(slots), HIDDEN, generator=generator).bfloat16().to(dtype)
    layout = PagedLayout(table, torch.tensor([0, 1]), torch.tensor([0, 3, 21]), lens, 18, 18)
    return embedded, StepInputs(Rotation(angles.cos(), angles.sin()), pool, slots, layout)


@pytest.mark.parametrize("rich", [False, True])
@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), [(4, 2, 16), (3, 1, 10), (2, 2, 36)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equals_op_by_op(
    implementation: str, heads: int, kv_heads: int, head_dim: int, dtype: torch.dtype, rich: bool
) -> None:
    shape = (heads, kv_heads, head_dim)
    embedded, inputs = make_inputs(kv_heads, head_dim, dtype)
    normed = make_stack(*shape, dtype, rich=rich)(embedded, inputs)
    exact_embedded, exact_inputs = make_inputs(kv_heads, head_dim, torch.float64)
    exact = make_stack(*shape, torch.float64, rich=rich).reference(exact_embedded, exact_inputs)
    tolerance = 1e-4 if dtype == torch.float32 else 0.1
    torch.testing.assert_close(normed.double(), exact, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(inputs.pool.double(), exact_inputs.pool, atol=tolerance, rtol=tolerance)
