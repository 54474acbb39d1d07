"""From a vocabulary to the trie of its tokens over bytes, which automata are walked over.

Knows nothing of automata or sequences. Called by the plugins, once per vocabulary.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ....kernels.token_trie import TokenTrie, token_trie
from ..vocabulary import Vocabulary

MAX_TOKEN_LEN = 65_535  # bytes; a longer token would take more than any text to generate


def build_token_trie(vocabulary: Vocabulary) -> TokenTrie:
    """Build the trie of every token that may stand in text: no special token, none without bytes."""
    return token_trie(*token_nodes(vocabulary), vocabulary.size)


def token_nodes(vocabulary: Vocabulary) -> tuple[NDArray[np.intp], NDArray[np.uint8], NDArray[np.intp]]:
    """Return depth, byte and token of the trie's nodes, as `token_trie` takes them."""
    spelled = vocabulary.token_bytes
    excluded = vocabulary.special_ids | vocabulary.eos_ids
    ids = [i for i, text in enumerate(spelled) if 0 < len(text) <= MAX_TOKEN_LEN and i not in excluded]
    ids.sort(key=spelled.__getitem__)
    lengths = np.fromiter((len(spelled[token_id]) for token_id in ids), dtype=np.intp, count=len(ids))
    octets = np.frombuffer(b"".join([spelled[token_id] for token_id in ids]), dtype=np.uint8)
    starts = np.cumsum(lengths) - lengths

    shared = np.minimum(_shared_lengths(octets, starts, lengths), lengths - 1)  # equal tokens get a node each
    added = lengths - shared  # nodes of each token, laid end to end
    ends = np.cumsum(added)
    place = np.arange(added.sum()) - np.repeat(ends - added - shared, added)  # of each node's byte in its token
    token = np.full(len(place), -1, dtype=np.intp)
    token[ends - 1] = ids
    return place + 1, octets[np.repeat(starts, added) + place], token


def _shared_lengths(octets: NDArray[np.uint8], starts: NDArray[np.intp], lengths: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return how many bytes each text begins with in common with the one before it; 0 for the first."""
    shared = np.zeros(len(starts), dtype=np.intp)
    live = np.arange(1, len(starts))
    limit = np.minimum(lengths[1:], lengths[:-1])
    length = 0
    while len(live):
        live = live[limit[live - 1] > length]
        live = live[octets[starts[live] + length] == octets[starts[live - 1] + length]]
        length += 1
        shared[live] = length
    return shared
