"""Recounts who owns which slot, row and lock from scratch, and asserts that it agrees with what the engine believes.

Tests call it after every step, the engine when idle in debug mode. Reads everything, changes nothing.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from .kv_manager import KVManager
from .radix_cache import TreeNode
from .req import Req

if TYPE_CHECKING:
    from .scheduler import Scheduler


def check_scheduler(scheduler: Scheduler) -> None:
    """Assert the invariants between two steps."""
    kv, queue = scheduler.kv, scheduler.waiting_queue
    open_reqs = list(scheduler.lifecycle.open_requests)
    holding = [req for req in open_reqs if req.row > 0]
    kv.tree_cache.check()
    kv.allocator.check()
    kv.pool.check({req.row for req in holding})
    queue.check()
    scheduler.lifecycle.programs.check(open_reqs)
    scheduler.running_batch.check()
    assert len({req.row for req in holding}) == len(holding), "two requests share a row"
    assert not any(req.is_done for req in open_reqs), "a request that has ended is still open"
    waiting = set(queue)
    assert waiting == {req for req in open_reqs if req.row <= 0}, "a request neither waits nor runs"
    running = {req for req in scheduler.running_batch.reqs if req.row > 0}
    known = running | {scheduler.chunked_req} | set(just_prefilled(scheduler))
    assert set(holding) == known - {None}, "a request holds memory that nobody runs"
    check_ownership(kv, holding)
    check_locks(kv, holding)


def just_prefilled(scheduler: Scheduler) -> list[Req]:
    """Requests that join the running batch at the next step."""
    batch = scheduler.last_batch
    if batch is None:
        return []
    rows = zip(batch.reqs[: batch.num_prefill], batch.samples, strict=False)
    return [req for req, samples in rows if samples and req.row > 0]


def check_ownership(kv: KVManager, holding: list[Req]) -> None:
    """Every slot belongs to exactly one of: the free list, one tree node, one request; rows agree with the tree."""
    table, page_size = kv.pool.req_to_token, kv.allocator.page_size
    owned = [kv.allocator.free_slots(), *(node.slots for node in kv.tree_cache.nodes())]
    for req in holding:
        end = max(req.prefix_len, req.cache_protected_len)
        own = table[req.row, req.cache_protected_len : end]
        # The rest of a partly filled last page is the request's as well.
        padding = np.arange(own[-1] + 1, own[-1] + 1 + -len(own) % page_size) if len(own) else own
        owned += [own, padding]
        tree_slots = path_slots(req.last_node)
        assert len(tree_slots) >= req.cache_protected_len, "the tree lost a running request's prefix"
        assert np.array_equal(table[req.row, : req.cache_protected_len], tree_slots[: req.cache_protected_len]), (
            "a row does not point at the tree's slots"
        )
    slots = np.sort(np.concatenate(owned))
    assert np.array_equal(slots, np.arange(page_size, kv.allocator.num_slots)), "a slot is lost or has two owners"
    if not holding:
        assert kv.obtainable == kv.allocator.total, "idle, but not all memory can be obtained"


def check_locks(kv: KVManager, holding: list[Req]) -> None:
    """Each node's lock count is the number of running requests whose prefix ends there or below."""
    expected: Counter[TreeNode] = Counter()
    for req in holding:
        node = req.last_node
        while node is not None:
            expected[node] += 1
            node = node.parent
    for node in kv.tree_cache.nodes():
        assert node.lock_ref == expected[node], f"a node has {node.lock_ref} locks, {expected[node]} requests use it"


def path_slots(node: TreeNode | None) -> np.ndarray[tuple[int], np.dtype[np.integer]]:
    """Slots from the root down to `node`."""
    parts = []
    while node is not None:
        parts.append(node.slots)
        node = node.parent
    return np.concatenate(parts[::-1])
