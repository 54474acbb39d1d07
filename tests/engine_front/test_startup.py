"""Starting without transformers: what the files say is what transformers would say."""

import json
import subprocess
import sys

import pytest
import torch
from transformers import AutoConfig, AutoTokenizer, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

from ramify.backend.api import Markup, Text
from ramify.backend.engine.models.embedded import MODEL_DIR
from ramify.backend.engine.models.llama import DecoderConfig
from ramify.backend.engine.models.plain_config import plain_config
from ramify.backend.engine.tokenizer import Tokenizer
from ramify.backend.engine.tokenizer_files import FileTokenizer, open_tokenizer

SIZES = dict(
    vocab_size=64,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    dtype="float32",
)


def test_an_engine_of_the_embedded_model_does_not_import_transformers():
    code = "import sys, ramify; ramify.Engine().close(); print('transformers' in sys.modules, 'sympy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(**SIZES),
        LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True, tie_word_embeddings=True),
        MistralConfig(**SIZES, head_dim=8, sliding_window=16),
        Qwen2Config(**SIZES, head_dim=8),
        Qwen2Config(**SIZES, head_dim=8, use_sliding_window=True, sliding_window=16, max_window_layers=1),
        Qwen3Config(**SIZES, head_dim=16),
    ],
    ids=["llama", "llama-biased", "mistral", "qwen2", "qwen2-windows", "qwen3"],
)
def test_a_complete_config_reads_the_same_without_transformers(config, tmp_path):
    config.save_pretrained(tmp_path)
    raw = json.loads((tmp_path / "config.json").read_text())
    plain = plain_config(raw)
    assert plain is not None
    assert DecoderConfig.of(plain) == DecoderConfig.of(AutoConfig.from_pretrained(tmp_path))
    assert plain.dtype == torch.float32


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "gpt2"},
        {"dtype": None},
        {"hidden_size": "32"},
        {"hidden_size": -32},
        {"rope_parameters": None},
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}},
        {"rms_norm_eps": None},
        {"tie_word_embeddings": 1},
        {"hidden_act": "gelu"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_config_that_leaves_anything_open_is_left_to_transformers(change):
    raw = json.loads((MODEL_DIR / "config.json").read_text())
    assert plain_config(raw) is not None
    assert plain_config({**raw, **change}) is None
    assert plain_config({name: value for name, value in raw.items() if name not in change}) is None


def test_the_tokenizer_of_the_files_is_the_one_of_transformers():
    files = open_tokenizer(MODEL_DIR)
    hf = AutoTokenizer.from_pretrained(MODEL_DIR)
    assert isinstance(files, FileTokenizer)
    assert (files.bos_token_id, files.eos_token_id) == (hf.bos_token_id, hf.eos_token_id)
    assert files.special_tokens_map == hf.special_tokens_map
    ours, theirs = (Tokenizer(source, vocab_size=len(hf), eos_ids=[hf.eos_token_id]) for source in (files, hf))
    assert ours.vocabulary.token_bytes == theirs.vocabulary.token_bytes
    assert ours.vocabulary.special_ids == theirs.vocabulary.special_ids
    assert (ours.bos_ids, ours.start_ids, ours.chat_template) == (
        theirs.bos_ids,
        theirs.start_ids,
        theirs.chat_template,
    )
    messages = [{"role": "user", "content": "Where is Oslo?"}, {"role": "assistant", "content": "In Norway."}]
    assert ours.render_chat(messages) == hf.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    prompt = (Markup("<|user|>\n"), Text("Zoë's 12 <|end|> cats 🐈\n\n"), Markup("<|end|>"))
    assert ours.encode_prompt(prompt) == theirs.encode_prompt(prompt)


@pytest.mark.parametrize(
    "change", [{"tokenizer_class": "LlamaTokenizer"}, {"bos_token": {"__type": "AddedToken", "content": "<|begin|>"}}]
)
def test_a_tokenizer_with_more_to_it_is_left_to_transformers(change, tmp_path):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_text((MODEL_DIR / name).read_text())
    assert isinstance(open_tokenizer(tmp_path), FileTokenizer)
    config = json.loads((MODEL_DIR / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**config, **change}))
    assert not isinstance(open_tokenizer(tmp_path), FileTokenizer)
