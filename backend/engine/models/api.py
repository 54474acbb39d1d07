"""`CausalLM`: what the engine asks of a model. `llama` and `transformers_model` implement it; ModelRunner calls it."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ..forward_batch import ForwardBatch
from ..kv_pool import KVShape, TokenToKVPool


class CausalLM(Protocol):
    """A decoder with its weights loaded on one device."""

    @property
    def kv_shape(self) -> KVShape:
        """Sizes of the keys and values it writes for each token."""
        ...

    @property
    def vocab_size(self) -> int:
        """Number of logits per position."""
        ...

    @property
    def context_len(self) -> int:
        """Most tokens of one sequence."""
        ...

    @property
    def device(self) -> torch.device:
        """Where its weights are, and its KV pool must be."""
        ...

    @property
    def is_capturable(self) -> bool:
        """Whether `forward` does the same for all batches of one size, from Python's view: no look at what is in them.

        Only then a step on a device can be recorded and replayed.
        """
        ...

    def forward(self, batch: ForwardBatch, pool: TokenToKVPool) -> Tensor:
        """Compute the batch, write its KV into `pool`, return logits (wanted, vocab) in float32."""
        ...
