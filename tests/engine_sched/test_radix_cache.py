"""The radix cache alone: against a plain model of it, and one behaviour at a time."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from ramify.backend.engine.radix_cache import RadixCache, common_prefix_len
from ramify.backend.engine.tree_cache import NullCache


def ids(*tokens: int) -> np.ndarray:
    return np.array(tokens, dtype=np.int32)


def slots(start: int, count: int) -> np.ndarray:
    return np.arange(start, start + count)


def freed(parts: list[np.ndarray]) -> list[int]:
    return sorted(int(slot) for part in parts for slot in part)


def test_common_prefix_len() -> None:
    assert common_prefix_len(ids(), ids(1)) == 0
    assert common_prefix_len(ids(1, 2), ids(1, 2, 3)) == 2
    assert common_prefix_len(ids(1, 2, 4), ids(1, 2, 3)) == 2
    assert common_prefix_len(ids(5), ids(6)) == 0


def test_insert_then_match_returns_the_inserted_slots() -> None:
    cache = RadixCache()
    assert cache.insert(ids(1, 2, 3, 4), "", slots(10, 4))[:2] == (0, 4)
    match = cache.match_prefix(ids(1, 2, 3, 9), "")
    assert (match.length, match.slots.tolist()) == (3, [10, 11, 12])
    cache.check()


def test_a_partial_match_splits_the_node_and_keeps_its_lock_and_age() -> None:
    cache = RadixCache()
    node = cache.insert(ids(1, 2, 3, 4), "", slots(10, 4)).node
    cache.lock(node)
    head = cache.match_prefix(ids(1, 2), "").node
    assert node.parent is head and head.lock_ref == 1 and node.lock_ref == 1
    assert (head.tokens.tolist(), node.tokens.tolist()) == ([1, 2], [3, 4])
    assert (cache.protected_size, cache.evictable_size) == (4, 0)
    cache.unlock(node)
    cache.check()
    assert (cache.protected_size, cache.evictable_size) == (0, 4)


def test_insert_keeps_what_was_there_and_says_how_much() -> None:
    cache = RadixCache()
    cache.insert(ids(1, 2, 3), "", slots(10, 3))
    assert cache.insert(ids(1, 2, 3, 4, 5), "", slots(20, 5))[:2] == (3, 5)
    assert cache.match_prefix(ids(1, 2, 3, 4, 5), "").slots.tolist() == [10, 11, 12, 23, 24]


def test_namespaces_share_nothing() -> None:
    cache = RadixCache()
    cache.insert(ids(1, 2), "red", slots(10, 2))
    assert cache.match_len(ids(1, 2), "blue") == cache.match_len(ids(1, 2), "") == 0
    cache.insert(ids(1, 2), "blue", slots(20, 2))
    assert cache.match_prefix(ids(1, 2), "red").slots.tolist() == [10, 11]
    assert cache.match_prefix(ids(1, 2), "blue").slots.tolist() == [20, 21]


def test_pages_are_matched_and_inserted_whole() -> None:
    cache = RadixCache(page_size=4)
    assert cache.insert(ids(*range(10)), "", slots(40, 10))[:2] == (0, 8)
    assert cache.match_len(ids(*range(7)), "") == 4
    assert cache.match_len(ids(0, 1, 2, 9, 4, 5, 6, 7), "") == 0
    assert cache.match_prefix(ids(*range(10)), "").slots.tolist() == list(range(40, 48))
    cache.check()


def test_eviction_takes_the_least_recently_used_leaf_and_only_as_much_as_needed() -> None:
    cache = RadixCache()
    cache.insert(ids(1, 2, 3), "", slots(10, 3))
    cache.insert(ids(4, 5, 6), "", slots(20, 3))
    cache.match_prefix(ids(1, 2, 3), "")  # now 4 5 6 is the older one
    assert freed(cache.evict(2)) == [21, 22]
    assert cache.match_len(ids(4, 5, 6), "") == 1 and cache.match_len(ids(1, 2, 3), "") == 3
    cache.check()


def test_eviction_goes_on_to_parents_and_never_takes_locked_nodes() -> None:
    cache = RadixCache()
    cache.insert(ids(1, 2, 3, 4), "", slots(10, 4))
    kept = cache.match_prefix(ids(1, 2), "").node
    cache.lock(kept)
    assert freed(cache.evict(100)) == [12, 13]
    cache.check()
    cache.unlock(kept)
    assert freed(cache.evict(100)) == [10, 11]
    assert cache.evictable_size == 0 and list(cache.nodes()) == []


def test_a_parent_used_after_its_child_outlives_older_leaves() -> None:
    cache = RadixCache()
    cache.insert(ids(1, 2, 3), "", slots(10, 3))
    cache.insert(ids(7, 8), "", slots(20, 2))
    cache.match_prefix(ids(1, 2), "")
    assert freed(cache.evict(1)) == [12]  # the child is the oldest
    assert freed(cache.evict(2)) == [20, 21]  # then 7 8: older than its parent's last use
    assert cache.match_len(ids(1, 2), "") == 2


def test_evicting_whole_pages_only() -> None:
    cache = RadixCache(page_size=4)
    cache.insert(ids(*range(12)), "", slots(40, 12))
    assert freed(cache.evict(5)) == list(range(44, 52))
    cache.check()


def test_discard_removes_what_was_inserted_from_a_position_on_with_everything_below() -> None:
    cache = RadixCache()
    cache.insert(ids(1, 2), "", slots(10, 2))
    cache.insert(ids(1, 2, 3, 4), "", slots(20, 4))
    cache.insert(ids(1, 2, 3, 5), "", slots(30, 4))
    assert freed(cache.discard(ids(1, 2, 3, 4), "", 2)) == [22, 23, 33]
    assert cache.discard(ids(1, 2, 3, 5), "", 3) == []  # it went with the first
    assert cache.match_len(ids(1, 2, 3, 4), "") == 2
    cache.check()
    assert freed(cache.evict(9)) == [10, 11]


def test_reset_keeps_locked_paths() -> None:
    cache = RadixCache()
    kept = cache.insert(ids(1, 2), "", slots(10, 2)).node
    cache.insert(ids(3), "", slots(20, 1))
    cache.lock(kept)
    assert freed(cache.reset()) == [20]
    assert cache.match_len(ids(1, 2), "") == 2


def test_snapshot_is_plain_json_and_complete() -> None:
    cache = RadixCache()
    cache.insert(ids(1, 2, 3), "tenant", slots(10, 3))
    cache.lock(cache.insert(ids(1, 2, 4), "tenant", slots(20, 3)).node)
    snapshot = json.loads(json.dumps(cache.snapshot()))
    by_tokens = {tuple(node["tokens"]): node for node in snapshot["nodes"]}
    assert set(by_tokens) == {(1, 2), (3,), (4,)}
    assert by_tokens[(1, 2)]["salt"] == "tenant" and by_tokens[(1, 2)]["parent"] == 0
    assert by_tokens[(3,)]["parent"] == by_tokens[(4,)]["parent"] == by_tokens[(1, 2)]["id"]
    assert (by_tokens[(3,)]["locks"], by_tokens[(4,)]["locks"]) == (0, 1)
    assert (snapshot["evictable"], snapshot["protected"]) == (1, 3)


@pytest.mark.parametrize("damage", ["size", "lock", "link", "slots"])
def test_check_finds_planted_damage(damage: str) -> None:
    cache = RadixCache()
    cache.insert(ids(1, 2, 3), "", slots(10, 3))
    node = cache.insert(ids(1, 2, 4), "", slots(20, 3)).node
    match damage:
        case "size":
            cache.evictable_size += 1
        case "lock":
            node.lock_ref += 1
        case "link":
            node.edge = b"nowhere"
        case _:
            node.slots = node.slots[:0]
    with pytest.raises((AssertionError, KeyError)):
        cache.check()


@pytest.mark.parametrize("page_size", [1, 3])
@pytest.mark.parametrize("seed", range(6))
def test_against_a_plain_model(seed: int, page_size: int) -> None:
    """Random inserts, matches, locks and evictions beside a dictionary from prefix to slot."""
    rng = random.Random(seed)
    cache, model = RadixCache(page_size), {}
    locked: list[tuple[object, tuple]] = []
    next_slot = page_size
    for _ in range(400):
        key = (rng.choice(["", "x"]), tuple(rng.randrange(3) for _ in range(rng.randint(1, 14))))
        salt, tokens = key
        known = 0
        while known + page_size <= len(tokens) and (salt, tokens[: known + page_size]) in model:
            known += page_size
        assert cache.match_len(ids(*tokens), salt) == known
        if rng.random() < 0.5:
            own = slots(next_slot, len(tokens))
            next_slot += len(tokens)
            inserted = cache.insert(ids(*tokens), salt, own)
            whole = len(tokens) // page_size * page_size
            assert inserted[:2] == (known, whole)
            for end in range(known + page_size, whole + 1, page_size):
                model[salt, tokens[:end]] = own[end - page_size : end].tolist()
        else:
            match = cache.match_prefix(ids(*tokens), salt)
            expected = [model[salt, tokens[:end]] for end in range(page_size, known + 1, page_size)]
            assert match.slots.tolist() == [slot for page in expected for slot in page]
            if rng.random() < 0.3:
                cache.lock(match.node)
                locked.append((match.node, (salt, tokens[:known])))
        if locked and rng.random() < 0.3:
            cache.unlock(locked.pop(rng.randrange(len(locked)))[0])
        if rng.random() < 0.2:
            gone = set(freed(cache.evict(rng.randint(1, 10))))
            model = {key: value for key, value in model.items() if not gone & set(value)}
        for _, (lock_salt, lock_tokens) in locked:
            assert cache.match_len(ids(*lock_tokens), lock_salt) == len(lock_tokens)
        cache.check()
        assert cache.evictable_size + cache.protected_size == page_size * len(model)


def test_work_per_operation_does_not_grow_with_the_tree() -> None:
    """The heap holds each node at most once however often it is used, and an eviction pops only what it must."""
    cache = RadixCache()
    for first in range(300):
        cache.insert(ids(first, 1, 2), "", slots(10 * first + 1, 3))
    for _ in range(20):
        for first in range(300):
            cache.match_prefix(ids(first, 1, 2), "")
    assert len(cache._heap) == 300
    before = len(cache._heap)
    cache.insert(ids(0, 1, 2, 3), "", slots(5000, 4))
    cache.evict(300)
    for _ in range(50):
        cache.insert(ids(999, 1), "", slots(6000, 2))
        cache.evict(1)
    assert len(cache._heap) <= before + 1


def test_the_null_cache_keeps_nothing() -> None:
    cache = NullCache()
    assert cache.insert(ids(1, 2), "", slots(1, 2))[:2] == (0, 0)
    match = cache.match_prefix(ids(1, 2), "")
    assert match.length == 0 and cache.match_len(ids(1, 2), "") == 0
    cache.lock(match.node)
    cache.unlock(match.node)
    cache.check()
    assert cache.evict(5) == cache.reset() == cache.discard(ids(1), "", 0) == []
    assert cache.snapshot()["nodes"] == [] == list(cache.nodes())
