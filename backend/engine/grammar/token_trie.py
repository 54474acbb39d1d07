"""`TokenTrie`: the tokens of a vocabulary as a trie over bytes, and the walk of an automaton over it.

The walk visits only the part of the trie that the automaton can follow, level by level in numpy. Built once per
vocabulary by a plugin; knows nothing of sequences.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..vocabulary import Vocabulary
from .api import MaskRow, num_mask_words
from .automaton import DEAD, ByteAutomaton


@dataclass(frozen=True, slots=True, eq=False)
class TokenTrie:
    """Nodes are numbered level by level, so that the children of a node lie side by side; node 0 is the root.

    - `byte`: (nodes,) uint8 label of the edge into each node.
    - `first_child`: (nodes + 1,) children of node n are `first_child[n] : first_child[n + 1]`.
    - `token`: (nodes,) the token that ends at each node, or -1. `twins`: (pairs, 2) node and token of the further
      tokens that have the same bytes.
    """

    num_tokens: int
    byte: NDArray[np.uint8]
    first_child: NDArray[np.int64]
    token: NDArray[np.int64]
    twins: NDArray[np.int64]

    def mask(self, automaton: ByteAutomaton, state: int) -> MaskRow:
        """Return the packed mask of the tokens that lead from `state` to a live state."""
        allowed = np.zeros(num_mask_words(self.num_tokens) * 32, dtype=np.bool_)
        nodes = np.zeros(1, dtype=np.int64)
        states = np.array([state], dtype=np.int32)
        reached = []
        while True:
            starts = self.first_child[nodes]
            counts = self.first_child[nodes + 1] - starts
            # the children of all live nodes, in order: each node's run of child numbers laid end to end
            ends = np.cumsum(counts)
            total = int(ends[-1]) if len(ends) else 0
            if total == 0:
                break
            children = np.arange(total) + np.repeat(starts - ends + counts, counts)
            targets = automaton.table[np.repeat(states, counts), automaton.class_of_byte[self.byte[children]]]
            alive = np.flatnonzero(targets != DEAD)
            nodes, states = children[alive], targets[alive]
            reached.append(nodes)
        if reached:
            visited = np.concatenate(reached)
            tokens = self.token[visited]
            allowed[tokens[tokens >= 0]] = True
            if len(self.twins):
                is_twin = np.isin(self.twins[:, 0], visited)
                allowed[self.twins[is_twin, 1]] = True
        return np.packbits(allowed, bitorder="little").view(np.int32)


def build_token_trie(vocabulary: Vocabulary) -> TokenTrie:
    """Build the trie of every token that may stand in text: no special token, none without bytes."""
    excluded = vocabulary.special_ids | vocabulary.eos_ids
    tokens = sorted(
        (text, token_id) for token_id, text in enumerate(vocabulary.token_bytes) if text and token_id not in excluded
    )
    lengths = np.array([len(text) for text, _ in tokens], dtype=np.int64)
    ids = np.array([token_id for _, token_id in tokens], dtype=np.int64)
    octets = np.frombuffer(b"".join(text for text, _ in tokens), dtype=np.uint8)
    offsets = np.cumsum(lengths) - lengths

    labels = [np.zeros(1, dtype=np.uint8)]
    parents = [np.zeros(1, dtype=np.int64)]  # of the root: unused
    ending: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []  # (nodes, tokens) that end at a level
    node_of = np.zeros(len(tokens), dtype=np.int64)  # node of each token's prefix so far
    num_nodes = 1
    live = np.arange(len(tokens))
    for depth in range(int(lengths.max(initial=0))):
        live = live[lengths[live] > depth]
        byte = octets[offsets[live] + depth]
        key = node_of[live] * 256 + byte  # sorted, because the tokens are
        is_new = np.diff(key, prepend=-1) != 0
        parents.append(node_of[live][is_new])
        labels.append(byte[is_new])
        node_of[live] = num_nodes - 1 + np.cumsum(is_new)
        num_nodes += int(is_new.sum())
        ends_here = live[lengths[live] == depth + 1]
        ending.append((node_of[ends_here], ids[ends_here]))
    counts = np.bincount(np.concatenate(parents)[1:], minlength=num_nodes)
    first_child = np.concatenate([[1], 1 + np.cumsum(counts)])
    nodes = np.concatenate([pair[0] for pair in ending]) if ending else np.zeros(0, dtype=np.int64)
    node_tokens = np.concatenate([pair[1] for pair in ending]) if ending else nodes
    token = np.full(num_nodes, -1, dtype=np.int64)
    unique, first = np.unique(nodes, return_index=True)
    token[unique] = node_tokens[first]
    is_twin = np.ones(len(nodes), dtype=np.bool_)
    is_twin[first] = False
    twins = np.stack([nodes[is_twin], node_tokens[is_twin]], axis=1)
    return TokenTrie(vocabulary.size, np.concatenate(labels), first_child, token, twins)
