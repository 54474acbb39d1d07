"""Prompts to tokens: piece borders, data against markup, spaces, the cache; and the bytes of tokens."""

from __future__ import annotations

import json
import random
import shutil
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify.backend.api import Markup, Piece, Text, Tokens
from ramify.backend.engine.text_cache import TextCache
from ramify.backend.engine.tokenizer import Tokenizer, load_tokenizer, read_eos_ids
from ramify.lang.errors import ModelError

Make = Callable[..., Any]
NAMES = ["byte-level", "sentence-piece", "metaspace"]


def wrap(hf: Any) -> Tokenizer:
    return Tokenizer(hf, vocab_size=len(hf), eos_ids=[hf.eos_token_id])


@pytest.fixture(scope="module")
def plain(byte_level: Make) -> Tokenizer:
    return wrap(byte_level())


@pytest.fixture(scope="module")
def with_bos(byte_level: Make) -> Tokenizer:
    return wrap(byte_level(bos=True))


@given(st.lists(st.text(max_size=12), min_size=1, max_size=6))
def test_piece_borders_do_not_show(plain: Tokenizer, texts: list[str]) -> None:
    """However a text is cut into pieces, its tokens are those of the whole."""
    kinds = [Text, Markup]
    pieces = tuple(kinds[i % 2](text) for i, text in enumerate(texts))
    whole = plain.hf.encode("".join(texts), add_special_tokens=False)
    assert plain.encode_prompt(pieces) == whole


@pytest.mark.parametrize("spelled", ["<s>", "</s>", "<|end|>", "x<|user|>y"])
def test_data_never_becomes_a_special_token(plain: Tokenizer, spelled: str) -> None:
    ids = plain.encode_prompt((Text(spelled),))
    assert not set(ids) & plain.vocabulary.special_ids
    assert plain.decode(ids) == spelled


def test_a_special_token_spelled_over_a_piece_border_stays_data(plain: Tokenizer) -> None:
    ids = plain.encode_prompt((Markup("<|e"), Text("nd|>"), Markup("<|end|>")))
    assert [i for i in ids if i in plain.vocabulary.special_ids] == [plain.hf.convert_tokens_to_ids("<|end|>")]


def test_a_chat_equals_apply_chat_template(plain: Tokenizer, with_bos: Tokenizer) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How many roads?"}]
    for hf, tokenizer in ((plain.hf, plain), (with_bos.hf, with_bos)):
        expected = hf.apply_chat_template(messages, tokenize=True, add_generation_prompt=True)["input_ids"]
        pieces: list[Piece] = [Markup("<s>")]
        for message in messages:
            pieces += [Markup(f"<|{message['role']}|>\n"), Text(message["content"]), Markup("<|end|>\n")]
        pieces.append(Markup("<|assistant|>\n"))
        assert tokenizer.encode_prompt(tuple(pieces)) == expected
        assert tokenizer.encode_prompt((Markup(tokenizer.render_chat(messages)),)) == expected


def test_beginning_of_sequence(with_bos: Tokenizer) -> None:
    assert with_bos.encode_prompt((Text("the fox"),)) == with_bos.hf.encode("the fox")
    assert with_bos.encode_prompt((Text("the fox"),))[0] == 0
    assert with_bos.encode_prompt((Markup("<s>the"), Text(" fox"))) == with_bos.hf.encode("the fox")
    assert with_bos.encode_prompt((Tokens((7, 8), "ab"), Text("the")))[:2] == [7, 8]
    assert with_bos.encode_prompt(()) == []


def test_tokens_are_used_as_they_are(plain: Tokenizer) -> None:
    ids = plain.encode_prompt((Text("the"), Tokens((9, 9, 9), "???"), Text(" fox")))
    the, fox = (plain.hf.encode(text, add_special_tokens=False) for text in ("the", " fox"))
    assert ids == [*the, 9, 9, 9, *fox]


@pytest.mark.parametrize("name", [None, "first", "always"])
def test_sentence_piece_spaces_are_those_of_transformers(sentence_piece: Make, name: str | None) -> None:
    hf = sentence_piece(scheme=name)
    tokenizer = wrap(hf)
    assert tokenizer.encode_prompt((Text("the hen"),)) == hf.encode("the hen")
    marked = "<s>the hen</s>the</s> hen"
    assert tokenizer.encode_prompt((Markup(marked),)) == hf.encode(marked, add_special_tokens=False)


@pytest.mark.parametrize("name", [None, "first", "always"])
def test_text_after_tokens_gets_no_space_of_its_own(sentence_piece: Make, name: str | None) -> None:
    tokenizer = wrap(sentence_piece(scheme=name))
    start = tuple(tokenizer.encode_prompt((Text("the"),)))
    for text in ("re", " hen"):
        ids = tokenizer.encode_prompt((Tokens(start, "the"), Text(text)))
        assert tokenizer.decode(ids) == "the" + text


def test_cut_text_has_the_tokens_of_the_whole(plain: Tokenizer) -> None:
    rng = random.Random(0)
    words = ["the", "fox", "don't", "42", "naïve", "...", "\n\n", "  ", "\t", "東京", "A", "x1", "—", "$5", "\r\n", " "]
    for _ in range(30):
        text = "".join(rng.choice(words) + rng.choice([" ", "", "  ", "\n"]) for _ in range(400))
        assert plain.encode_text(text) == plain.hf.encode(text, add_special_tokens=False)


def test_a_shared_prefix_is_encoded_once(byte_level: Make) -> None:
    tokenizer = wrap(byte_level())
    encoded: list[str] = []
    rust = tokenizer._rust["start"]

    class Counting:
        def encode(self, text: str, **options: Any) -> Any:
            encoded.append(text)
            return rust.encode(text, **options)

    tokenizer._rust = dict.fromkeys(tokenizer._rust, Counting())  # type: ignore[arg-type]
    prefix = "how many roads must a man walk down " * 100
    tokenizer.encode_prompt((Text(prefix), Text("first question")))
    encoded.clear()
    tokenizer.encode_prompt((Text(prefix), Text("second question")))
    assert sum(map(len, encoded)) < 500


def test_text_cache_is_bounded_and_evicts_the_least_recent() -> None:
    cache = TextCache(10)
    cache.put(("start", "aaaaa"), (1,))
    cache.put(("start", "bbbbb"), (2,))
    assert cache.get(("start", "aaaaa")) == (1,)
    cache.put(("start", "ccccc"), (3,))
    assert cache.get(("start", "bbbbb")) is None
    assert cache.get(("start", "aaaaa")) == (1,)
    cache.put(("start", "d" * 11), (4,))
    assert cache.get(("start", "d" * 11)) is None


@pytest.mark.parametrize("name", NAMES)
def test_vocabulary_bytes_spell_what_tokens_decode_to(tokenizers: dict[str, Any], name: str) -> None:
    hf = tokenizers[name]
    vocabulary = wrap(hf).vocabulary
    for text in (string.printable, "naïve Straße 東京 😀 the hen"):
        ids = hf.encode(text, add_special_tokens=False)
        data = b"".join(vocabulary.token_bytes[i] for i in ids).decode()
        assert data.removeprefix(" ") == hf.decode(ids, skip_special_tokens=True).removeprefix(" ")


def test_vocabulary_is_as_wide_as_the_logits(plain: Tokenizer) -> None:
    padded = Tokenizer(plain.hf, vocab_size=512, eos_ids=[1]).vocabulary
    assert padded.size == 512
    assert padded.token_bytes[511] == b""
    assert Tokenizer(plain.hf, vocab_size=300, eos_ids=[1]).vocabulary.size == 300


def test_a_tokenizer_without_byte_meaning_is_refused() -> None:
    from tokenizers import Tokenizer as Rust
    from tokenizers import decoders, models
    from transformers import PreTrainedTokenizerFast

    rust = Rust(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    rust.decoder = decoders.WordPiece()
    with pytest.raises(ModelError, match="WordPiece"):
        Tokenizer(PreTrainedTokenizerFast(tokenizer_object=rust), vocab_size=2, eos_ids=[])


def test_end_of_sequence_ids(model_folder: Any, with_bos: Tokenizer, tmp_path: Any) -> None:
    assert read_eos_ids(model_folder, with_bos.hf) == {1, 2}
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": 7}))
    assert read_eos_ids(tmp_path, with_bos.hf) == {1, 7}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tokenizer.json", None),
        ("tokenizer.json", "{"),
        ("tokenizer.json", '{"version": "1.0", "added_tokens": [], "model": {"type": "Nope"}}'),
        ("generation_config.json", "[1"),
        ("generation_config.json", "[1]"),
    ],
)
def test_a_damaged_folder_is_refused(model_folder: Path, tmp_path: Path, name: str, text: str | None) -> None:
    shutil.copytree(model_folder, tmp_path, dirs_exist_ok=True)
    if text is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_text(text)
    with pytest.raises(ModelError, match="fetch the checkpoint again"):
        load_tokenizer(tmp_path, vocab_size=390)
