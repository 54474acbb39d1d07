"""Two costs that are not a model's: the engine's own work per request and step, and the radix tree's per prompt."""

from __future__ import annotations

import random
import statistics
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

import ramify
from ramify.backend.engine.forward_batch import ForwardBatch, Logits
from ramify.backend.engine.model_runner import ModelRunner
from ramify.backend.engine.radix_cache import RadixCache

from workloads import letters


def engine_overhead_us(folder: Path, *, batch: int, num_new: int, rounds: int) -> float:
    """Microseconds per running request and step of everything but the model.

    The model is replaced by ready-made random logits, so that all the time left is the engine's: scheduling, memory,
    inputs, sampling, stop checks, text, and handing the answers to the caller's thread. Prefill of a few tokens counts
    in. Median over rounds.
    """
    vocab_size = 4096
    ready = torch.randn(batch, vocab_size)

    def forward(self: ModelRunner, scheduled: Any) -> Logits:
        offsets = ForwardBatch.of(scheduled, self.req_to_token).offsets
        return Logits(ready[: int(offsets[-1])], offsets)

    prompts = [letters(8, f"overhead {row}") for row in range(batch)]
    times = []
    with ramify.Engine(str(folder), dtype="float32") as engine, mock.patch.object(ModelRunner, "forward", forward):
        for _ in range(rounds + 1):
            engine.flush_cache()
            start = time.perf_counter()
            engine.generate(prompts, max_tokens=num_new, temperature=0, ignore_eos=True)
            times.append(time.perf_counter() - start)
    return statistics.median(times[1:]) / (batch * num_new) * 1e6


def radix_us(*, tree_tokens: int, prompt_len: int, rounds: int) -> float:
    """Microseconds to match and then insert one prompt in a tree of `tree_tokens` tokens; median over prompts.

    The tree holds conversations that share system prompts and turns of random lengths; each prompt follows a path that
    is in the tree for a random part of its length and goes on with new tokens.
    """
    draw = np.random.default_rng(0)
    lengths = random.Random(0)
    tree = RadixCache()
    prompts: list[np.ndarray[Any, np.dtype[np.int32]]] = []
    while tree.evictable_size < tree_tokens:
        prompts.append(_follow(prompts, prompt_len, draw, lengths))
        tree.insert(prompts[-1], "", np.arange(prompt_len))
    times = []
    for _ in range(rounds):
        prompt = _follow(prompts, prompt_len, draw, lengths)
        slots = np.arange(prompt_len)
        start = time.perf_counter()
        tree.match_prefix(prompt, "")
        tree.insert(prompt, "", slots)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def _follow(
    prompts: list[np.ndarray[Any, np.dtype[np.int32]]], length: int, draw: np.random.Generator, lengths: random.Random
) -> np.ndarray[Any, np.dtype[np.int32]]:
    """New tokens after a random part of a random earlier prompt."""
    fresh = draw.integers(0, 50_000, length, dtype=np.int32)
    if prompts:
        shared = lengths.randrange(length)
        fresh[:shared] = lengths.choice(prompts)[:shared]
    return fresh
