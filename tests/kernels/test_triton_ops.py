"""The pointwise and sampling kernels for CUDA against their torch references, on odd shapes.

Run as a script with TRITON_INTERPRET=1 it makes the comparison on the CPU: Triton reads the variable when it loads.
"""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from ramify.backend.engine.draw import draw
from ramify.kernels.gather_logprobs import gather_logprobs, gather_logprobs_reference
from ramify.kernels.rms_norm import add_rms_norm_reference, rms_norm_reference
from ramify.kernels.rotary_to_cache import HeadNorm, Rotation, rotary_to_cache_reference
from ramify.kernels.sample_tokens import Draws, sample_tokens, sample_tokens_reference
from ramify.kernels.silu_and_mul import silu_and_mul_reference

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}


def close(actual: torch.Tensor, expected: torch.Tensor, what: str) -> None:
    assert actual.dtype == expected.dtype, what
    tolerance = TOLERANCE.get(actual.dtype, 1e-5)
    torch.testing.assert_close(
        actual.cpu(), expected.cpu(), atol=tolerance, rtol=tolerance, msg=lambda text: f"{what}: {text}"
    )


def compare_norms(device: str) -> None:
    from ramify.kernels.rms_norm_triton import normalise

    for dtype in DTYPES:
        for shape in ((1, 1), (3, 48), (2, 5, 80), (4, 1030)):
            x, residual = torch.randn(2, *shape).to(dtype).to(device)
            weight = torch.randn(shape[-1]).to(dtype).to(device)
            close(normalise(x, None, weight, 1e-6), rms_norm_reference(x, weight, 1e-6), f"rms_norm {dtype} {shape}")
            if len(shape) == 2:
                expected_residual = residual.clone()
                expected = add_rms_norm_reference(x, expected_residual, weight, 1e-6)
                close(normalise(x, residual, weight, 1e-6), expected, f"add_rms_norm {dtype} {shape}")
                close(residual, expected_residual, f"residual {dtype} {shape}")
    assert normalise(torch.empty(0, 8, device=device), None, torch.ones(8, device=device), 1e-6).shape == (0, 8)


def compare_gates(device: str) -> None:
    from ramify.kernels.silu_and_mul_triton import gate

    for dtype in DTYPES:
        for rows, dim in ((1, 1), (3, 17), (2, 1025)):
            gate_up = (4 * torch.randn(rows, 2 * dim)).to(dtype).to(device)
            close(gate(gate_up), silu_and_mul_reference(gate_up), f"silu_and_mul {dtype} {rows} {dim}")


def compare_rotation(device: str) -> None:
    from ramify.kernels.rotary_to_cache_triton import rotate_and_store

    cases = [(4, 2, 64, True), (1, 1, 80, False), (9, 3, 96, True), (16, 1, 128, False), (3, 3, 6, True)]
    for heads, kv_heads, dim, normed in cases:
        for dtype in DTYPES if dim == 64 else DTYPES[:1]:
            tokens = 3
            qkv = torch.randn(tokens, (heads + 2 * kv_heads) * dim).to(dtype).to(device)
            angles = 7 * torch.randn(tokens, dim // 2, device=device)
            rotation = Rotation(angles.cos(), angles.sin())
            norm = HeadNorm(*torch.randn(2, dim).to(dtype).to(device), 1e-6) if normed else None
            slots = torch.tensor([5, 0, 2], device=device)
            pool = torch.full((2, 7, kv_heads, dim), 9.0).to(dtype).to(device)
            expected_pool = pool.clone()
            expected = rotary_to_cache_reference(qkv, rotation, norm, *expected_pool, slots)
            actual = rotate_and_store(qkv, rotation, norm, *pool, slots)
            name = f"rotary {dtype} {heads} {kv_heads} {dim}"
            close(actual, expected, name)
            close(pool, expected_pool, name)
            untouched = [1, 3, 4, 6]
            assert bool((pool[:, untouched] == 9.0).all()), name


def compare_logprobs(device: str) -> None:
    from ramify.kernels.gather_logprobs_triton import gather

    for dtype in DTYPES:
        for vocabulary, columns in ((1, 1), (333, 3), (4097, 5), (10_000, 1)):
            wide = (5 * torch.randn(4, vocabulary + 3)).to(dtype).to(device)
            logits = wide[:, :vocabulary]
            logits[0, : vocabulary // 2] = -torch.inf
            rows = torch.tensor([2, 0, 3], device=device)
            ids = torch.randint(vocabulary, (3, columns), device=device)
            close(gather(logits, rows, ids), gather_logprobs_reference(logits, rows, ids), f"logprobs {vocabulary}")


def random_draws(rows: int, device: str, seed: int) -> Draws:
    rng = np.random.default_rng(seed)
    columns = (
        np.where(rng.random(rows) < 0.1, 0.0, rng.uniform(0.3, 3, rows)).astype(np.float32),
        rng.random(rows),
        rng.choice([0, 0, 1, 7, 50, 10**6], rows),
        rng.choice([1.0, 0.95, 0.5, 1e-9], rows, p=[0.4, 0.25, 0.25, 0.1]),
        rng.choice([0.0, 0.0, 0.0, 0.05, 0.05, 1.0], rows).astype(np.float32),
    )
    return Draws(*(torch.from_numpy(column).to(device) for column in columns))


def compare_samples(device: str) -> int:
    """Equal tokens; returns how many of them are not the most likely."""
    from ramify.kernels.sample_tokens_triton import sample

    num_random = 0
    for vocabulary, spread, rows in ((1, 1, 2), (37, 2, 24), (4500, 3, 12), (8200, 1, 3)):
        generator = torch.Generator().manual_seed(vocabulary)
        wide = spread * torch.randn(rows + 3, vocabulary + 1, generator=generator).to(device)
        logits = wide[:, :vocabulary]
        if vocabulary == 37:
            logits = logits.round()  # many ties
        elif vocabulary > 37:
            logits[:, ::3] = -torch.inf  # a mask
        draws = random_draws(rows, device, vocabulary)
        chosen = torch.randperm(rows + 3, generator=generator)[:rows].to(device)
        tokens, peaks = sample(logits, chosen, draws)
        expected, expected_peaks = sample_tokens_reference(logits, chosen, draws)
        assert tokens.tolist() == expected.tolist(), vocabulary
        assert torch.equal(peaks, expected_peaks)
        num_random += int((tokens != logits[chosen].argmax(1)).sum())
    hopeless = torch.tensor([[-torch.inf] * 3, [torch.nan, 1, 2], [torch.inf, 0, 0], [1.0, 3.0, 3.0]], device=device)
    tokens, peaks = sample(hopeless, torch.arange(4, device=device), random_draws(4, device, 0))
    assert peaks[0] == -torch.inf and torch.isnan(peaks[1]) and peaks[2] == torch.inf and peaks[3] == 3
    assert bool(((tokens >= 0) & (tokens < 3)).all())
    return num_random


def compare(device: str) -> int:
    torch.manual_seed(0)
    for part in (compare_norms, compare_gates, compare_rotation, compare_logprobs):
        part(device)
    return compare_samples(device)


def test_in_the_interpreter() -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    result = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, timeout=100)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 10


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_device() -> None:
    assert compare("cuda") > 10


@pytest.mark.parametrize("vocabulary", [1, 37, 5000])
def test_the_reference_draws_what_the_engine_draws(vocabulary: int) -> None:
    rows = 200
    logits = 2 * torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(3))
    draws = random_draws(rows, "cpu", 4)
    tokens, peaks = sample_tokens(logits, torch.arange(rows), draws)
    random = draws.temperature > 0
    temperature = torch.where(random, draws.temperature, 1.0)[:, None]
    weights = ((logits - peaks[:, None]) / temperature).exp()
    drawn = draw(
        weights,
        draws.uniform.numpy(),
        top_k=draws.top_k.numpy(),
        top_p=draws.top_p.numpy(),
        min_p=draws.min_p.numpy(),
    )
    assert torch.equal(tokens[random], drawn[random])
    assert torch.equal(tokens[~random], logits.argmax(1)[~random])


def test_log_probabilities_are_those_of_the_softmax() -> None:
    logits = torch.randn(3, 11)
    ids = torch.tensor([[4, 0], [10, 10]])
    expected = logits[[2, 0]].double().log_softmax(1).gather(1, ids)
    torch.testing.assert_close(gather_logprobs(logits, torch.tensor([2, 0]), ids).double(), expected)


if __name__ == "__main__":
    print(compare("cpu"))
