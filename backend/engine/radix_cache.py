"""`RadixCache`: which token sequences have their KV in the pool, as a radix tree over pages of tokens. No torch.

It knows slots, not requests: `kv_manager.py` locks nodes for requests, frees what eviction returns, and rolls back.
After RadixAttention (Zheng et al., "SGLang: Efficient Execution of Structured Language Model Programs", 2024).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int32]
Slots = NDArray[np.integer]
# Key of a child: its first page as bytes; below the root with the namespace, so that namespaces never share a node.
Edge = bytes | tuple[str, bytes]

NO_SLOTS: Slots = np.empty(0, dtype=np.int32)


def common_prefix_len(a: Tokens, b: Tokens) -> int:
    """Number of leading tokens that `a` and `b` share."""
    length = min(len(a), len(b))
    differs = a[:length] != b[:length]
    first = int(differs.argmax()) if length else 0
    return first if length and differs[first] else length


@dataclass(slots=True, eq=False)
class Keep:
    """Somebody will come back to the path that ends at `node`: it is evicted after everything that nobody keeps."""

    node: TreeNode


@dataclass(slots=True, eq=False)
class TreeNode:
    """A run of tokens and the slots of their KV. The root is empty."""

    edge: Edge
    tokens: Tokens  # (len,), a whole number of pages
    slots: Slots  # (len,)
    parent: TreeNode | None  # None: the root, or removed
    children: dict[Edge, TreeNode] = field(default_factory=dict)
    lock_ref: int = 0  # requests whose prefix ends here or below
    keep_ref: int = 0  # keeps that end here or below
    keeps: set[Keep] | None = None  # those that end here
    last_access: int = 0  # logical time; a parent is never older than its children
    entry: int = 0  # number of its one valid entry in the eviction heap; 0: none

    @property
    def is_evictable_leaf(self) -> bool:
        """True when eviction may take it now."""
        return not self.children and self.lock_ref == 0 and self.parent is not None


class Match(NamedTuple):
    """The longest cached prefix: `length` tokens, their `slots` (length,), and the node where it ends."""

    length: int
    slots: Slots
    node: TreeNode


class Inserted(NamedTuple):
    """What `insert` did with tokens and slots [0, n).

    [0, num_existing) was there before: the caller's slots for it are duplicates unless they are the tree's own.
    [num_existing, num_owned) now belongs to the tree. [num_owned, n) stays with the caller (a partial page).
    """

    num_existing: int
    num_owned: int
    node: TreeNode


class RadixCache:
    """Radix tree with namespaces, lock counts, keeps, and least-recently-used eviction of unlocked leaves.

    Every operation costs O(path length): token runs are compared as arrays, and eviction pops a heap in which each node
    has at most one valid entry (one whose node was used or kept since is put back when it surfaces).

    >>> cache = RadixCache()
    >>> tokens = np.array([5, 6, 7], dtype=np.int32)
    >>> cache.insert(tokens, "", np.array([1, 2, 3])).num_existing
    0
    >>> cache.match_prefix(np.array([5, 6, 9], dtype=np.int32), "").length
    2
    """

    def __init__(self, page_size: int = 1) -> None:
        self.page_size = page_size
        self.root = TreeNode(b"", np.empty(0, dtype=np.int32), NO_SLOTS, None)
        self.evictable_size = 0  # tokens of nodes with lock_ref 0
        self.protected_size = 0  # tokens of locked nodes
        self.kept_size = 0  # tokens of nodes that could be evicted but are kept
        self._clock = 0
        # (is kept, last access, number of the entry, node); the number also keeps nodes from being compared
        self._heap: list[tuple[bool, int, int, TreeNode]] = []
        self._num_pushed = 0
        self._num_stale = 0  # entries that are not valid any more

    def match_len(self, tokens: Tokens, salt: str) -> int:
        """Length of the longest cached prefix of `tokens` in namespace `salt`; changes nothing."""
        node, length, limit = self.root, 0, self._aligned(len(tokens))
        while length < limit:
            child = node.children.get(self._edge(node, tokens, length, salt))
            if child is None:
                break
            shared = self._aligned(common_prefix_len(child.tokens, tokens[length:limit]))
            length, node = length + shared, child
            if shared < len(child.tokens):
                break
        return length

    def match_prefix(self, tokens: Tokens, salt: str) -> Match:
        """Find the longest cached prefix, split the node it ends in, and mark the path as used now."""
        node, length, limit = self.root, 0, self._aligned(len(tokens))
        parts: list[Slots] = []
        self._clock += 1
        while length < limit:
            child = node.children.get(self._edge(node, tokens, length, salt))
            if child is None:
                break
            shared = self._aligned(common_prefix_len(child.tokens, tokens[length:limit]))
            if shared < len(child.tokens):
                child = self._split(child, shared)
            child.last_access = self._clock
            parts.append(child.slots)
            length, node = length + shared, child
        slots = np.concatenate(parts) if len(parts) > 1 else parts[0] if parts else NO_SLOTS
        return Match(length, slots, node)

    def insert(self, tokens: Tokens, salt: str, slots: Slots) -> Inserted:
        """Add `tokens` (n,) with their `slots` (n,), floor-aligned to pages; what is there already keeps its slots."""
        existing, _, node = self.match_prefix(tokens, salt)
        limit = self._aligned(len(tokens))
        if existing < limit:
            edge = self._edge(node, tokens, existing, salt)
            # Copies: a view would keep the caller's whole array alive for as long as the node lives.
            leaf = TreeNode(edge, tokens[existing:limit].copy(), slots[existing:limit].copy(), node)
            leaf.last_access = self._clock
            node.children[edge] = leaf
            self.evictable_size += len(leaf.tokens)
            self._queue(leaf)
            node = leaf
        return Inserted(existing, limit, node)

    def discard(self, tokens: Tokens, salt: str, start: int) -> list[Slots]:
        """Remove what was inserted for `tokens` after position `start`, with everything below; returns the slots.

        For KV that was never written. `start` is what the insert found existing, so a node ends there; nothing below
        may be locked. Parts that another discard already removed are no error.
        """
        node, length = self.root, 0
        while length < start:
            child = node.children.get(self._edge(node, tokens, length, salt))
            if child is None:
                return []
            length, node = length + len(child.tokens), child
        doomed = node.children.get(self._edge(node, tokens, start, salt)) if length == start else None
        if doomed is None:
            return []
        freed = []
        for gone in [doomed, *self._below(doomed)]:
            assert gone.lock_ref == gone.keep_ref == 0, "a locked or kept node was to be discarded"
            freed.append(gone.slots)
            self.evictable_size -= len(gone.tokens)
            gone.children, gone.parent = {}, None
        del node.children[doomed.edge]
        self._queue(node)
        return freed

    def lock(self, node: TreeNode) -> None:
        """Protect `node` and its ancestors from eviction until `unlock`."""
        at: TreeNode | None = node
        while at is not None:
            if at.lock_ref == 0:
                self.evictable_size -= len(at.tokens)
                self.protected_size += len(at.tokens)
                self.kept_size -= len(at.tokens) if at.keep_ref else 0
            at.lock_ref += 1
            at = at.parent

    def unlock(self, node: TreeNode) -> None:
        """Undo one `lock`."""
        at: TreeNode | None = node
        while at is not None:
            assert at.lock_ref > 0, "a node was unlocked more often than locked"
            at.lock_ref -= 1
            if at.lock_ref == 0:
                self.evictable_size += len(at.tokens)
                self.protected_size -= len(at.tokens)
                self.kept_size += len(at.tokens) if at.keep_ref else 0
            at = at.parent
        self._queue(node)

    def keep(self, node: TreeNode) -> Keep:
        """Evict `node` and its ancestors only when nothing else is left, until `unkeep`."""
        keep = Keep(node)
        node.keeps = node.keeps or set()
        node.keeps.add(keep)
        at: TreeNode | None = node
        while at is not None:
            if at.keep_ref == at.lock_ref == 0:
                self.kept_size += len(at.tokens)
            at.keep_ref += 1
            at = at.parent
        return keep

    def unkeep(self, keep: Keep) -> None:
        """Undo one `keep`."""
        node = keep.node
        assert node.keeps is not None
        node.keeps.remove(keep)
        at: TreeNode | None = node
        while at is not None:
            at.keep_ref -= 1
            if at.keep_ref == 0:
                self.kept_size -= 0 if at.lock_ref else len(at.tokens)
                self._num_stale += at.entry > 0
                at.entry = 0  # it says that the node is kept, and would surface too late
            at = at.parent
        self._queue(node)

    def evict(self, num_tokens: int) -> list[Slots]:
        """Drop at least `num_tokens` tokens (or all that can go); returns their slots.

        What nobody keeps goes first, and of that what was used longest ago. A leaf that is longer than needed loses
        only its tail, so a prefix stays useful as long as possible.
        """
        freed: list[Slots] = []
        while num_tokens > 0 and self._heap:
            is_kept, accessed, number, node = heapq.heappop(self._heap)
            if node.entry != number:
                self._num_stale -= 1
                continue
            node.entry = 0
            if not node.is_evictable_leaf:
                continue
            if (is_kept, accessed) != (node.keep_ref > 0, node.last_access):
                self._queue(node)
                continue
            keep = max(0, len(node.tokens) - -(-num_tokens // self.page_size) * self.page_size)
            num_gone = len(node.tokens) - keep
            num_tokens -= num_gone
            self.evictable_size -= num_gone
            self.kept_size -= num_gone if node.keep_ref else 0
            freed.append(node.slots[keep:])
            if keep:
                node.tokens, node.slots = node.tokens[:keep].copy(), node.slots[:keep].copy()
                self._queue(node)
            else:
                self._remove(node)
        return freed

    def reset(self) -> list[Slots]:
        """Forget everything that is not locked; returns the slots."""
        return self.evict(self.evictable_size)

    def nodes(self) -> Iterator[TreeNode]:
        """Every node but the root, parents first."""
        return self._below(self.root)

    def snapshot(self) -> dict[str, Any]:
        """Describe the tree with plain values that JSON can hold: nodes by number, parents before children."""
        numbers: dict[TreeNode, int] = {self.root: 0}
        nodes = []
        for node in self.nodes():
            assert node.parent is not None
            numbers[node] = len(numbers)
            nodes.append(
                {
                    "id": numbers[node],
                    "parent": numbers[node.parent],
                    "salt": node.edge[0] if isinstance(node.edge, tuple) else None,  # None: that of the parent
                    "tokens": node.tokens.tolist(),
                    "locks": node.lock_ref,
                    "keeps": node.keep_ref,
                    "age": self._clock - node.last_access,
                }
            )
        sizes = {"evictable": self.evictable_size, "protected": self.protected_size, "kept": self.kept_size}
        return {"page_size": self.page_size, **sizes, "nodes": nodes}

    def check(self) -> None:
        """Recount sizes, links, locks and order from scratch; assert that they agree."""
        evictable = protected = kept = num_entries = 0
        for node in self.nodes():
            parent = node.parent
            assert parent is not None and parent.children[node.edge] is node, "a child's links disagree"
            assert len(node.tokens) == len(node.slots) > 0, "a node is empty or its slots do not match its tokens"
            assert len(node.tokens) % self.page_size == 0, "a node is not page-aligned"
            first = node.edge[1] if isinstance(node.edge, tuple) else node.edge
            assert first == node.tokens[: self.page_size].tobytes(), "a node is filed under a wrong edge"
            assert isinstance(node.edge, tuple) == (parent is self.root), "a namespace is missing or misplaced"
            assert node.lock_ref >= sum(child.lock_ref for child in node.children.values()), "an ancestor is unlocked"
            assert parent is self.root or parent.last_access >= node.last_access, "a parent is older than its child"
            assert not node.is_evictable_leaf or node.entry, "eviction cannot find an unlocked leaf"
            keeps = node.keeps or ()
            assert all(keep.node is node for keep in keeps), "a keep points elsewhere"
            below = sum(child.keep_ref for child in node.children.values())
            assert node.keep_ref == len(keeps) + below, "keeps are miscounted"
            num_entries += node.entry > 0
            if node.lock_ref:
                protected += len(node.tokens)
            else:
                evictable += len(node.tokens)
                kept += len(node.tokens) if node.keep_ref else 0
        sizes = (self.evictable_size, self.protected_size, self.kept_size)
        assert (evictable, protected, kept) == sizes, "the tree's sizes are wrong"

    def _aligned(self, length: int) -> int:
        return length - length % self.page_size

    def _edge(self, node: TreeNode, tokens: Tokens, start: int, salt: str) -> Edge:
        page = tokens[start : start + self.page_size].tobytes()
        return (salt, page) if node is self.root else page

    def _split(self, node: TreeNode, length: int) -> TreeNode:
        """Cut `node` after `length` tokens; returns the new head, `node` stays the tail and keeps who locked it."""
        parent = node.parent
        assert parent is not None
        head = TreeNode(node.edge, node.tokens[:length].copy(), node.slots[:length].copy(), parent)
        head.lock_ref, head.keep_ref, head.last_access = node.lock_ref, node.keep_ref, node.last_access
        parent.children[node.edge] = head
        node.tokens, node.slots, node.parent = node.tokens[length:].copy(), node.slots[length:].copy(), head
        node.edge = node.tokens[: self.page_size].tobytes()
        head.children[node.edge] = node
        return head

    def _remove(self, leaf: TreeNode) -> None:
        parent = leaf.parent
        assert parent is not None
        del parent.children[leaf.edge]
        leaf.parent = None
        if leaf.keeps:
            for keep in leaf.keeps:
                keep.node = parent
            parent.keeps = (parent.keeps or set()) | leaf.keeps
        self._queue(parent)

    def _queue(self, node: TreeNode) -> None:
        """Give an evictable leaf its entry in the eviction heap."""
        if not node.is_evictable_leaf or node.entry:
            return
        self._num_pushed += 1
        node.entry = self._num_pushed
        heapq.heappush(self._heap, (node.keep_ref > 0, node.last_access, node.entry, node))
        if self._num_stale > 64 + len(self._heap) // 2:
            self._heap = [item for item in self._heap if item[3].entry == item[2]]
            heapq.heapify(self._heap)
            self._num_stale = 0

    def _below(self, top: TreeNode) -> Iterator[TreeNode]:
        stack = list(top.children.values())
        while stack:
            node = stack.pop()
            yield node
            stack.extend(node.children.values())
