"""Any other causal LM of transformers, through its attention interface, over our paged KV pool.

A ragged batch is one sequence of all tokens with explicit positions; only attention knows the rows. Made by the loader.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ....kernels.linear import PackedLinear
from ....kernels.paged_attention import AttentionSpec, PagedLayout, paged_attention
from ....lang.errors import ModelError
from ..forward_batch import ForwardBatch
from ..kv_pool import KVShape, TokenToKVPool

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

ATTENTION_NAME = "ramify_paged"
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.15, torch.float16: 0.05}  # of the logits' largest magnitude
_KEPT_PARAMETERS = ("s_aux", "sinks")  # attention arguments that change the result and that the op does not have
_FOREIGN_FAILURES = (RuntimeError, TypeError, ValueError, AttributeError, KeyError, IndexError, NotImplementedError)


@dataclass(slots=True)
class _Recording:
    """What attention was asked for in a plain forward: KV sizes and windows by layer."""

    sizes: dict[int, tuple[int, int]] = field(default_factory=dict)  # layer -> (kv_heads, head_dim)
    windows: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Paged:
    """The batch and the pool of the forward in progress; travels through the modules as a keyword argument."""

    batch: ForwardBatch
    pool: TokenToKVPool


class TransformersModel:
    """A model of transformers with our attention; see `CausalLM` for what it promises.

    On loading, a short prompt is computed in two chunks over a paged pool and compared with the model's own attention.
    A model whose state does not all go through the attention interface (recurrent layers, ALiBi, ...) differs there and
    is refused with ModelError, so that it never answers wrongly.
    """

    is_capturable = False  # foreign modules may look at their inputs

    def __init__(self, folder: Path, config: PretrainedConfig, dtype: torch.dtype, device: torch.device) -> None:
        _register_attention()
        self.device = device
        self._module = _load_module(folder, dtype).to(device).eval()
        text_config = config.get_text_config()
        self.vocab_size: int = text_config.vocab_size
        recording, expected = self._record(text_config.model_type)
        self.kv_shape = _kv_shape(recording, dtype, text_config.model_type)
        self.context_len = _context_len(text_config, recording)
        _pack_linears(self._module, dtype)
        self._verify(expected, text_config.model_type)

    def forward(self, batch: ForwardBatch, pool: TokenToKVPool) -> Tensor:
        """Compute the batch, write its KV into `pool`, return logits (wanted, vocab) in float32."""
        output = self._module(
            input_ids=batch.input_ids[None],
            position_ids=batch.positions[None],
            use_cache=False,
            logits_to_keep=0 if batch.wanted is None else batch.wanted,
            paged=_Paged(batch, pool),
        )
        logits: Tensor = output.logits[0]
        return logits.float()

    @property
    def _probe(self) -> Tensor:
        """A short prompt with a repeated and several distinct tokens."""
        return torch.arange(3, 15, device=self.device).remainder(self.vocab_size)

    def _record(self, kind: str) -> tuple[_Recording, Tensor]:
        """Run the probe through the model's own attention; return what was asked of attention, and the logits."""
        recording = _Recording()
        self._module.set_attn_implementation(ATTENTION_NAME)
        with torch.inference_mode(), _refusing(kind):
            self._module(input_ids=self._probe[None], use_cache=False, paged=recording)
            self._module.set_attn_implementation("eager")
            expected: Tensor = self._module(input_ids=self._probe[None], use_cache=False).logits[0].float()
            self._module.set_attn_implementation(ATTENTION_NAME)
        return recording, expected

    def _verify(self, expected: Tensor, kind: str) -> None:
        """Compute the probe in two chunks over a small pool with scattered slots and compare with `expected`."""
        length, cut = len(self._probe), 8
        slots = np.arange(length, 0, -1, dtype=np.int64)
        table = slots.astype(np.int32)[None]
        pool = TokenToKVPool(self.kv_shape, length + 1, self.device)
        parts: list[Tensor] = []
        with torch.inference_mode(), _refusing(kind):
            for begin, end in ((0, cut), (cut, length)):
                batch = _single_row(self._probe, slots, table, begin, end)
                parts.append(self.forward(batch, pool))
        actual = torch.cat(parts)
        error = float((actual - expected).abs().max() / expected.abs().max().clamp(min=1e-6))
        if not error <= _TOLERANCE[self.kv_shape.dtype]:
            raise ModelError(
                f"model type {kind!r} does not compute the same over a paged cache as by itself (relative error "
                f"{error:.2g}): it keeps state outside transformers' attention interface and is not supported"
            )


def _single_row(probe: Tensor, slots: np.ndarray, table: np.ndarray, begin: int, end: int) -> ForwardBatch:
    device = probe.device
    layout = PagedLayout(
        req_to_token=torch.from_numpy(table).to(device),
        rows=torch.zeros(1, dtype=torch.int64, device=device),
        query_starts=torch.tensor([0, end - begin], device=device),
        seq_lens=torch.tensor([end], device=device),
        max_query_len=end - begin,
        max_seq_len=end,
    )
    return ForwardBatch(
        input_ids=probe[begin:end],
        positions=torch.arange(begin, end, device=device),
        slots=torch.from_numpy(slots[begin:end]).to(device),
        layout=layout,
        wanted=None,
        offsets=np.array([0, end - begin]),
    )


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    paged: _Paged | _Recording,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Transformers' attention signature: query (1, heads, tokens, dim), key and value (1, kv_heads, tokens, dim)."""
    unknown = [name for name in _KEPT_PARAMETERS if kwargs.get(name) is not None]
    if unknown or key.shape[-1] != value.shape[-1] or getattr(module, "is_cross_attention", False):
        reason = f"parameter {unknown[0]}" if unknown else "a kind of attention"
        raise ModelError(f"{type(module).__name__} asks for {reason} that the paged attention does not have")
    layer: int = module.layer_idx  # type: ignore[assignment]
    match paged:
        case _Recording():
            paged.sizes[layer] = (key.shape[1], key.shape[3])
            paged.windows.add(sliding_window or 0)
            return torch.zeros_like(query).transpose(1, 2), None
        case _Paged(batch, pool):
            pool.write(layer, batch.slots, key[0].transpose(0, 1), value[0].transpose(0, 1))
            spec = AttentionSpec(
                scale=query.shape[-1] ** -0.5 if scaling is None else scaling,
                window=sliding_window or 0,
                softcap=softcap or 0.0,
            )
            rows = query[0].transpose(0, 1).contiguous()
            output = paged_attention(rows, pool.keys[layer], pool.values[layer], batch.layout, spec)
            return output[None], None


def _register_attention() -> None:
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION_NAME, _attention)


def _load_module(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    from .checkpoint import Checkpoint

    Checkpoint(folder)  # refuses pickles, missing shards and damaged files with our messages
    try:
        module, info = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except (SafetensorError, *_FOREIGN_FAILURES, OSError) as error:
        raise ModelError(f"transformers cannot load {folder}: {error}") from error
    if info["missing_keys"]:
        raise ModelError(
            f"tensor {sorted(info['missing_keys'])[0]!r} is missing from {folder}; config.json and the weights do not "
            "belong together: fetch the checkpoint again"
        )
    loaded: PreTrainedModel = module
    return loaded


@contextlib.contextmanager
def _refusing(kind: str) -> Iterator[None]:
    """Turn failures of a model's foreign code while it is tried out into ModelError."""
    try:
        yield
    except _FOREIGN_FAILURES as error:
        raise ModelError(
            f"model type {kind!r} does not run through transformers' attention interface "
            f"({type(error).__name__}: {error}); it is not supported"
        ) from error


def _kv_shape(recording: _Recording, dtype: torch.dtype, kind: str) -> KVShape:
    sizes = set(recording.sizes.values())
    num_layers = len(recording.sizes)
    if len(sizes) != 1 or sorted(recording.sizes) != list(range(num_layers)):
        raise ModelError(
            f"model type {kind!r} is not supported: its layers' keys differ in shape or not every layer uses "
            "transformers' attention interface"
        )
    num_kv_heads, head_dim = sizes.pop()
    return KVShape(num_layers, num_kv_heads, head_dim, dtype)


def _context_len(config: PretrainedConfig, recording: _Recording) -> int:
    """The model's context, cut to where a locality that attention is not told of (a mask's) would begin to matter."""
    limits = [int(config.max_position_embeddings)]
    window = getattr(config, "sliding_window", None)
    if window and recording.windows == {0} and getattr(config, "use_sliding_window", True):
        limits.append(int(window))
    chunk = getattr(config, "attention_chunk_size", None)
    if chunk:
        limits.append(int(chunk))
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") == "longrope":
        # beyond it all positions are rotated differently, which keys already in the pool could not follow
        limits.append(int(rope["original_max_position_embeddings"]))
    return min(limits)


class _PackedModule(nn.Module):
    """An `nn.Linear` whose weight was packed."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self._packed = PackedLinear(linear.weight.detach(), None if linear.bias is None else linear.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """`x` (..., inputs)."""
        return self._packed(x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], -1)


def _pack_linears(module: nn.Module, dtype: torch.dtype) -> None:
    """Replace the plain linear layers below `module`; subclasses of `nn.Linear` may do more and are left alone."""
    for name, child in list(module.named_children()):
        if type(child) is nn.Linear and child.weight.dtype == dtype:
            setattr(module, name, _PackedModule(child))
        else:
            _pack_linears(child, dtype)
