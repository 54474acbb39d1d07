"""Linear layers with weights laid out once, at load, for the machine that multiplies by them."""

from __future__ import annotations

import torch.nn.functional as functional
from torch import Tensor


class PackedLinear:
    """`x @ weight.T + bias` with a fixed weight (outputs, inputs); call it with `x` (rows, inputs)."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._weight = weight
        self._bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        """Return (rows, outputs)."""
        return functional.linear(x, self._weight, self._bias)
