"""Linear layers with weights laid out once, at load, for the machine that multiplies by them."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as functional
from torch import Tensor

from . import native

_Apply = Callable[[Tensor, torch.dtype], Tensor]  # (input, dtype of the result)


class PackedLinear:
    """`x @ weight.T + bias` with a fixed weight (outputs, inputs) and an optional bias (outputs,).

    On the CPU a float32 or bfloat16 weight is copied into panels for the C kernels (a row's result then never depends
    on the other rows), without them into the layout of oneDNN; elsewhere it is used as it is.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        library = native.library_for(weight.contiguous())
        self.num_outputs, self.num_inputs = weight.shape
        self._apply: _Apply
        if library is not None:
            self._apply = _Panels(library, weight, bias)
        else:
            self._apply = _onednn(weight, bias) or _plain(weight, bias)

    @property
    def panels(self) -> tuple[int, int | None] | None:
        """Addresses of the panels and of the float32 bias, for C code that takes them; None where not packed so."""
        return self._apply.addresses if isinstance(self._apply, _Panels) else None

    def __call__(self, x: Tensor) -> Tensor:
        """Return (rows, outputs) in the dtype of `x` (rows, inputs)."""
        return self._apply(x, x.dtype)

    def wide(self, x: Tensor) -> Tensor:
        """Return (rows, outputs) in float32, not rounded to the weight's dtype on the way where that is possible."""
        return self._apply(x, torch.float32)


def linear_reference(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The layer in plain torch."""
    return functional.linear(x, weight, bias)


class _Panels:
    """The C kernels over packed panels."""

    def __init__(self, library: native.Library, weight: Tensor, bias: Tensor | None) -> None:
        self._library = library
        self._outputs, self._inputs = weight.shape
        self._half = native.is_half(weight)
        self._weight = pack_panels(weight, library.width)
        self._bias = None if bias is None else bias.float().contiguous()
        self.addresses = (self._weight.data_ptr(), None if self._bias is None else self._bias.data_ptr())

    def __call__(self, x: Tensor, dtype: torch.dtype, /) -> Tensor:
        rows = len(x)
        x = x.contiguous()
        y = torch.empty((rows, self._outputs), dtype=dtype)
        pointers = (x.data_ptr(), *self.addresses, y.data_ptr())
        sizes = (rows, self._inputs, self._outputs)
        if self._half:
            self._library.linear_bfloat16(*pointers, *sizes, dtype == torch.float32, torch.get_num_threads())
        else:
            self._library.linear_float32(*pointers, *sizes, torch.get_num_threads())
        return y


def pack_panels(weight: Tensor, width: int) -> Tensor:
    """Return `weight` (outputs, inputs) in panels of `width` outputs, zero-padded.

    float32: (panels, inputs, width). bfloat16: (panels, inputs / 2, width, 2), pairs of inputs side by side.
    """
    outputs, inputs = weight.shape
    pairs = native.is_half(weight)
    padded = functional.pad(weight, (0, inputs % 2 if pairs else 0, 0, -outputs % width))
    if pairs:
        return padded.view(-1, width, padded.shape[1] // 2, 2).permute(0, 2, 1, 3).contiguous()
    return padded.view(-1, width, inputs).transpose(1, 2).contiguous()


def _onednn(weight: Tensor, bias: Tensor | None) -> _Apply | None:
    """Use oneDNN over a weight in its own layout; None where torch was built without it."""
    if weight.device.type != "cpu" or not torch._C._has_mkldnn:
        return None
    if weight.dtype != torch.float32 and not (native.is_half(weight) and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        return None
    # the ops that torch's own compiler packs weights with
    packed = torch.ops.mkldnn._reorder_linear_weight(weight)

    def apply(x: Tensor, dtype: torch.dtype) -> Tensor:
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
        return y.to(dtype)

    return apply


def _plain(weight: Tensor, bias: Tensor | None) -> _Apply:
    def apply(x: Tensor, dtype: torch.dtype) -> Tensor:
        return functional.linear(x, weight, bias).to(dtype)

    return apply
