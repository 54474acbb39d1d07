"""The checks themselves: planted corruption is found, by the canary in the slots and by the recount of ownership."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def running(make_harness):
    """A harness with two requests that decode and share a prefix."""
    harness = make_harness()
    reqs = [harness.req([*range(20), last], 9) for last in (1, 2)]
    harness.submit(*reqs)
    harness.step()
    harness.step()
    harness.pair = reqs
    return harness


def test_the_canary_reads_what_it_should(running) -> None:
    before = running.worker.num_slots_checked
    running.step()
    assert running.worker.num_slots_checked - before == sum(req.num_tokens - 1 for req in running.pair)


@pytest.mark.parametrize("position", [0, 19, 20, 21])
def test_an_overwritten_slot_is_found(running, position: int) -> None:
    slot = running.kv.pool.req_to_token[running.pair[0].row, position]
    running.worker.slot_hash[slot] += 1
    with pytest.raises(AssertionError, match="wrong prefix"):
        running.worker.forward(running.scheduler.get_next_batch_to_run())


def test_a_slot_at_a_wrong_position_is_found(running) -> None:
    row = running.kv.pool.req_to_token[running.pair[0].row]
    row[[3, 4]] = row[[4, 3]]
    with pytest.raises(AssertionError, match="wrong position"):
        running.worker.forward(running.scheduler.get_next_batch_to_run())


def test_a_row_that_leaves_the_trees_slots_is_found(running) -> None:
    running.kv.pool.req_to_token[running.pair[0].row, 5] = 4000
    with pytest.raises(AssertionError, match="tree's slots"):
        running.scheduler.check()


def test_a_lost_slot_is_found(running) -> None:
    running.kv.allocator.alloc_pages(1)
    with pytest.raises(AssertionError, match="lost or has two owners"):
        running.scheduler.check()


def test_a_slot_with_two_owners_is_found(running) -> None:
    req = running.pair[0]
    running.kv.allocator.free(running.kv.pool.req_to_token[req.row, 21:22])
    with pytest.raises(AssertionError, match="two owners"):
        running.scheduler.check()


def test_a_missing_lock_is_found(running) -> None:
    running.kv.tree_cache.unlock(running.pair[0].last_node)
    with pytest.raises(AssertionError, match="locks"):
        running.scheduler.check()


def test_a_request_that_nobody_runs_is_found(running) -> None:
    running.scheduler.running_batch.reqs = running.scheduler.running_batch.reqs[:1]
    with pytest.raises(AssertionError, match="nobody runs"):
        running.scheduler.check()


def test_arrays_that_disagree_with_their_requests_are_found(running) -> None:
    running.scheduler.running_batch.seq_lens = running.scheduler.running_batch.seq_lens + np.int64(1)
    with pytest.raises(AssertionError, match="length differs"):
        running.scheduler.check()
