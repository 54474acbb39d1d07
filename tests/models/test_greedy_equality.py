"""Greedy tokens equal transformers' own `generate`, whatever the chunks, pages and shared prefixes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ramify.backend.engine.models.llama import LlamaModel
from ramify.backend.engine.models.loader import load_model
from ramify.backend.engine.models.transformers_model import TransformersModel

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
YARN_ROPE = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64}

NATIVE: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama-tied-biased": ("llama", {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}),
    "llama-multihead": ("llama", {"num_key_value_heads": 4}),
    "llama-one-kv-head": ("llama", {"num_key_value_heads": 1}),
    "llama-llama3-rope": ("llama", {"rope_parameters": LLAMA3_ROPE}),
    "llama-linear-rope": ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}}),
    "llama-dynamic-rope": ("llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}),
    "llama-yarn-rope": ("llama", {"rope_parameters": YARN_ROPE}),
    "qwen2": ("qwen2", {}),
    "qwen2-window": ("qwen2", {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1}),
    "qwen3": ("qwen3", {"head_dim": 32}),
    "mistral": ("mistral", {"sliding_window": None, "head_dim": 16}),
    "mistral-window": ("mistral", {"sliding_window": 11}),
}
FOREIGN: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {"head_dim": 32}),
    "mistral-window": ("mistral", {"sliding_window": 11}),
    "gpt2": ("gpt2", {"n_embd": 48, "n_head": 4, "n_layer": 2, "n_positions": 256}),
    "gpt_neox": ("gpt_neox", {}),
    "phi3": ("phi3", {}),
    "olmo2": ("olmo2", {}),
    "gemma2": ("gemma2", {"head_dim": 16, "sliding_window": 12}),
    "gemma3_text": ("gemma3_text", {"head_dim": 16, "sliding_window": 12}),
    "mixtral": ("mixtral", {"num_local_experts": 4}),
}
NUM_TOKENS = 12


@pytest.mark.parametrize("name", NATIVE)
def test_native_family(lab: Any, name: str) -> None:
    kind, changes = NATIVE[name]
    folder = lab.folder(kind, **changes)
    model = load_model(folder, dtype="float32", device="cpu").model
    assert isinstance(model, LlamaModel)
    check_against_generate(lab, folder, model)


@pytest.mark.parametrize("name", FOREIGN)
def test_through_transformers(lab: Any, name: str) -> None:
    kind, changes = FOREIGN[name]
    folder = lab.folder(kind, **changes)
    model = load_model(folder, dtype="float32", device="cpu", implementation="transformers").model
    assert isinstance(model, TransformersModel)
    check_against_generate(lab, folder, model)


@pytest.mark.parametrize("implementation", ["native", "transformers"])
def test_embedded_model(lab: Any, implementation: Any) -> None:
    loaded = load_model(dtype="float32", device="cpu", implementation=implementation)
    check_against_generate(lab, loaded.folder, loaded.model)


def check_against_generate(lab: Any, folder: Any, model: Any) -> None:
    prompts = lab.prompts()
    expected = lab.greedy(folder, prompts, NUM_TOKENS)
    assert len({tuple(tokens) for tokens in expected}) > 1, "the model says the same to every prompt: a weak test"
    for chunk, page_size in ((10_000, 1), (7, 1), (16, 4)):
        driver = lab.driver(model, page_size=page_size)
        rows = [driver.add(prompt) for prompt in prompts]
        assert driver.generate(rows, NUM_TOKENS, chunk=chunk) == expected, f"chunk {chunk}, pages of {page_size}"


@pytest.mark.parametrize("implementation", ["native", "transformers"])
@pytest.mark.parametrize("page_size", [1, 4])
def test_rows_of_one_forward_share_slots(lab: Any, implementation: Any, page_size: int) -> None:
    """A row may read keys that an earlier row of the same forward writes."""
    folder = lab.folder("llama")
    prompts = lab.prompts()[1:4]
    expected = lab.greedy(folder, prompts, NUM_TOKENS)
    driver = lab.driver(load_model(folder, implementation=implementation).model, page_size=page_size)
    first = driver.add(prompts[0])
    rows = [first, *(driver.add(prompt, shares=first) for prompt in prompts[1:])]
    assert [row.computed for row in rows] == [0, 20, 33 - 33 % page_size]
    assert driver.generate(rows, NUM_TOKENS) == expected


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_logits(lab: Any, kind: str) -> None:
    """Rows with input logprobs get the logits of all positions from the one before `logprob_start_len`."""
    folder = lab.folder(kind)
    tokens = lab.prompts()[5]
    expected = lab.logits(folder, tokens)
    driver = lab.driver(load_model(folder).model)
    scored = driver.add(tokens, logprob_start_len=31)
    plain = driver.add(tokens)
    first = driver.forward([(plain, 20), (scored, 20)])
    assert first.offsets.tolist() == [0, 0, 0] and first.values.shape == (0, len(expected[0]))
    second = driver.forward([(scored, 30), (plain, 50)])
    assert second.offsets.tolist() == [0, 20, 21]
    third = driver.forward([(scored, 20)])
    assert third.offsets.tolist() == [0, 20]
    torch.testing.assert_close(second.values[:20], expected[30:50], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(second.values[20], expected[-1], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(third.values, expected[50:], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("implementation", ["native", "transformers"])
def test_bfloat16_is_close(lab: Any, implementation: Any) -> None:
    folder = lab.folder("llama", initializer_range=0.02)
    tokens = lab.prompts()[5]
    expected = lab.logits(folder, tokens)
    driver = lab.driver(load_model(folder, dtype="bfloat16", implementation=implementation).model)
    row = driver.add(tokens, logprob_start_len=1)
    values = torch.cat([driver.forward([(row, count)]).values for count in (40, 30)])
    assert values.dtype == torch.float32
    assert (values - expected).abs().max() < 0.05 * expected.abs().max()
