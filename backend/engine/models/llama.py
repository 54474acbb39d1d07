"""The native dense decoder family: Llama, Qwen2, Qwen3 and Mistral in one config-driven model.

Knows tensors and kernels; nothing of requests. Made by the loader, called by ModelRunner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ....kernels.decoder_stack import DecoderLayer, DecoderStack, StepInputs
from ....kernels.linear import PackedLinear
from ....kernels.paged_attention import AttentionSpec
from ....kernels.rotary_to_cache import HeadNorm, Rotation
from ....lang.errors import ModelError
from ..forward_batch import ForwardBatch
from ..kv_pool import KVShape, TokenToKVPool
from .checkpoint import Checkpoint

if TYPE_CHECKING:
    from transformers import PretrainedConfig

MODEL_TYPES = ("llama", "mistral", "qwen2", "qwen3")


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderConfig:
    """What the family's members differ in."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    context_len: int
    norm_eps: float
    qkv_bias: bool
    output_bias: bool
    mlp_bias: bool
    head_norm: bool
    tied: bool
    windows: tuple[int, ...]  # per layer, 0: full attention
    inv_freq: tuple[float, ...]  # (head_dim / 2,)
    rotation_scale: float  # multiplies cos and sin

    @classmethod
    def of(cls, config: PretrainedConfig) -> DecoderConfig | None:
        """Read a transformers config; None when it is not of this family or asks for something the family lacks."""
        kind = config.model_type
        if kind not in MODEL_TYPES or config.hidden_act not in ("silu", "swish"):
            return None
        num_heads, num_kv_heads = config.num_attention_heads, config.num_key_value_heads
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // num_heads
        if num_heads % num_kv_heads or head_dim % 2:
            raise ModelError(
                f"config.json has {num_heads} heads, {num_kv_heads} KV heads and head_dim {head_dim}; heads must be a "
                "multiple of KV heads and head_dim even"
            )
        rope = config.rope_parameters or {}
        if rope.get("partial_rotary_factor", 1.0) != 1.0 or rope.get("rope_type") == "longrope":
            return None
        inv_freq, rotation_scale = _rotation(config, head_dim)
        bias = bool(getattr(config, "attention_bias", False))
        return cls(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_layers=config.num_hidden_layers,
            num_heads=num_heads,
            num_kv_heads=num_kv_heads,
            head_dim=head_dim,
            context_len=config.max_position_embeddings,
            norm_eps=config.rms_norm_eps,
            qkv_bias=bias or kind == "qwen2",
            output_bias=bias,
            mlp_bias=bool(getattr(config, "mlp_bias", False)),
            head_norm=kind == "qwen3",
            tied=bool(config.tie_word_embeddings),
            windows=_windows(config),
            inv_freq=tuple(inv_freq.tolist()),
            rotation_scale=rotation_scale,
        )


def _windows(config: PretrainedConfig) -> tuple[int, ...]:
    window = getattr(config, "sliding_window", None) or 0
    layer_types = getattr(config, "layer_types", None)
    if config.model_type == "llama":
        return (0,) * int(config.num_hidden_layers)
    if config.model_type == "mistral" or layer_types is None:
        return (int(window),) * int(config.num_hidden_layers)
    return tuple(int(window) if kind == "sliding_attention" else 0 for kind in layer_types)


def _rotation(config: PretrainedConfig, head_dim: int) -> tuple[Tensor, float]:
    """Inverse frequencies and scale. A "dynamic" rope only changes beyond the context length, which we never pass."""
    rope = config.rope_parameters or {}
    kind = rope.get("rope_type", "default")
    if kind == "default":
        exponent = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
        return 1.0 / (float(rope.get("rope_theta", 10_000.0)) ** exponent), 1.0
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    if kind not in ROPE_INIT_FUNCTIONS:
        raise ModelError(
            f"config.json asks for rope_type {kind!r}; known are default, {', '.join(ROPE_INIT_FUNCTIONS)}"
        )
    inv_freq, scale = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"))
    return inv_freq.float(), float(scale)


class LlamaModel:
    """The decoder with packed weights; see `CausalLM` for what it promises."""

    is_capturable = True

    def __init__(self, config: DecoderConfig, weights: Checkpoint, dtype: torch.dtype, device: torch.device) -> None:
        reader = _Reader(config, weights, dtype, device)
        self.config = config
        self.device = device
        self.vocab_size = config.vocab_size
        self.context_len = config.context_len
        self.kv_shape = KVShape(config.num_layers, config.num_kv_heads, config.head_dim, dtype)
        self._embedding, self._head = reader.embedding_and_head()
        self._stack = DecoderStack(
            [reader.layer(index) for index in range(config.num_layers)],
            reader.vector("model.norm.weight", config.hidden_size),
            config.norm_eps,
        )
        self._inv_freq = torch.tensor(config.inv_freq, dtype=torch.float32, device=device)

    def forward(self, batch: ForwardBatch, pool: TokenToKVPool) -> Tensor:
        """Compute the batch, write its KV into `pool`, return logits (wanted, vocab) in float32."""
        embedded = self._embedding.index_select(0, batch.input_ids)  # (tokens, hidden)
        inputs = StepInputs(self._rotate(batch.positions), pool.data, batch.slots, batch.layout)
        normed = self._stack(embedded, inputs)
        if batch.wanted is not None:
            normed = normed.index_select(0, batch.wanted)
        return self._head.wide(normed)

    def _rotate(self, positions: Tensor) -> Rotation:
        angles = positions.float()[:, None] * self._inv_freq  # (tokens, head_dim / 2)
        scale = self.config.rotation_scale
        if scale == 1.0:
            return Rotation(angles.cos(), angles.sin())
        return Rotation(angles.cos() * scale, angles.sin() * scale)


class _Reader:
    """Reads the family's tensors by their names in Hugging Face checkpoints."""

    def __init__(self, config: DecoderConfig, weights: Checkpoint, dtype: torch.dtype, device: torch.device) -> None:
        self._config = config
        self._weights = weights
        self._dtype = dtype
        self._device = device

    def vector(self, name: str, length: int) -> Tensor:
        return self._weights.tensor(name, (length,), self._dtype).to(self._device)

    def embedding_and_head(self) -> tuple[Tensor, PackedLinear]:
        shape = (self._config.vocab_size, self._config.hidden_size)
        embedding = self._weights.tensor("model.embed_tokens.weight", shape, self._dtype).to(self._device)
        if self._config.tied:
            return embedding, PackedLinear(embedding)
        return embedding, self._linear(["lm_head"], [shape[0]], shape[1], biased=False)

    def layer(self, index: int) -> DecoderLayer:
        config = self._config
        prefix = f"model.layers.{index}."
        attention, mlp = prefix + "self_attn.", prefix + "mlp."
        hidden, inner = config.hidden_size, config.intermediate_size
        query_dim, kv_dim = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
        head_norm = None
        if config.head_norm:
            head_norm = HeadNorm(
                query=self.vector(attention + "q_norm.weight", config.head_dim),
                key=self.vector(attention + "k_norm.weight", config.head_dim),
                eps=config.norm_eps,
            )
        return DecoderLayer(
            input_norm=self.vector(prefix + "input_layernorm.weight", hidden),
            qkv=self._linear(
                [attention + "q_proj", attention + "k_proj", attention + "v_proj"],
                [query_dim, kv_dim, kv_dim],
                hidden,
                biased=config.qkv_bias,
            ),
            head_norm=head_norm,
            attention=AttentionSpec(scale=config.head_dim**-0.5, window=config.windows[index]),
            output=self._linear([attention + "o_proj"], [hidden], query_dim, biased=config.output_bias),
            mlp_norm=self.vector(prefix + "post_attention_layernorm.weight", hidden),
            gate_up=self._linear([mlp + "gate_proj", mlp + "up_proj"], [inner, inner], hidden, biased=config.mlp_bias),
            down=self._linear([mlp + "down_proj"], [hidden], inner, biased=config.mlp_bias),
        )

    def _linear(self, names: list[str], outputs: list[int], inputs: int, *, biased: bool) -> PackedLinear:
        """One packed linear from several of the checkpoint's, their outputs one after the other."""
        weight = self._weights.stacked(
            [name + ".weight" for name in names], [(rows, inputs) for rows in outputs], self._dtype
        ).to(self._device)
        bias = None
        if biased:
            bias = self._weights.stacked([name + ".bias" for name in names], [(rows,) for rows in outputs], self._dtype)
            bias = bias.to(self._device)
        return PackedLinear(weight, bias)
