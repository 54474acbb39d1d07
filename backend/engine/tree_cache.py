"""`TreeCache`: what the scheduler needs of a prefix cache; `NullCache`: the one that keeps nothing. No torch.

`RadixCache` is the real one. With the null cache no other code needs to know that caching is off.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from .radix_cache import NO_SLOTS, Inserted, Keep, Match, Slots, Tokens, TreeNode


class TreeCache(Protocol):
    """A cache of prefixes; every method as documented at `RadixCache`."""

    evictable_size: int
    protected_size: int
    kept_size: int

    def match_len(self, tokens: Tokens, salt: str) -> int:
        """Length of the longest cached prefix; changes nothing."""
        ...

    def match_prefix(self, tokens: Tokens, salt: str) -> Match:
        """Longest cached prefix, marked as used."""
        ...

    def insert(self, tokens: Tokens, salt: str, slots: Slots) -> Inserted:
        """Add tokens with their slots."""
        ...

    def discard(self, tokens: Tokens, salt: str, start: int) -> list[Slots]:
        """Remove what a failed forward was to write."""
        ...

    def lock(self, node: TreeNode) -> None:
        """Protect a path."""
        ...

    def unlock(self, node: TreeNode) -> None:
        """Undo one `lock`."""
        ...

    def keep(self, node: TreeNode) -> Keep:
        """Evict a path after everything that nobody keeps."""
        ...

    def unkeep(self, keep: Keep) -> None:
        """Undo one `keep`."""
        ...

    def evict(self, num_tokens: int) -> list[Slots]:
        """Drop unlocked tokens."""
        ...

    def reset(self) -> list[Slots]:
        """Drop all unlocked tokens."""
        ...

    def nodes(self) -> Iterator[TreeNode]:
        """Every node but the root."""
        ...

    def snapshot(self) -> dict[str, Any]:
        """Describe the cache with plain values."""
        ...

    def check(self) -> None:
        """Recount from scratch."""
        ...


class NullCache:
    """A `TreeCache` that keeps nothing: every prompt is computed, every slot stays with its request."""

    def __init__(self) -> None:
        self._root = TreeNode(b"", np.empty(0, dtype=np.int32), NO_SLOTS, None)
        self.evictable_size = 0
        self.protected_size = 0
        self.kept_size = 0

    def match_len(self, tokens: Tokens, salt: str) -> int:
        """Nothing is cached."""
        return 0

    def match_prefix(self, tokens: Tokens, salt: str) -> Match:
        """Nothing is cached."""
        return Match(0, NO_SLOTS, self._root)

    def insert(self, tokens: Tokens, salt: str, slots: Slots) -> Inserted:
        """Take nothing."""
        return Inserted(0, 0, self._root)

    def discard(self, tokens: Tokens, salt: str, start: int) -> list[Slots]:
        """There is nothing to discard."""
        return []

    def lock(self, node: TreeNode) -> None:
        """There is nothing to lock."""

    def unlock(self, node: TreeNode) -> None:
        """There is nothing to unlock."""

    def keep(self, node: TreeNode) -> Keep:
        """There is nothing to keep."""
        return Keep(node)

    def unkeep(self, keep: Keep) -> None:
        """There is nothing to let go."""

    def evict(self, num_tokens: int) -> list[Slots]:
        """There is nothing to evict."""
        return []

    def reset(self) -> list[Slots]:
        """There is nothing to forget."""
        return []

    def nodes(self) -> Iterator[TreeNode]:
        """No nodes."""
        return iter(())

    def snapshot(self) -> dict[str, Any]:
        """An empty tree."""
        return {"page_size": 1, "evictable": 0, "protected": 0, "kept": 0, "nodes": []}

    def check(self) -> None:
        """Always consistent."""
