"""Keeps of the radix tree: what nobody keeps goes first, counts are right, and the heap stays bounded."""

from __future__ import annotations

import random

import numpy as np
import pytest

from ramify.backend.engine.radix_cache import RadixCache


def tokens(*ids: int) -> np.ndarray:
    return np.array(ids, dtype=np.int32)


def insert(cache: RadixCache, *ids: int, salt: str = ""):
    return cache.insert(tokens(*ids), salt, np.arange(len(ids))).node


def test_what_nobody_keeps_goes_first_and_then_what_was_used_longest_ago() -> None:
    cache = RadixCache()
    kept = cache.keep(insert(cache, 1, 2, 3))
    insert(cache, 7, 8)
    insert(cache, 9)
    assert cache.kept_size == 3 and cache.evictable_size == 6
    cache.evict(2)
    assert [cache.match_len(tokens(*ids), "") for ids in ((1, 2, 3), (7, 8), (9,))] == [3, 0, 1]
    cache.evict(2)  # the last that nobody keeps, and then the tail of what is kept
    assert [cache.match_len(tokens(*ids), "") for ids in ((1, 2, 3), (9,))] == [2, 0]
    cache.check()
    cache.unkeep(kept)
    assert cache.kept_size == 0
    cache.check()


def test_a_keep_covers_the_path_above_it_and_nothing_below() -> None:
    cache = RadixCache()
    trunk = insert(cache, 1, 2)
    keep = cache.keep(trunk)
    insert(cache, 1, 2, 3)
    insert(cache, 1, 9)  # splits the kept node
    cache.check()
    assert cache.kept_size == 2
    cache.evict(2)
    assert cache.match_len(tokens(1, 2, 3), "") == 2 and cache.match_len(tokens(1, 9), "") == 1
    cache.unkeep(keep)
    cache.check()


def test_what_is_let_go_is_evicted_before_what_is_still_kept() -> None:
    cache = RadixCache()
    first, second = cache.keep(insert(cache, 1)), cache.keep(insert(cache, 2))
    insert(cache, 3)
    cache.match_prefix(tokens(1), "")  # used last
    cache.unkeep(first)
    cache.evict(2)
    assert [cache.match_len(tokens(name), "") for name in (1, 2, 3)] == [0, 1, 0]
    cache.evict(1)
    assert not list(cache.nodes()) and cache.kept_size == 0
    cache.unkeep(second)  # what it kept is gone
    insert(cache, 2)
    cache.check()
    assert cache.kept_size == 0


def test_a_node_kept_and_let_go_while_it_was_inside_the_tree_is_found_by_eviction() -> None:
    cache = RadixCache()
    keep = cache.keep(insert(cache, 1))  # enters the heap as kept
    insert(cache, 1, 2)
    cache.unkeep(keep)
    cache.keep(insert(cache, 5))
    cache.evict(2)
    assert cache.match_len(tokens(1), "") == 0 and cache.match_len(tokens(5), "") == 1


def test_locked_and_kept_are_counted_once() -> None:
    cache = RadixCache()
    node = insert(cache, 1, 2, 3)
    keep = cache.keep(node)
    cache.lock(node)
    assert (cache.evictable_size, cache.protected_size, cache.kept_size) == (0, 3, 0)
    cache.unlock(node)
    assert cache.kept_size == 3
    cache.lock(node)
    cache.unkeep(keep)
    cache.unlock(node)
    assert (cache.evictable_size, cache.kept_size) == (3, 0)
    cache.check()


def test_keeping_again_and_again_does_not_grow_the_heap() -> None:
    cache = RadixCache()
    node = insert(cache, 1, 2, 3)
    for _ in range(10_000):
        cache.unkeep(cache.keep(node))
    assert len(cache._heap) < 300


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("page_size", [1, 3])
def test_random_trees_evict_unkept_leaves_first(seed: int, page_size: int) -> None:
    """While anything unkept can go, nothing kept is touched; all counts are recounted after every operation."""
    rng = random.Random(seed)
    cache = RadixCache(page_size)
    keeps, locked = [], []
    for _ in range(150):
        match rng.randrange(7):
            case 0 | 1 | 2:
                insert(cache, *(rng.randrange(3) for _ in range(rng.randint(1, 14))))
            case 3:
                nodes = list(cache.nodes())
                if nodes:
                    keeps.append(cache.keep(rng.choice(nodes)))
            case 4:
                if keeps:
                    cache.unkeep(keeps.pop(rng.randrange(len(keeps))))
            case 5:
                if locked and rng.random() < 0.5:
                    cache.unlock(locked.pop())
                else:
                    locked.append(cache.match_prefix(tokens(*(rng.randrange(3) for _ in range(6))), "").node)
                    cache.lock(locked[-1])
            case _:
                kept, unkept = cache.kept_size, cache.evictable_size - cache.kept_size
                num_gone = sum(map(len, cache.evict(rng.randint(1, 8))))
                assert kept - cache.kept_size == max(0, num_gone - unkept)
        cache.check()
    for node in locked:
        cache.unlock(node)
    for keep in keeps:
        cache.unkeep(keep)
    cache.check()
    assert cache.kept_size == 0
    cache.evict(cache.evictable_size)
    assert not list(cache.nodes())
