"""Text of growing sequences: whole characters, transformers' own decoding, stops across token borders."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramify.backend.api import Finish
from ramify.backend.engine.detokenizer import Detokenizer
from ramify.backend.engine.stop_text import PATTERN_REACH, check_stop_patterns
from ramify.backend.engine.text_decoder import TextDecoder
from ramify.backend.engine.tokenizer import Tokenizer
from ramify.backend.engine.vocabulary import Vocabulary
from ramify.lang.errors import ParameterError, RequestError
from ramify.lang.sampling import Sampling

NAMES = ["byte-level", "sentence-piece", "metaspace"]
LETTERS = Vocabulary(tuple(bytes([byte]) for byte in range(256)))  # one byte a token


@pytest.fixture(scope="module")
def vocabularies(tokenizers: dict[str, Any]) -> dict[str, Vocabulary]:
    return {name: Tokenizer(hf, vocab_size=len(hf), eos_ids=[1]).vocabulary for name, hf in tokenizers.items()}


def stream(vocabulary: Vocabulary, ids: list[int], *, at_start: bool = True) -> list[str]:
    decoder = TextDecoder(vocabulary, at_start=at_start)
    return [*(decoder.push(i) for i in ids), decoder.flush()]


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_the_whole_text_is_the_tokenizer_s(
    tokenizers: dict[str, Any], vocabularies: dict[str, Vocabulary], name: str, data: st.DataObject
) -> None:
    hf, vocabulary = tokenizers[name], vocabularies[name]
    ids = data.draw(st.lists(st.integers(0, vocabulary.size - 1), max_size=40))
    assert "".join(stream(vocabulary, ids)) == hf.decode(ids, skip_special_tokens=True)
    anchor = hf.encode("h", add_special_tokens=False)
    after = hf.decode(anchor + ids, skip_special_tokens=True)
    if not set(ids[:1]) & vocabulary.byte_fallback_ids or name == "byte-level":
        assert "h" + "".join(stream(vocabulary, ids, at_start=False)) == after


@pytest.mark.parametrize("name", NAMES)
@given(text=st.text(max_size=30))
def test_unicode_comes_out_whole(
    tokenizers: dict[str, Any], vocabularies: dict[str, Vocabulary], name: str, text: str
) -> None:
    hf = tokenizers[name]
    ids = hf.encode(text, add_special_tokens=False)
    parts = stream(vocabularies[name], ids)
    assert "".join(parts) == hf.decode(ids, skip_special_tokens=True)
    if "\N{REPLACEMENT CHARACTER}" not in text:
        assert not any("\N{REPLACEMENT CHARACTER}" in part for part in parts)


def test_the_metaspace_decoder_strips_the_first_token(sentence_piece: Callable[..., Any]) -> None:
    from tokenizers import decoders

    hf = sentence_piece(scheme="always")
    hf.backend_tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    vocabulary = Tokenizer(hf, vocab_size=len(hf), eos_ids=[2]).vocabulary
    for text in ("the hen", "  the", " "):
        ids = hf.encode(text, add_special_tokens=False)
        assert "".join(stream(vocabulary, ids)) == hf.decode(ids)


def run(text: str, sampling: Sampling, cuts: list[int] | None = None) -> tuple[str, list[str], Finish]:
    """Feed `text` cut into tokens of the given lengths; return the kept text, what was sent each time, the finish."""
    pieces, rest = [], text
    for cut in cuts or [1] * len(text):
        pieces.append(rest[:cut])
        rest = rest[cut:]
    pieces = [piece for piece in [*pieces, rest] if piece]
    vocabulary = Vocabulary(tuple(piece.encode() for piece in pieces))
    out = Detokenizer(vocabulary, sampling, at_start=True)
    sent: list[str] = []
    for token_id in range(len(pieces)):
        finish = out.push(token_id)
        sent.append(out.take())
        if finish:
            break
    else:
        finish = out.end(Finish("length"))
        sent.append(out.take())
    kept = "".join(sent)
    assert "".join(pieces[: finish.num_kept]) + finish.tail == kept
    return kept, sent, finish


def first_stop(text: str, stops: tuple[str, ...], min_tokens: int = 0) -> tuple[int, str] | None:
    """Reference for one-character tokens: the stop that ends first, then the one that begins first."""
    for end in range(max(1, min_tokens), len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            stop = max(found, key=len)
            return end - len(stop), stop
    return None


@given(
    text=st.text("ab", max_size=30),
    stops=st.lists(st.text("ab", min_size=1, max_size=5), min_size=1, max_size=3, unique=True).map(tuple),
    cuts=st.lists(st.integers(1, 6), max_size=20),
)
def test_stop_strings_are_found_across_token_borders(text: str, stops: tuple[str, ...], cuts: list[int]) -> None:
    kept, _, finish = run(text, Sampling(stop=stops), cuts)
    expected = first_stop(text, stops)
    if expected is None:
        assert kept == text and finish.reason == "length"
    else:
        assert (kept, finish.matched) == (text[: expected[0]], expected[1])


@given(text=st.text("ab", max_size=30), stop=st.text("ab", min_size=1, max_size=4), min_tokens=st.integers(0, 30))
def test_stops_wait_for_min_tokens(text: str, stop: str, min_tokens: int) -> None:
    kept, _, finish = run(text, Sampling(stop=(stop,), min_tokens=min_tokens))
    expected = first_stop(text, (stop,), min_tokens)
    assert kept == (text if expected is None else text[: expected[0]])
    assert finish.reason == ("length" if expected is None else "stop")


@given(text=st.text("ab1.", max_size=40), cuts=st.lists(st.integers(1, 6), max_size=20))
@pytest.mark.parametrize("pattern", [r"a\.", r"\d\db", r"(a|b)1", r"a(?=1)", r"\.b?a"])
def test_stop_patterns(pattern: str, text: str, cuts: list[int]) -> None:
    kept, _, finish = run(text, Sampling(stop_regex=(pattern,)), cuts)
    found = re.search(pattern, text)
    assert kept == (text[: found.start()] if found else text)
    assert finish.matched == (pattern if found else None)


def test_held_text_is_sent_once_it_is_safe() -> None:
    _, sent, _ = run("abEabEND!", Sampling(stop=("END",)))
    assert sent == ["a", "b", "", "Ea", "b", "", "", ""]
    _, sent, _ = run("xENx", Sampling(stop=("END",)))
    assert sent == ["x", "", "", "ENx", ""]


def test_a_string_that_cuts_a_token_leaves_a_tail() -> None:
    kept, _, finish = run("one two three", Sampling(stop=("o th",)), [3, 5, 5])
    assert kept == "one tw"
    assert (finish.num_kept, finish.tail) == (1, " tw")


def test_num_kept_never_cuts_a_character() -> None:
    data = "é!".encode()
    out = Detokenizer(LETTERS, Sampling(stop=("!",)), at_start=True)
    assert out.push(data[0]) is None and out.take() == ""
    assert out.push(data[1]) is None and out.take() == "é"
    assert out.push(data[2]) == Finish("stop", "!", 2, "")
    cut = Vocabulary((b"a\xc3", b"\xa9b"))
    out = Detokenizer(cut, Sampling(stop=("b",)), at_start=True)
    assert out.push(0) is None
    assert out.push(1) == Finish("stop", "b", 0, "aé")


def test_a_pattern_s_match_begins_within_its_reach() -> None:
    text = "a" + "x" * (PATTERN_REACH + 50) + "z"
    kept, sent, finish = run(text, Sampling(stop_regex=("ax*z",)))
    assert kept == text and finish.reason == "length"
    assert max(map(len, sent)) <= PATTERN_REACH + 1


def test_a_long_output_keeps_a_bounded_window() -> None:
    out = Detokenizer(LETTERS, Sampling(stop=("END",)), at_start=True)
    for _ in range(20_000):
        assert out.push(ord("x")) is None
        out.take()
    assert out._scanner is not None and len(out._scanner._window) < 1000
    for character in "EN":
        assert out.push(ord(character)) is None
    assert out.push(ord("D")) == Finish("stop", "END", 20_000, "")


def test_a_stop_in_the_flushed_text_wins() -> None:
    vocabulary = Vocabulary((b"E", b"N"), byte_fallback_ids=frozenset({0, 1}))
    out = Detokenizer(vocabulary, Sampling(stop=("EN",)), at_start=True)
    assert out.push(0) is None and out.push(1) is None
    assert out.end(Finish("length")) == Finish("stop", "EN", 0, "")


@pytest.mark.parametrize("pattern", ["a*", "$", "(b|)"])
def test_a_pattern_that_matches_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(ParameterError, match="empty text"):
        check_stop_patterns([pattern])


def test_a_pattern_without_end_fails_its_request() -> None:
    out = Detokenizer(LETTERS, Sampling(stop_regex=(r"(?:x|xx)+y",)), at_start=True)
    with pytest.raises(RequestError, match="simplify"):
        for character in "x" * 40 + "-":
            out.push(ord(character))


@settings(max_examples=30)
@given(st.integers(0, 2**32))
def test_split_characters_and_stops_together(seed: int) -> None:
    rng = random.Random(seed)
    text = "".join(rng.choice("aé東😀b") for _ in range(30))
    stop = text[10:13]
    data = text.encode()
    out = Detokenizer(LETTERS, Sampling(stop=(stop,)), at_start=True)
    sent, finish = "", None
    for byte in data:
        finish = out.push(byte)
        sent += out.take()
        assert text.startswith(sent)
        if finish:
            break
    assert finish is not None and sent == text[: text.index(stop)]
    assert data[: finish.num_kept].decode() + finish.tail == sent
    assert finish.matched == stop
