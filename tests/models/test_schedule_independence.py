"""On the CPU the logits of a position are the same bits, whatever else is in the batch and however it was cut."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from ramify.backend.engine.models.loader import load_model
from ramify.kernels import native


@pytest.fixture(params=["0", ""])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Plain torch, then the best C kernels of this machine."""
    monkeypatch.setenv(native.SWITCH, request.param)
    native.library.cache_clear()
    yield request.param
    native.library.cache_clear()


@pytest.fixture
def compiled() -> None:
    if native.library() is None:
        pytest.skip("the C kernels were not built here; plain torch promises equal tokens, not equal bits")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_same_bits(compiled: None, lab: Any, kind: str, dtype: Any) -> None:
    model = load_model(lab.folder(kind), dtype=dtype).model
    tokens = lab.prompts()[5]
    driver = lab.driver(model)
    row = driver.add(tokens, logprob_start_len=1)
    whole = driver.forward([(row, len(tokens))]).values
    for cuts in ([1] * 70, [33, 1, 36], [64, 6], [5, 65]):
        for page_size in (1, 8):
            driver = lab.driver(model, page_size=page_size)
            row = driver.add(tokens, logprob_start_len=1)
            others = [driver.add(prompt) for prompt in lab.prompts()[1:5]]
            parts = []
            for cut in cuts:
                plan = [(other, 1) for other in others if other.computed < other.prompt_len]
                logits = driver.forward([*plan[:2], (row, cut), *plan[2:]])
                place = len(plan[:2])
                parts.append(logits.values[logits.offsets[place] : logits.offsets[place + 1]])
            assert torch.equal(torch.cat(parts), whole), f"cuts {cuts}, pages of {page_size}"


@pytest.mark.parametrize("kind", ["llama", "mistral"])
def test_kernels_and_torch_agree(kernels: str, lab: Any, kind: str) -> None:
    changes = {"sliding_window": 11} if kind == "mistral" else {}
    folder = lab.folder(kind, **changes)
    prompts = lab.prompts()
    expected = lab.greedy(folder, prompts, 10)
    for chunk in (10_000, 9):
        driver = lab.driver(load_model(folder).model)
        assert driver.generate([driver.add(prompt) for prompt in prompts], 10, chunk=chunk) == expected
