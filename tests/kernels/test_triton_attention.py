"""The attention kernels for CUDA against the definition in float64: ragged rows, odd sizes, shared prefixes, windows.

Run as a script with TRITON_INTERPRET=1 it makes the comparison on the CPU: Triton reads the variable when it loads.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from ramify.kernels.paged_attention import AttentionSpec, PagedLayout, paged_attention

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 2e-2, torch.float16: 3e-3}


@dataclass(frozen=True)
class Case:
    """Rows of (prefix length, new tokens); rows of `paths` agree in as many leading slots as the paths say.

    `paths[i]`: (name, length) pairs of stretches of slots; rows with equal beginnings share those slots.
    """

    rows: tuple[tuple[int, int], ...]
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    window: int = 0
    softcap: float = 0.0
    paths: tuple[tuple[tuple[str, int], ...], ...] = ()
    splits: int | None = None


DECODE = ((0, 1), (127, 1), (128, 1), (300, 1))
MIXED = ((0, 9), (40, 1), (17, 5), (0, 1), (3, 20))
ROOT, LEFT, RIGHT = ("root", 70), ("left", 33), ("right", 20)
TREE = ((ROOT, LEFT), (ROOT, RIGHT), (ROOT, LEFT), (ROOT,), (), (ROOT, RIGHT), (ROOT, LEFT))
TREE_ROWS = ((103, 1), (99, 1), (150, 1), (70, 1), (12, 1), (90, 1), (110, 1))

DECODES = {
    "one split": Case(DECODE, splits=1),
    "splits, some of them empty": Case((*DECODE, (600, 1)), splits=3),
    "no group, dim 64": Case(DECODE, kv_heads=4, head_dim=64, splits=2),
    "group of 3, dim 80": Case(DECODE, heads=6, head_dim=80, splits=1),
    "group of 16, dim 96": Case(((400, 1), (30, 1)), heads=16, kv_heads=1, head_dim=96, splits=2),
    "dim 256": Case(((70, 1),), heads=2, kv_heads=1, head_dim=256, splits=1),
    "group of 5, dim 20": Case(((70, 1), (9, 1)), heads=5, kv_heads=1, head_dim=20, splits=1),
    "window": Case((*DECODE, (700, 1)), window=290, splits=2),
    "narrow window": Case(DECODE, window=1, splits=2),
    "softcap": Case(DECODE, softcap=2.0, splits=2),
}
EXTENDS = {
    "mixed": Case(MIXED),
    "prompts": Case(((0, 70), (0, 1)), heads=2, kv_heads=1),
    "no group, dim 64": Case(MIXED, kv_heads=4, head_dim=64),
    "group of 3, dim 80": Case(MIXED, heads=3, kv_heads=1, head_dim=80),
    "group of 16, dim 96": Case(((30, 3), (0, 12)), heads=16, kv_heads=1, head_dim=96),
    "dim 256": Case(((70, 3),), heads=2, kv_heads=1, head_dim=256),
    "window": Case(((150, 9), (0, 40)), window=30),
    "window of one": Case(MIXED, window=1),
    "softcap": Case(MIXED, softcap=2.0),
}
TREES = {
    "two levels": Case(TREE_ROWS, paths=TREE, splits=1),
    "splits": Case(TREE_ROWS, heads=8, paths=TREE, splits=2),
    "no group": Case(TREE_ROWS, kv_heads=4, paths=TREE, splits=1),
    "group of 3, dim 80": Case(TREE_ROWS, heads=3, kv_heads=1, head_dim=80, paths=TREE, splits=1),
    "group of 16": Case(TREE_ROWS, heads=16, kv_heads=1, paths=TREE, splits=1),
    "window": Case(TREE_ROWS, paths=TREE, window=40, splits=1),
    "nothing shared": Case(DECODE, splits=1),
    "one row": Case(((70, 1),), splits=2),
    "all the same": Case(((69, 1),) * 19, heads=2, paths=((ROOT,),) * 19, splits=1),
}


REPEATED = {"one split": DTYPES[:2], "mixed": DTYPES, "two levels": DTYPES[:2]}
KINDS = {"decode": DECODES, "extend": EXTENDS, "tree": TREES}


def make(case: Case, dtype: torch.dtype, device: str) -> tuple[torch.Tensor, torch.Tensor, PagedLayout, AttentionSpec]:
    random = np.random.default_rng(3)
    lens = np.array([prefix + new for prefix, new in case.rows])
    news = np.array([new for _, new in case.rows])
    free = iter((1 + random.permutation(int(lens.sum()) + 200)).tolist())
    stretches: dict[tuple[tuple[str, int], ...], list[int]] = {}
    table = np.full((len(lens) + 2, lens.max() + 3), 10**9, dtype=np.int32)  # what is not read may be anything
    for index, length in enumerate(lens.tolist()):
        slots: list[int] = []
        path = case.paths[index] if case.paths else ()
        for depth in range(1, len(path) + 1):
            if path[:depth] not in stretches:
                stretches[path[:depth]] = [next(free) for _ in range(path[depth - 1][1])]
            slots += stretches[path[:depth]]
        table[index + 1, :length] = (slots + [next(free) for _ in range(max(0, length - len(slots)))])[:length]
    generator = torch.Generator().manual_seed(5)
    shape = (2, int(lens.sum()) + 201, case.kv_heads, case.head_dim)
    cache = torch.randn(shape, generator=generator).to(dtype).to(device)
    query = torch.randn(int(news.sum()), case.heads, case.head_dim, generator=generator).to(dtype).to(device)
    layout = PagedLayout(
        req_to_token=torch.from_numpy(table).to(device),
        rows=torch.arange(1, len(lens) + 1, device=device),
        query_starts=torch.from_numpy(np.concatenate([[0], np.cumsum(news)])).to(device),
        seq_lens=torch.from_numpy(lens).to(device),
        max_query_len=int(news.max()),
        max_seq_len=int(lens.max()),
        num_decode=len(lens) if news.max() == 1 else 0,
        order=torch.from_numpy(np.lexsort(table[1:-1, : lens.min()].T[::-1])).to(device) if case.paths else None,
    )
    return query, cache, layout, AttentionSpec(case.head_dim**-0.5, case.window, case.softcap)


def exact(query: torch.Tensor, cache: torch.Tensor, layout: PagedLayout, spec: AttentionSpec) -> torch.Tensor:
    """Token by token, in float64, from the definition."""
    query, cache, outputs = query.cpu().double(), cache.cpu().double(), []
    group = query.shape[1] // cache.shape[2]
    starts, rows, lens = layout.query_starts.tolist(), layout.rows.tolist(), layout.seq_lens.tolist()
    for index, (row, length) in enumerate(zip(rows, lens, strict=True)):
        slots = layout.req_to_token[row, :length].long().cpu()
        keys, values = cache[:, slots].repeat_interleave(group, dim=2)
        for token in range(starts[index], starts[index + 1]):
            position = length - (starts[index + 1] - token)
            seen = slice(max(0, position - spec.window + 1) if spec.window else 0, position + 1)
            scores = torch.einsum("hd,khd->hk", query[token], keys[seen]) * spec.scale
            if spec.softcap:
                scores = torch.tanh(scores / spec.softcap) * spec.softcap
            outputs.append(torch.einsum("hk,khd->hd", scores.softmax(-1), values[seen]))
    return torch.stack(outputs)


def compare(device: str) -> int:
    """Hold every kernel against the definition; returns the number of comparisons."""
    count = 0
    for kind, cases in KINDS.items():
        for name, case in cases.items():
            for dtype in REPEATED.get(name, DTYPES[:1]):
                compare_case(kind, name, case, dtype, device)
                count += 1
    return count


def compare_case(kind: str, name: str, case: Case, dtype: torch.dtype, device: str) -> None:
    from ramify.kernels.decode_attention_triton import decode_attention
    from ramify.kernels.extend_attention_triton import extend_attention
    from ramify.kernels.tree_attention_triton import tree_attention

    query, cache, layout, spec = make(case, dtype, device)
    expected = exact(query, cache, layout, spec)
    inside = torch.arange(layout.req_to_token.shape[1], device=device) < layout.seq_lens[:, None]
    strange = torch.ones(cache.shape[1], dtype=torch.bool, device=device)
    strange[layout.req_to_token[layout.rows][inside].long()] = False
    cache[:, strange] = float("nan")  # slots of other requests are never read
    if kind == "extend":
        output = extend_attention(query, cache[0], cache[1], layout, spec)
    elif kind == "tree":
        if layout.order is None:
            layout.order = torch.arange(len(layout.rows), device=device)
        output = tree_attention(query, cache[0], cache[1], layout, spec, num_splits=case.splits)
    else:
        output = decode_attention(query, cache[0], cache[1], layout, spec, num_splits=case.splits)
    assert output.dtype == dtype and output.shape == query.shape
    tolerance = TOLERANCE[dtype]
    message = f"{kind} {name} {dtype}: "
    torch.testing.assert_close(
        output.double().cpu(), expected, atol=tolerance, rtol=tolerance, msg=lambda text: message + text
    )


def test_in_the_interpreter() -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    result = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, timeout=100)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) == sum(len(cases) for cases in KINDS.values()) + 4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("kind", "name", "case"),
    [(kind, name, case) for kind, cases in KINDS.items() for name, case in cases.items()],
)
def test_on_a_device(kind: str, name: str, case: Case, dtype: torch.dtype) -> None:
    compare_case(kind, name, case, dtype, "cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rows_that_extend_and_rows_that_decode_in_one_call(dtype: torch.dtype) -> None:
    query, cache, layout, spec = make(Case(((0, 40), (99, 3), *DECODE, *DECODE)), dtype, "cuda")
    layout.num_decode = 8
    layout.order = torch.arange(7, -1, -1, device="cuda")
    output = paged_attention(query, cache[0], cache[1], layout, spec)
    expected = exact(query, cache, layout, spec)
    torch.testing.assert_close(output.double().cpu(), expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("num_decode", [0, 1])
def test_a_pool_of_more_than_two_billion_elements(num_decode: int) -> None:
    far = 2**31 // 256 + 5  # the first slot whose offset does not fit 32 bits
    query = torch.randn(1, 4, 128, device="cuda", dtype=torch.bfloat16)
    cache = torch.zeros(2, far + 2, 2, 128, device="cuda", dtype=torch.bfloat16)
    cache[:, far:] = torch.randn_like(cache[:, far:])
    sizes = [torch.tensor(column, device="cuda") for column in ([0], [0, 1], [2])]
    table = torch.tensor([[0, 1]], dtype=torch.int32, device="cuda")
    spec = AttentionSpec(0.1)
    output = paged_attention(query, *cache, PagedLayout(table + far, *sizes, 1, 2, num_decode), spec)
    expected = exact(query, cache[:, far:], PagedLayout(table, *sizes, 1, 2), spec)
    torch.testing.assert_close(output.double().cpu(), expected, atol=2e-2, rtol=2e-2)


if __name__ == "__main__":
    print(compare("cpu"))
