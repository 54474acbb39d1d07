"""Sizes: how many tokens fit, how the pool is laid out, what happens when it does not fit."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from ramify.backend.engine.kv_pool import KVShape, TokenToKVPool
from ramify.backend.engine.model_runner import ModelRunner, default_max_total_tokens
from ramify.backend.engine.models.loader import load_model
from ramify.lang.errors import CapacityError

CPU = torch.device("cpu")
SHAPE = KVShape(num_layers=3, num_kv_heads=2, head_dim=4, dtype=torch.float32)


@dataclass
class Sizes:
    """What sizing asks of a model."""

    context_len: int
    kv_shape: KVShape = SHAPE
    device: torch.device = CPU


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_pool(dtype: torch.dtype) -> None:
    shape = KVShape(3, 2, 4, dtype)
    pool = TokenToKVPool(shape, 10, torch.device("cpu"))
    assert pool.data.shape == (3, 2, 10, 2, 4) and pool.data.dtype == dtype
    assert shape.bytes_per_token * 10 == pool.data.numel() * dtype.itemsize
    assert not pool.data.any()
    key, value = torch.ones(2, 2, 4), torch.full((2, 2, 4), 2.0)
    pool.write(1, torch.tensor([7, 3]), key, value)
    assert (pool.keys[1][[3, 7]] == 1).all() and (pool.values[1][[3, 7]] == 2).all()
    assert pool.data.count_nonzero() == 2 * key.numel()


def test_default_size_follows_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    free = {"SC_AVPHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", free.__getitem__)
    quarter = 1000 * 4096 // 4 // SHAPE.bytes_per_token
    assert default_max_total_tokens(Sizes(context_len=1000)) == quarter
    assert default_max_total_tokens(Sizes(context_len=1000), page_size=16) == quarter // 16 * 16
    assert default_max_total_tokens(Sizes(context_len=10)) == 640, "more than 64 contexts are never useful"
    free["SC_AVPHYS_PAGES"] = 1
    assert default_max_total_tokens(Sizes(context_len=1000)) == 1000, "one context is the least"


def test_runner_sizes(lab: Any) -> None:
    model = load_model(lab.folder("llama")).model
    table = np.zeros((2, 300), dtype=np.int32)
    runner = ModelRunner(model, table, max_total_tokens=1000, page_size=8)
    assert runner.pool.num_slots == 1008, "the dummy page comes on top"
    assert runner.context_len == 256 and runner.vocab_size == 199
    assert ModelRunner(model, table, max_total_tokens=100).context_len == 100


def test_more_memory_than_there_is(lab: Any) -> None:
    model = load_model(lab.folder("llama")).model
    with pytest.raises(CapacityError, match="max_total_tokens"):
        ModelRunner(model, np.zeros((2, 300), dtype=np.int32), max_total_tokens=1 << 45)
