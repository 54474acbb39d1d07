"""The walk over the token trie: C and numpy against trying every token, on awkward vocabularies and automata."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramify.backend.engine.grammar.token_trie import build_token_trie
from ramify.backend.engine.vocabulary import Vocabulary
from ramify.kernels import native, token_trie
from ramify.kernels.token_trie import TokenTrie

CHARACTERS = ("a", "b", "e", '"', "\n", "é", "à", "漢", "字", "ࠀ", "퟿", "", "😀", "𐀀", "\U0010fffd")
# pieces of characters, bytes that no text has, and overlong or surrogate forms
FRAGMENTS = (
    b"\x80",
    b"\xbf",
    b"\xc3",
    b"\xe6",
    b"\xe6\xbc",
    b"\xf0\x9f",
    b"\xff",
    b"\xc0\x80",
    b"\xe0\x80",
    b"\xed\xa0",
)
TOKENS = [character.encode() for character in CHARACTERS] + list(FRAGMENTS)


def implementations() -> list[str]:
    return ["numpy", *(["C"] if native.library() is not None else [])]


def make_trie(vocabulary: Vocabulary, implementation: str, monkeypatch: pytest.MonkeyPatch) -> TokenTrie:
    with monkeypatch.context() as patch:
        if implementation == "numpy":
            patch.setattr(token_trie.native, "library", lambda: None)
        trie = build_token_trie(vocabulary)
    assert type(trie).__name__ == {"numpy": "LevelTrie", "C": "NativeTrie"}[implementation]
    return trie


def every_token(vocabulary: Vocabulary, table: np.ndarray, classes: np.ndarray, state: int) -> set[int]:
    allowed = set()
    for token_id, text in enumerate(vocabulary.token_bytes):
        end = state
        for byte in text:
            end = table[end, classes[byte]]
        if end and text and token_id not in vocabulary.special_ids | vocabulary.eos_ids:
            allowed.add(token_id)
    return allowed


def check(vocabulary: Vocabulary, trie: TokenTrie, table: np.ndarray, classes: np.ndarray) -> None:
    for state in range(1, len(table)):
        mask = trie.mask(table, classes, state)
        assert mask.dtype == np.int32 and mask.shape == (-(-vocabulary.size // 32),)
        bits = np.unpackbits(mask.view(np.uint8), bitorder="little")
        assert set(np.flatnonzero(bits)) == every_token(vocabulary, table, classes, state), state


def text_automaton(
    allowed: set[int], length: int | None, later: set[int] | None = None, turn: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Well-formed UTF-8 of `length` characters, or of any number, whose ASCII characters are in `allowed`.

    From character `turn` on they are in `later`, if given.
    """
    classes = np.arange(256, dtype=np.uint8)
    num_places = 1 if length is None else length + 1
    rows = [np.zeros(256, dtype=np.int32)]

    def new_state() -> int:
        rows.append(np.zeros(256, dtype=np.int32))
        return len(rows) - 1

    places = [new_state() for _ in range(num_places)]
    ranges = {0xE0: (0xA0, 0xBF), 0xED: (0x80, 0x9F), 0xF0: (0x90, 0xBF), 0xF4: (0x80, 0x8F)}
    for position, (here, there) in enumerate(itertools.zip_longest(places, places[1:])):
        target = here if there is None and length is None else there
        if target is None:
            continue
        rows[here][sorted(later if later is not None and position >= turn else allowed)] = target
        tail = {0: target}
        for number in (1, 2):
            tail[number] = new_state()
            rows[tail[number]][0x80:0xC0] = tail[number - 1]
        for lead in range(0xC2, 0xF5):
            number = 1 if lead < 0xE0 else 2 if lead < 0xF0 else 3
            low, high = ranges.get(lead, (0x80, 0xBF))
            first = new_state()
            rows[first][low : high + 1] = tail[number - 1]
            rows[here][lead] = first
    return np.array(rows), classes


@pytest.fixture(scope="module")
def awkward() -> Vocabulary:
    """Single bytes, all pairs and many triples of characters and fragments, twins, empty and special tokens."""
    pairs = [one + two for one, two in itertools.product(TOKENS, repeat=2)]
    triples = [one + two for one in pairs[::7] for two in TOKENS[::2]]
    tokens = [bytes([byte]) for byte in range(256)] + pairs + triples + [b"ab", b"a", b"", b"a" * 40, b"a" * 41, b"<s>"]
    return Vocabulary(tuple(tokens), special_ids=frozenset({len(tokens) - 1, 97}), eos_ids=frozenset({98}))


ASCII = set(range(0x80))


@pytest.mark.parametrize("implementation", implementations())
@pytest.mark.parametrize(
    ("allowed", "length"),
    [
        (ASCII, None),
        (ASCII - {10}, None),
        (ASCII - {ord('"')}, 2),
        (ASCII, 3),
        (ASCII, 60),
        ({ord("e"), ord("a")}, None),
    ],
)
def test_text_of_every_length_equals_trying_every_token(
    implementation: str, allowed: set[int], length: int | None, awkward: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    trie = make_trie(awkward, implementation, monkeypatch)
    table, classes = text_automaton(allowed, length)
    if length and length > 3:  # brute force is slow: the edges and the middle
        keep = [1, 2, 3, 20, length - 1, length, length + 1, *range(length + 2, length + 70)]
    else:
        keep = list(range(1, len(table)))
    for state in keep:
        bits = np.unpackbits(trie.mask(table, classes, state).view(np.uint8), bitorder="little")
        assert set(np.flatnonzero(bits)) == every_token(awkward, table, classes, state), state


@pytest.mark.parametrize("implementation", implementations())
@pytest.mark.parametrize("turn", [1, 2, 4])
@pytest.mark.parametrize(("allowed", "later"), [(ASCII, {ord("a"), ord("e")}), ({ord("a"), ord("e")}, ASCII)])
def test_text_that_grows_narrower_or_wider(
    implementation: str, turn: int, allowed: set[int], later: set[int], awkward: Vocabulary, monkeypatch: Any
) -> None:
    trie = make_trie(awkward, implementation, monkeypatch)
    table, classes = text_automaton(allowed, 6, later, turn)
    for state in range(1, 8):  # the places between characters come first
        bits = np.unpackbits(trie.mask(table, classes, state).view(np.uint8), bitorder="little")
        assert set(np.flatnonzero(bits)) == every_token(awkward, table, classes, state), state


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32), num_states=st.integers(2, 6), num_classes=st.integers(1, 5), dead=st.floats(0, 0.9))
@pytest.mark.parametrize("implementation", implementations())
def test_random_automata_equal_trying_every_token(
    implementation: str, seed: int, num_states: int, num_classes: int, dead: float, awkward: Vocabulary
) -> None:
    rng = np.random.default_rng(seed)
    table = rng.integers(1, num_states, size=(num_states, num_classes), dtype=np.int32)
    table[rng.random(table.shape) < dead] = 0
    table[0] = 0
    classes = rng.integers(0, num_classes, size=256).astype(np.uint8)
    some = Vocabulary(awkward.token_bytes[:: 1 + seed % 3], awkward.special_ids, awkward.eos_ids)
    with pytest.MonkeyPatch.context() as monkeypatch:
        check(some, make_trie(some, implementation, monkeypatch), table, classes)


@pytest.mark.parametrize("implementation", implementations())
@pytest.mark.parametrize("tokens", [(), (b"",), (b"a",), (b"a", b"a", b"a"), (b"", b"a" * 300, b"a" * 299 + b"b")])
def test_small_vocabularies(implementation: str, tokens: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary = Vocabulary(tokens)
    table, classes = text_automaton(ASCII, None)
    check(vocabulary, make_trie(vocabulary, implementation, monkeypatch), table[:2], classes)


def test_memory_is_counted(awkward: Vocabulary, monkeypatch: pytest.MonkeyPatch) -> None:
    for implementation in implementations():
        assert make_trie(awkward, implementation, monkeypatch).num_bytes > 4 * awkward.size
