"""Draws from weights: their distributions under every filter, the largest entries of rows, seeds of samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from ramify.backend.engine.draw import draw
from ramify.backend.engine.heaviest import heaviest
from ramify.backend.engine.req import Req
from ramify.backend.engine.sampling_table import SamplingTable, derive_seed
from ramify.lang.sampling import Sampling


def chi_square(counts: np.ndarray, expected: np.ndarray) -> float:
    """The statistic over its degrees of freedom's mean, in standard deviations."""
    used = expected > 0
    assert counts[~used].sum() == 0, "a token that was filtered out was drawn"
    statistic = float((((counts - expected) ** 2)[used] / expected[used]).sum())
    freedom = int(used.sum()) - 1
    return (statistic - freedom) / math.sqrt(2 * max(freedom, 1))


@pytest.mark.parametrize(
    ("parameters", "keep"),
    [
        ({}, lambda p: p > 0),
        ({"temperature": 2.0}, lambda p: p > 0),
        ({"top_k": 4}, lambda p: p >= np.sort(p)[-4]),
        ({"top_p": 0.6}, lambda p: p >= np.sort(p)[::-1][np.searchsorted(np.cumsum(np.sort(p)[::-1]), 0.6)]),
        ({"min_p": 0.3}, lambda p: p >= 0.3 * p.max()),
    ],
    ids=["plain", "temperature", "top-k", "top-p", "min-p"],
)
@pytest.mark.parametrize("by", ["seed", "position"])
def test_draws_follow_the_distribution(
    parameters: dict[str, Any], keep: Callable[[np.ndarray], np.ndarray], by: str
) -> None:
    """20,000 draws over consecutive seeds, or over the positions of one seed."""
    size, num = 12, 20_000
    logits = torch.linspace(-1.5, 1.5, size)[torch.randperm(size, generator=torch.Generator().manual_seed(0))]
    table = SamplingTable(num + 1)
    for i in range(num):
        sampling = Sampling(seed=i if by == "seed" else 99, **parameters)
        req = Req(rid=str(i), origin_input_ids=[1], sampling=sampling, row=i + 1)
        table.open_row(req)
    rows = np.arange(1, num + 1)
    positions = np.zeros(num, dtype=np.int64) if by == "seed" else np.arange(num)
    scaled = logits / parameters.get("temperature", 1.0)
    weights_of_all = torch.exp(scaled - scaled.max()).repeat(num, 1)
    uniforms = table.uniforms(rows, positions)
    tokens = draw(weights_of_all, uniforms, top_k=table.top_k[rows], top_p=table.top_p[rows], min_p=table.min_p[rows])
    weights = torch.softmax(logits / parameters.get("temperature", 1.0), -1).numpy().astype(np.float64)
    weights = np.where(keep(weights), weights, 0.0)
    expected = num * weights / weights.sum()
    assert abs(chi_square(np.bincount(tokens.numpy(), minlength=size), expected)) < 4


def test_samples_of_one_request_have_seeds_of_their_own() -> None:
    assert derive_seed(42, 0) == 42
    assert len({derive_seed(42, index) for index in range(256)} | {derive_seed(43, i) for i in range(256)}) == 512


@pytest.mark.parametrize(("size", "width"), [(40, 40), (1000, 20), (70_001, 64), (70_001, 1024)])
def test_the_heaviest_are_those_of_topk(size: int, width: int) -> None:
    torch.manual_seed(0)
    table = torch.rand(3, size)
    values, ids = heaviest(table, width)
    expected = table.topk(width)
    assert torch.equal(values, expected.values)
    assert torch.equal(table.gather(-1, ids), values)
    assert all(len(set(row)) == width for row in ids.tolist())
