"""Sampling as it is done for logits on a device, on the CPU against the CPU's own way; then an engine on CUDA."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import ramify
from ramify.backend.engine.columns import all_columns, legal_columns
from ramify.backend.engine.device_sampling import mask_rows, sample_rows
from ramify.backend.engine.draw import draw
from ramify.backend.engine.logprobs import device_logprobs, token_logprobs
from ramify.backend.engine.masks import Masks
from ramify.backend.engine.vocabulary import Vocabulary

SIZE = 90
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def logits(rows: int, seed: int) -> torch.Tensor:
    return 2 * torch.randn(rows, SIZE, generator=torch.Generator().manual_seed(seed))


def test_tokens_and_peaks() -> None:
    rng = np.random.default_rng(0)
    values, rows = logits(50, 1), rng.permutation(50)[:40]
    temperatures = np.where(np.arange(40) % 4 == 0, 0.0, rng.uniform(0.5, 2, 40))
    uniforms, top_k = rng.random(40), rng.choice([0, 1, 5, 1000], 40)
    top_p, min_p = rng.choice([1.0, 0.8], 40), rng.choice([0.0, 0.1], 40).astype(np.float32)
    tokens, peaks = sample_rows(values, rows, (temperatures, uniforms, top_k, top_p, min_p))
    chosen = values[torch.from_numpy(rows)]
    assert np.array_equal(peaks, chosen.amax(1).numpy())
    greedy = temperatures == 0
    assert np.array_equal(tokens[greedy], chosen.argmax(1).numpy()[greedy])
    weights = (
        (chosen - chosen.amax(1, keepdim=True)) / torch.from_numpy(np.where(greedy, 1, temperatures))[:, None]
    ).exp()
    drawn = draw(weights.float(), uniforms, top_k=top_k, top_p=top_p, min_p=min_p).numpy()
    assert np.array_equal(tokens[~greedy], drawn[~greedy]) and len(set(tokens.tolist())) > 10


def test_masks_and_ends() -> None:
    """Equal to the CPU's, where a text may end and the end is legal, barred, the second of two, or the only token."""
    rng = np.random.default_rng(1)
    values, places = logits(8, 2), np.array([6, 0, 3, 5, 1])
    words = rng.integers(-(2**31), 2**31, size=(5, 3), dtype=np.int32)
    words[:, 0] |= 0b1100  # tokens 2 and 3, the ends, are allowed
    words[1] = [0b1000, 0, 0]
    words[2] = -1  # nothing is forbidden
    values[3, 2] = -torch.inf
    values[5, [2, 3]] = -torch.inf
    masks = Masks(words, [None] * 5, [True, True, True, True, False], {})
    mine, theirs = values.clone(), values.clone()
    (part,) = legal_columns(theirs, places, masks, [2, 3])
    mask_rows(mine, places, words, masks.can_stop, [2, 3])
    assert len(part.places) == len(all_columns(values)[0].places)
    torch.testing.assert_close(mine, theirs)
    assert not torch.equal(mine[6, 2], values[6, 2]), "the end was given what is forbidden"
    without = values.clone()
    mask_rows(without, places, words, masks.can_stop, [])
    assert torch.equal(without[6, 2], values[6, 2]) and torch.isinf(without[0]).sum() == SIZE - 1


def test_log_probabilities() -> None:
    vocabulary = Vocabulary(
        token_bytes=tuple(bytes([33 + index]) for index in range(SIZE)), special_ids=frozenset(), eos_ids=frozenset()
    )
    values, rows, ids = logits(6, 3), np.array([4, 0, 5]), np.array([7, 80, 2])
    mine, theirs = (
        compute(values, rows, ids, [0, 3, 200], vocabulary) for compute in (device_logprobs, token_logprobs)
    )
    for ours, other in zip(mine, theirs, strict=True):
        assert (ours.token_id, ours.text) == (other.token_id, other.text)
        assert ours.logprob == pytest.approx(other.logprob, abs=1e-5)
        assert [token for token, _ in ours.top] == [token for token, _ in other.top]
        assert [value for _, value in ours.top] == pytest.approx([value for _, value in other.top], abs=1e-5)


@pytest.mark.gpu
@needs_cuda
def test_an_engine_on_cuda_answers_as_on_the_cpu() -> None:
    """The embedded model in float32: greedy, seeded, constrained, with logprobs, in one batch and forked."""
    prompts = ["The capital of France is", "Once upon a time", "2 + 2 ="]
    requests: list[dict[str, Any]] = [
        dict(max_tokens=16, temperature=0),
        dict(max_tokens=16, temperature=0.8, top_p=0.9, top_k=40, seed=7),
        dict(max_tokens=16, temperature=0, regex="[a-z]{3,8}( [0-9]+)?"),
        dict(
            max_tokens=40,
            temperature=0.7,
            seed=3,
            json_schema={"type": "object", "properties": {"a": {"type": "integer"}}},
        ),
        dict(max_tokens=8, temperature=0, logprobs=3),
        dict(max_tokens=8, temperature=0.9, seed=1, n=5, frequency_penalty=0.5, min_p=0.05),
    ]
    answers = []
    for device in ("cpu", "cuda"):
        with ramify.Engine(dtype="float32", device=device) as engine:
            answers.append([engine.generate(prompts, **request) for request in requests])
    same = total = 0
    for ours, theirs in zip(*answers, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            for mine, its in zip(*(x if isinstance(x, list) else [x] for x in (one, other)), strict=True):
                same += mine.text == its.text
                total += 1
    assert same >= 0.9 * total, f"{same} of {total} answers are the same"
