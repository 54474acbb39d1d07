"""Paged attention against its definition in float64: ragged batches, head sizes, windows, shared prefixes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from ramify.kernels.paged_attention import AttentionSpec, PagedLayout, paged_attention


@dataclass(frozen=True)
class Case:
    """Rows of (prefix length, new tokens).

    `shared` leading positions of all rows have the same slots; in a `tree`, so do twice as many of each pair of rows.
    """

    rows: tuple[tuple[int, int], ...]
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    window: int = 0
    softcap: float = 0.0
    shared: int = 0
    tree: bool = False


DECODE = ((0, 1), (6, 1), (31, 1), (32, 1), (33, 1), (300, 1))
MIXED = ((0, 70), (100, 1), (40, 9), (63, 1), (0, 1), (5, 130))
CASES = {
    "decode": Case(DECODE),
    "mixed": Case(MIXED),
    "long": Case(((990, 1), (0, 200))),
    "one-head": Case(MIXED, heads=1, kv_heads=1),
    "wide-group": Case(MIXED, heads=8, kv_heads=1),
    "group-of-three": Case(MIXED, heads=9, kv_heads=3, head_dim=64),
    "group-of-sixty": Case(MIXED, heads=60, kv_heads=1, head_dim=16),
    "dim-16": Case(MIXED, head_dim=16),
    "dim-20": Case(MIXED, head_dim=20),
    "dim-80": Case(MIXED, head_dim=80),
    "dim-128": Case(DECODE, head_dim=128),
    "dim-256": Case(MIXED, head_dim=256),
    "window": Case(MIXED, window=7),
    "window-of-one": Case(MIXED, window=1),
    "window-over-tiles": Case(((990, 1), (0, 200), (64, 40)), window=40),
    "softcap": Case(MIXED, softcap=2.0),
    "shared-decode": Case(((100, 1), (101, 1), (64, 1), (96, 1), (500, 1), (20, 1)) * 4, shared=96),
    "tree": Case(((200, 1), (230, 1), (128, 9), (150, 1), (40, 1), (199, 1)) * 3, shared=64, tree=True),
    "shared-extend": Case(((96, 20), (96, 40), (100, 1), (40, 3)), shared=96),
    "shared-window": Case(((100, 1), (120, 7), (64, 1), (500, 1)), shared=64, window=50),
}


def make(case: Case, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, PagedLayout, AttentionSpec]:
    random = np.random.default_rng(3)
    lens = np.array([prefix + new for prefix, new in case.rows])
    news = np.array([new for _, new in case.rows])
    table = np.zeros((len(lens) + 2, lens.max() + 3), dtype=np.int32)
    slots = 1 + random.permutation(int(lens.sum()) + case.shared).astype(np.int32)
    common, slots = slots[: case.shared], slots[case.shared :]
    for index, length in enumerate(lens):
        own, slots = slots[:length], slots[length:]
        table[index + 1, :length] = own
        table[index + 1, : min(case.shared, length)] = common[:length]
        if case.tree and index % 2:
            both = min(2 * case.shared, length, lens[index - 1])
            table[index + 1, :both] = table[index, :both]
        table[index + 1, length:] = 0
    generator = torch.Generator().manual_seed(5)
    num_slots = int(lens.sum()) + case.shared + 1
    cache = torch.randn(2, num_slots, case.kv_heads, case.head_dim, generator=generator).to(dtype)
    query = torch.randn(int(news.sum()), case.heads, case.head_dim, generator=generator).to(dtype)
    layout = PagedLayout(
        req_to_token=torch.from_numpy(table),
        rows=torch.arange(1, len(lens) + 1),
        query_starts=torch.from_numpy(np.concatenate([[0], np.cumsum(news)])),
        seq_lens=torch.from_numpy(lens),
        max_query_len=int(news.max()),
        max_seq_len=int(lens.max()),
    )
    return query, cache, layout, AttentionSpec(case.head_dim**-0.5, case.window, case.softcap)


def exact(query: torch.Tensor, cache: torch.Tensor, layout: PagedLayout, spec: AttentionSpec) -> torch.Tensor:
    """Token by token, in float64, from the definition."""
    outputs = []
    group = query.shape[1] // cache.shape[2]
    for row, start, end, length in zip(
        layout.rows, layout.query_starts[:-1], layout.query_starts[1:], layout.seq_lens, strict=True
    ):
        slots = layout.req_to_token[row, :length].long()
        keys, values = cache[:, slots].double().repeat_interleave(group, dim=2)
        for token in range(start, end):
            position = length - (end - token)
            first = max(0, int(position) - spec.window + 1) if spec.window else 0
            seen = slice(first, int(position) + 1)
            scores = torch.einsum("hd,khd->hk", query[token].double(), keys[seen]) * spec.scale
            if spec.softcap:
                scores = torch.tanh(scores / spec.softcap) * spec.softcap
            outputs.append(torch.einsum("hk,khd->hd", scores.softmax(-1), values[seen]))
    return torch.stack(outputs)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equals_the_definition(implementation: str, name: str, dtype: torch.dtype) -> None:
    query, cache, layout, spec = make(CASES[name], dtype)
    output = paged_attention(query, cache[0], cache[1], layout, spec)
    assert output.dtype == dtype and output.shape == query.shape
    tolerance = 2e-5 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(output.double(), exact(query, cache, layout, spec), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("name", ["mixed", "window", "tree", "shared-extend", "group-of-three"])
def test_a_query_does_not_depend_on_its_batch(compiled: str, name: str) -> None:
    """The same bits one token at a time as in one call, and with two threads."""
    query, cache, layout, spec = make(CASES[name], torch.float32)
    together = paged_attention(query, cache[0], cache[1], layout, spec)
    single = replace_rows(layout)
    for token, alone in enumerate(single):
        output = paged_attention(query[token : token + 1], cache[0], cache[1], alone, spec)
        assert torch.equal(output[0], together[token])
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2 if threads == 1 else 1)
        assert torch.equal(paged_attention(query, cache[0], cache[1], replace(layout), spec), together)
    finally:
        torch.set_num_threads(threads)


def replace_rows(layout: PagedLayout) -> list[PagedLayout]:
    """One layout per token of the batch, as if it were decoded alone."""
    layouts = []
    for row, start, end, length in zip(
        layout.rows, layout.query_starts[:-1], layout.query_starts[1:], layout.seq_lens, strict=True
    ):
        for token in range(start, end):
            seen = length - (end - token) + 1
            layouts.append(PagedLayout(layout.req_to_token, row[None], torch.tensor([0, 1]), seen[None], 1, int(seen)))
    return layouts
