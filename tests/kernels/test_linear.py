"""Packed linear layers against torch, on odd shapes; and the promise that a row does not depend on its batch."""

from __future__ import annotations

import pytest
import torch

from ramify.kernels.linear import PackedLinear, linear_reference

SHAPES = [(1, 1), (33, 17), (64, 48), (100, 333), (257, 31)]


def make(outputs: int, inputs: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(outputs * 1000 + inputs)
    weight = (torch.randn(outputs, inputs, generator=generator) / inputs**0.5).to(dtype)
    bias = torch.randn(outputs, generator=generator).to(dtype)
    return weight, bias, torch.randn(70, inputs, generator=generator).to(dtype)


@pytest.mark.parametrize(("outputs", "inputs"), SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equals_reference(implementation: str, outputs: int, inputs: int, dtype: torch.dtype) -> None:
    weight, bias, x = make(outputs, inputs, dtype)
    exact = linear_reference(x.double(), weight.double(), bias.double())
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    for rows in (1, 2, 5, 12, 13, 25, 70):
        for layer, expected in ((PackedLinear(weight, bias), exact), (PackedLinear(weight), exact - bias.double())):
            y = layer(x[:rows])
            assert y.dtype == dtype and y.shape == (rows, outputs)
            torch.testing.assert_close(y.double(), expected[:rows], atol=tolerance, rtol=tolerance)
            wide = layer.wide(x[:rows])
            assert wide.dtype == torch.float32
            torch.testing.assert_close(wide.double(), expected[:rows], atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_does_not_depend_on_the_others(compiled: str, dtype: torch.dtype) -> None:
    weight, bias, x = make(130, 200, dtype)
    layer = PackedLinear(weight, bias)
    alone = torch.cat([layer(row[None]) for row in x])
    for rows in range(1, 70):
        assert torch.equal(layer(x[:rows]), alone[:rows])
    assert torch.equal(layer(x.flip(0)), alone.flip(0))


def test_columns_of_a_wider_tensor(implementation: str) -> None:
    """Inputs that are not contiguous."""
    weight, bias, x = make(20, 16, torch.float32)
    wide = torch.cat([x, x], dim=1)
    torch.testing.assert_close(PackedLinear(weight, bias)(wide[:, :16]), linear_reference(x, weight, bias))
