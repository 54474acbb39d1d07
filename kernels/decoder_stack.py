"""All layers of a dense decoder: attention and gated feed-forward blocks with pre-normalisation, over the paged pool.

In C it is one call, because a small model's step is otherwise mostly dispatch. Knows no checkpoints; called by `llama`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from . import native
from .linear import PackedLinear
from .paged_attention import AttentionSpec, PagedLayout, paged_attention
from .rms_norm import add_rms_norm, rms_norm
from .rotary_to_cache import MAX_HEAD_DIM, HeadNorm, Rotation, rotary_to_cache
from .silu_and_mul import silu_and_mul


@dataclass(frozen=True, slots=True)
class DecoderLayer:
    """Weights of one layer, and what its attention sees."""

    input_norm: Tensor  # (hidden,)
    qkv: PackedLinear  # hidden -> (heads + 2 * kv_heads) * head_dim: queries, keys, values
    head_norm: HeadNorm | None
    attention: AttentionSpec
    output: PackedLinear  # heads * head_dim -> hidden
    mlp_norm: Tensor  # (hidden,)
    gate_up: PackedLinear  # hidden -> 2 * inner: gate, up
    down: PackedLinear  # inner -> hidden


@dataclass(frozen=True, slots=True)
class StepInputs:
    """What a forward brings: angles, the pool (layers, 2, slots, kv_heads, head_dim), slots (tokens,), the rows."""

    rotation: Rotation
    pool: Tensor
    slots: Tensor
    layout: PagedLayout


class DecoderStack:
    """The layers and the norm after the last one; call it with embeddings."""

    def __init__(self, layers: Sequence[DecoderLayer], final_norm: Tensor, eps: float) -> None:
        self._layers = tuple(layers)
        self._final_norm = final_norm
        self._eps = eps
        self._native = _NativeStack.of(self._layers, final_norm, eps)

    def __call__(self, residual: Tensor, inputs: StepInputs) -> Tensor:
        """Return (tokens, hidden), normalised; `residual` (tokens, hidden) holds the embeddings and is changed."""
        if self._native is not None and inputs.pool.dtype == residual.dtype:
            return self._native(residual, inputs)
        return self.reference(residual, inputs)

    def reference(self, residual: Tensor, inputs: StepInputs) -> Tensor:
        """The same, op by op."""
        normed = rms_norm(residual, self._layers[0].input_norm, self._eps)
        for index, layer in enumerate(self._layers):
            keys, values = inputs.pool[index]
            query = rotary_to_cache(layer.qkv(normed), inputs.rotation, layer.head_norm, keys, values, inputs.slots)
            attended = paged_attention(query, keys, values, inputs.layout, layer.attention)
            normed = add_rms_norm(layer.output(attended.flatten(1)), residual, layer.mlp_norm, self._eps)
            hidden = layer.down(silu_and_mul(layer.gate_up(normed)))
            following = self._layers[index + 1].input_norm if index + 1 < len(self._layers) else self._final_norm
            normed = add_rms_norm(hidden, residual, following, self._eps)
        return normed


class _Packed(ctypes.Structure):
    _fields_ = (("weight", ctypes.c_void_p), ("bias", ctypes.c_void_p))


class _Layer(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("input_norm", "query_norm", "key_norm", "mlp_norm")),
        *((name, _Packed) for name in ("qkv", "output", "gate_up", "down")),
        ("window", ctypes.c_int64),
    )


class _Shape(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("num_layers", "hidden", "inner", "heads", "kv_heads", "head_dim")),
        ("final_norm", ctypes.c_void_p),
        *((name, ctypes.c_float) for name in ("eps", "head_eps", "scale", "softcap")),
        ("half", ctypes.c_int32),
        ("threads", ctypes.c_int32),
    )


class _Step(ctypes.Structure):
    _fields_ = (
        ("tokens", ctypes.c_int64),
        ("num_items", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("items", "cosine", "sine", "slots", "cache")),
        ("cache_bytes", ctypes.c_int64),
    )


class _NativeStack:
    """The C call over tables of addresses; the layers' tensors are kept alive by `layers`."""

    def __init__(
        self, library: native.Library, layers: tuple[DecoderLayer, ...], final_norm: Tensor, eps: float
    ) -> None:
        self._library = library
        self._layers = layers
        self._final_norm = final_norm
        self._eps = eps
        self._table = (_Layer * len(layers))(*(_describe(layer) for layer in layers))

    @classmethod
    def of(cls, layers: tuple[DecoderLayer, ...], final_norm: Tensor, eps: float) -> _NativeStack | None:
        """None where the C kernels are missing or a layer is not packed for them."""
        library = native.library_for(final_norm)
        packed = (linear.panels for layer in layers for linear in (layer.qkv, layer.output, layer.gate_up, layer.down))
        same = {(layer.attention.scale, layer.attention.softcap) for layer in layers}
        if library is None or None in packed or len(same) != 1:
            return None
        return cls(library, layers, final_norm, eps)

    def __call__(self, residual: Tensor, inputs: StepInputs) -> Tensor:
        num_kv_heads, head_dim = inputs.pool.shape[3:]
        assert head_dim <= MAX_HEAD_DIM and residual.is_contiguous()
        tokens, hidden = residual.shape
        first = self._layers[0]
        num_heads = first.output.num_inputs // head_dim
        items = inputs.layout.items(self._library, num_heads // num_kv_heads)
        shape = _Shape(
            len(self._layers), hidden, first.down.num_inputs, num_heads, num_kv_heads, head_dim,
            self._final_norm.data_ptr(), self._eps, first.head_norm.eps if first.head_norm else 0.0,
            first.attention.scale, first.attention.softcap, native.is_half(residual), torch.get_num_threads(),
        )  # fmt: skip
        step = _Step(
            tokens, len(items), items.data_ptr(), inputs.rotation.cos.data_ptr(), inputs.rotation.sin.data_ptr(),
            inputs.slots.data_ptr(), inputs.pool.data_ptr(), inputs.pool.stride(1) * inputs.pool.element_size(),
        )  # fmt: skip
        normed = torch.empty_like(residual)
        failed = self._library.decoder_stack(
            ctypes.addressof(shape), ctypes.addressof(self._table), ctypes.addressof(step),
            residual.data_ptr(), normed.data_ptr(),
        )  # fmt: skip
        if failed:
            raise MemoryError(f"no memory for the activations of {tokens} tokens")
        return normed


def _describe(layer: DecoderLayer) -> _Layer:
    query_norm = layer.head_norm.query.data_ptr() if layer.head_norm else None
    key_norm = layer.head_norm.key.data_ptr() if layer.head_norm else None
    linears = [_Packed(*(linear.panels or ())) for linear in (layer.qkv, layer.output, layer.gate_up, layer.down)]
    norms = (layer.input_norm.data_ptr(), query_norm, key_norm, layer.mlp_norm.data_ptr())
    return _Layer(*norms, *linears, layer.attention.window)
