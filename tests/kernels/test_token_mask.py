"""The mask kernel: bits into minus infinities, on chosen rows only; the Triton kernel against the CPU's.

Run as a script with TRITON_INTERPRET=1 it makes that comparison on the CPU: Triton reads the variable when it loads.
"""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from ramify.kernels.token_mask import apply_token_mask, unpacked

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def random_mask(num_rows: int, num_tokens: int, seed: int) -> tuple[torch.Tensor, np.ndarray]:
    """Packed words with random padding bits, and the bits themselves (rows, tokens)."""
    rng = np.random.default_rng(seed)
    words = rng.integers(-(2**31), 2**31, size=(num_rows, -(-num_tokens // 32)), dtype=np.int32)
    bits = np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")[:, :num_tokens].astype(bool)
    return torch.from_numpy(words), bits


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("batch", "rows"), [(1, [0]), (5, [3, 0]), (4, [2, 0, 1, 3]), (3, [])])
@pytest.mark.parametrize("num_tokens", [1, 32, 333, 20_001])
def test_exactly_the_forbidden_tokens_of_the_chosen_rows_go(
    implementation: str, dtype: torch.dtype, batch: int, rows: list[int], num_tokens: int
) -> None:
    words, bits = random_mask(len(rows), num_tokens, seed=num_tokens)
    logits = torch.randn(batch, num_tokens, generator=torch.Generator().manual_seed(0)).to(dtype)
    expected = logits.clone()
    for row, allowed in zip(rows, bits, strict=True):
        expected[row, torch.from_numpy(~allowed)] = -torch.inf
    apply_token_mask(logits, torch.tensor(rows, dtype=torch.int64), words)
    assert torch.equal(logits, expected)


def test_a_token_that_is_forbidden_already_stays_so() -> None:
    logits = torch.tensor([[-torch.inf, 1.0, -torch.inf]])
    apply_token_mask(logits, torch.tensor([0]), torch.tensor([[0b011]], dtype=torch.int32))
    assert logits.tolist() == [[-torch.inf, 1.0, -torch.inf]]


def test_the_words_of_a_wider_mask_may_be_a_view(implementation: str) -> None:
    words, bits = random_mask(4, 64, seed=1)
    logits = torch.zeros(2, 64)
    apply_token_mask(logits, torch.tensor([0, 1]), words[::2])
    assert torch.equal(torch.isfinite(logits), torch.from_numpy(bits[::2]))


def test_the_logits_of_a_wider_tensor_may_be_a_view(implementation: str) -> None:
    words, bits = random_mask(2, 45, seed=3)
    wide = torch.zeros(3, 50)
    apply_token_mask(wide[:, :45], torch.tensor([2, 0]), words)
    assert torch.equal(torch.isfinite(wide[[2, 0], :45]), torch.from_numpy(bits))
    assert not torch.isinf(wide[1]).any() and not torch.isinf(wide[:, 45:]).any()


@pytest.mark.parametrize("num_tokens", [1, 31, 32, 100])
def test_unpacking_as_devices_do_it_equals_numpy(num_tokens: int) -> None:
    words, bits = random_mask(3, num_tokens, seed=2)
    assert torch.equal(unpacked(words, num_tokens), torch.from_numpy(bits))


def compare_triton(device: str) -> int:
    """Hold the Triton kernel on `device` against the CPU's kernel; returns how many logits were forbidden."""
    from ramify.kernels.token_mask_triton import forbid_tokens

    num_forbidden = 0
    for dtype in DTYPES:
        for num_tokens in (1, 31, 32, 333, 4095, 4096, 4097, 20_001):
            for batch, rows in ((1, [0]), (5, [3, 0]), (4, [2, 0, 1, 3])):
                words, _ = random_mask(2 * len(rows), num_tokens, seed=num_tokens)
                words, chosen = words[::2], torch.tensor(rows)  # the rows of a mask may lie apart
                expected = torch.randn(batch, num_tokens).to(dtype)
                # a view into wider rows, as a vocabulary padded for the hardware gives
                wide = torch.full((batch, num_tokens + 7), 5.0, dtype=dtype, device=device)
                wide[:, :num_tokens] = expected.to(device)
                apply_token_mask(expected, chosen, words)
                forbid_tokens(wide[:, :num_tokens], chosen.to(device), words.to(device))
                assert torch.equal(wide[:, :num_tokens].cpu(), expected), (dtype, num_tokens, rows)
                assert bool((wide[:, num_tokens:] == 5.0).all()), "written beyond the vocabulary"
                num_forbidden += int(torch.isinf(expected).sum())
    return num_forbidden


def test_the_triton_kernel_in_its_interpreter() -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    result = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, timeout=100)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 100_000


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_triton_kernel_on_a_device() -> None:
    assert compare_triton("cuda") > 100_000


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_rows_beyond_two_billion_logits() -> None:
    logits = torch.zeros(8, 2**29, dtype=torch.float16, device="cuda")
    mask = torch.full((1, 2**24), -1, dtype=torch.int32, device="cuda")
    mask[0, -1] = 0
    apply_token_mask(logits, torch.tensor([7], device="cuda"), mask)
    assert int(torch.isinf(logits).sum()) == 32 and bool(torch.isinf(logits[7, -32:]).all())


if __name__ == "__main__":
    print(compare_triton("cpu"))
