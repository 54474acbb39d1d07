"""A small vocabulary with every kind of awkward token, and the compilers of both plugins over it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ramify.backend import registry
from ramify.backend.engine.grammar.api import GrammarCompiler, Matcher
from ramify.backend.engine.grammar.conformance import awkward_vocabulary, legal_tokens, walk
from ramify.backend.engine.vocabulary import Vocabulary, build_vocabulary

PLUGINS = ("llguidance", "outlines")


@dataclass(frozen=True)
class Tools:
    """What the tests do with matchers over one vocabulary."""

    vocabulary: Vocabulary

    def legal_tokens(self, matcher: Matcher) -> set[int]:
        """The tokens that the mask allows; none at a dead end."""
        return legal_tokens(matcher, self.vocabulary)

    def walk(self, matcher: Matcher, text: bytes, rng: random.Random) -> bool:
        """Feed `text` in a random tokenisation, token by token under the masks; True if it may end there."""
        return walk(matcher, self.vocabulary, text, rng)

    def generate(self, matcher: Matcher, rng: random.Random, max_tokens: int = 200) -> str | None:
        """Draw tokens uniformly under the masks until the output ends; None when `max_tokens` do not suffice."""
        text = b""
        for _ in range(max_tokens):
            token = rng.choice(sorted(self.legal_tokens(matcher)))
            assert matcher.accept(token)
            text += b"" if token in self.vocabulary.eos_ids else self.vocabulary.token_bytes[token]
            if matcher.is_terminated:
                return text.decode("utf-8")
        return None


@pytest.fixture(scope="session")
def tools() -> Tools:
    return Tools(awkward_vocabulary())


@pytest.fixture(scope="session")
def tools_of() -> Callable[[bytes], Tools]:
    """Tools over a vocabulary with only some single bytes."""
    return lambda single_bytes: Tools(awkward_vocabulary(single_bytes))


@pytest.fixture(scope="session")
def bpe_tools() -> Tools:
    """Tools over a byte-level BPE of 700 tokens learnt here, which brings its tokeniser: runs can be forced."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    rust = Tokenizer(models.BPE())
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.decoder = decoders.ByteLevel()
    rng = random.Random(0)
    words = "name age city country_code Zoë 漢字 yes no never in my life true false null the end of line ID".split()
    lines = []
    for number in range(500):
        first, second, third, fourth = rng.choices(words, k=4)
        lines.append(
            f'{{"{first}": "{second} {third}", "{fourth}": {number}, "age": [{number}, null]}}, yes, {first}.\n'
        )
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rust.train_from_iterator(lines, trainer)
    vocabulary = build_vocabulary(json.loads(rust.to_str()), rust.get_vocab().items(), size=705, eos_ids=[1])
    return Tools(replace(vocabulary, tokenize=lambda text: rust.encode(text, add_special_tokens=False).ids))


@pytest.fixture(scope="session")
def bpe_compilers(bpe_tools: Tools) -> Iterator[dict[str, GrammarCompiler]]:
    made = {name: registry.load("grammars", name)(bpe_tools.vocabulary) for name in PLUGINS}
    yield made
    for compiler in made.values():
        compiler.close()


@pytest.fixture(scope="session")
def compilers(tools: Tools) -> Iterator[dict[str, GrammarCompiler]]:
    made = {name: registry.load("grammars", name)(tools.vocabulary) for name in PLUGINS}
    yield made
    for compiler in made.values():
        compiler.close()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Llama with a byte-level vocabulary of 420 tokens learnt from JSON and words."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    rust = Tokenizer(models.BPE())
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.decoder = decoders.ByteLevel()
    corpus = [
        '{"name": "Zoë", "age": 42, "tags": ["red", "dark green"], "ok": true}\n2024-05-17 low normal high 漢字 '
    ] * 20
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<s>", "</s>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rust.train_from_iterator(corpus, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=rust, bos_token="<s>", eos_token="</s>")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer) + 13,  # logits may be wider than the vocabulary
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.2,
        bos_token_id=0,
        eos_token_id=1,
        tie_word_embeddings=False,
    )
    folder = tmp_path_factory.mktemp("tiny-llama")
    LlamaForCausalLM(config).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "generation_config.json").write_text('{"eos_token_id": [1, 2]}', encoding="utf-8")
    return folder
