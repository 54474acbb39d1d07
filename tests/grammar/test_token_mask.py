"""The mask kernel: bits into minus infinities, on chosen rows only."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ramify.kernels.token_mask import _unpacked, apply_token_mask

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def random_mask(num_rows: int, num_tokens: int, seed: int) -> tuple[torch.Tensor, np.ndarray]:
    """Packed words with random padding bits, and the bits themselves (rows, tokens)."""
    rng = np.random.default_rng(seed)
    words = rng.integers(-(2**31), 2**31, size=(num_rows, -(-num_tokens // 32)), dtype=np.int32)
    bits = np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")[:, :num_tokens].astype(bool)
    return torch.from_numpy(words), bits


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(("batch", "rows"), [(1, [0]), (5, [3, 0]), (4, [2, 0, 1, 3]), (3, [])])
@pytest.mark.parametrize("num_tokens", [1, 32, 333, 20_001])
def test_exactly_the_forbidden_tokens_of_the_chosen_rows_go(
    device: str, dtype: torch.dtype, batch: int, rows: list[int], num_tokens: int
) -> None:
    words, bits = random_mask(len(rows), num_tokens, seed=num_tokens)
    logits = torch.randn(batch, num_tokens, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    expected = logits.clone()
    for row, allowed in zip(rows, bits, strict=True):
        expected[row, torch.from_numpy(~allowed).to(device)] = -torch.inf
    apply_token_mask(logits, torch.tensor(rows, dtype=torch.int64, device=device), words.to(device))
    assert torch.equal(logits, expected)


def test_a_token_that_is_forbidden_already_stays_so() -> None:
    logits = torch.tensor([[-torch.inf, 1.0, -torch.inf]])
    apply_token_mask(logits, torch.tensor([0]), torch.tensor([[0b011]], dtype=torch.int32))
    assert logits.tolist() == [[-torch.inf, 1.0, -torch.inf]]


def test_the_words_of_a_wider_mask_may_be_a_view() -> None:
    words, bits = random_mask(4, 64, seed=1)
    logits = torch.zeros(2, 64)
    apply_token_mask(logits, torch.tensor([0, 1]), words[::2])
    assert torch.equal(torch.isfinite(logits), torch.from_numpy(bits[::2]))


@pytest.mark.parametrize("num_tokens", [1, 31, 32, 100])
def test_unpacking_as_devices_do_it_equals_numpy(num_tokens: int) -> None:
    words, bits = random_mask(3, num_tokens, seed=2)
    assert torch.equal(_unpacked(words, num_tokens), torch.from_numpy(bits))
