"""The walk of a lexer over a vocabulary: the C kernel against numpy, and both against each token taken by itself."""

from __future__ import annotations

import random

import numpy as np
import pytest

from ramify.backend.engine.grammar.token_trie import token_nodes
from ramify.backend.engine.vocabulary import Vocabulary
from ramify.kernels import native
from ramify.kernels.lexer_walk import LevelTrie, LexerTables, LexerTrie, NativeTrie, Walked


def random_vocabulary(rng: random.Random) -> Vocabulary:
    tokens = [bytes(rng.choices(b"abc", k=rng.randint(0, 6))) for _ in range(rng.randint(1, 400))]
    return Vocabulary(tuple(tokens), special_ids=frozenset({0}))


def random_lexer(rng: random.Random) -> LexerTables:
    num_states, num_classes = rng.randint(2, 9), 3
    draw = np.random.default_rng(rng.randrange(1 << 30))
    table = draw.integers(0, num_states, (num_states, num_classes), dtype=np.int32)
    ends = np.where(draw.random(table.shape) < 0.3, draw.integers(0, 4, table.shape), -1).astype(np.int32)
    table[0], ends[0] = 0, -1
    class_of_byte = np.zeros(256, dtype=np.uint8)
    class_of_byte[list(b"abc")] = [0, 1, 2]
    reach = draw.integers(0, 200, num_states, dtype=np.int32)
    return LexerTables(table, ends, class_of_byte, reach, 200)


def tries(vocabulary: Vocabulary) -> list[LexerTrie]:
    nodes = token_nodes(vocabulary)
    library = native.library()
    built = [] if library is None else [NativeTrie(library, *nodes, vocabulary.size)]
    return [LevelTrie(*nodes, vocabulary.size), *built]


def facts(walked: Walked) -> tuple[object, object]:
    inside = sorted((number, row.tolist()) for number, row in walked.inside)
    return inside, [(kind, nodes.tolist()) for kind, nodes in walked.ends]


@pytest.mark.parametrize("seed", range(20))
def test_both_walks_agree_below_any_nodes(seed: int) -> None:
    rng = random.Random(seed)
    vocabulary, lexer = random_vocabulary(rng), random_lexer(rng)
    built = tries(vocabulary)
    num_nodes = len(token_nodes(vocabulary)[0])
    frontiers = [built[0].root, *(np.sort(rng.sample(range(num_nodes), min(num_nodes, 9))).astype(np.int32),) * 2]
    for frontier in frontiers:
        for state in range(1, len(lexer.reach)):
            first, *others = [facts(trie.walk(lexer, frontier, state)) for trie in built]
            assert all(other == first for other in others)


@pytest.mark.parametrize("seed", range(5))
def test_a_token_ends_where_its_own_bytes_lead(seed: int) -> None:
    rng = random.Random(seed)
    vocabulary, lexer = random_vocabulary(rng), random_lexer(rng)
    expected: dict[int, set[int]] = {}
    for token, text in enumerate(vocabulary.token_bytes):
        state = 1
        for byte in text:
            state = int(lexer.table[state, lexer.class_of_byte[byte]])
        if state and text and token not in vocabulary.special_ids:
            expected.setdefault(int(lexer.reach[state]), set()).add(token)
    for trie in tries(vocabulary):
        found = {
            number: set(np.flatnonzero(np.unpackbits(row.view(np.uint8), bitorder="little")).tolist())
            for number, row in trie.walk(lexer, trie.root, 1).inside
        }
        assert found == expected


def test_many_ends_and_many_kinds_of_states_find_room() -> None:
    """More of both than the kernel makes room for at first."""
    tokens = tuple(bytes([first, second, third]) for first in range(90) for second in range(30) for third in range(30))
    vocabulary = Vocabulary(tokens)
    num_states = 302
    table = np.zeros((num_states, 256), dtype=np.int32)
    table[1] = np.arange(256) % 300 + 2
    table[2:] = np.arange(2, num_states)[:, None]
    ends = np.zeros((num_states, 256), dtype=np.int32)
    ends[0] = -1
    lexer = LexerTables(table, ends, np.arange(256, dtype=np.uint8), np.arange(num_states, dtype=np.int32), num_states)
    first, *others = [facts(trie.walk(lexer, trie.root, 1)) for trie in tries(vocabulary)]
    assert all(other == first for other in others)
    assert len(first[0]) == 90 and sum(len(nodes) for _, nodes in first[1]) == 90 + 90 * 30 + 90 * 30 * 30
