"""Rows and slots: what is handed out is free, contiguous where cheap, and never handed out or freed twice."""

from __future__ import annotations

import random

import numpy as np
import pytest

from ramify.backend.engine.memory import ReqToTokenPool, TokenToKVPoolAllocator


def test_rows_start_at_one_and_are_all_handed_out() -> None:
    pool = ReqToTokenPool(3, 8)
    assert pool.req_to_token.shape == (4, 8) and pool.req_to_token.dtype == np.int32
    rows = {pool.alloc() for _ in range(3)}
    assert rows == {1, 2, 3} and pool.num_free == 0
    pool.check(rows)
    pool.free(2)
    assert pool.alloc() == 2
    with pytest.raises(AssertionError):
        pool.check({1, 2})
    with pytest.raises(AssertionError):
        pool.free(0)


def test_a_row_freed_twice_is_found() -> None:
    pool = ReqToTokenPool(2, 8)
    row = pool.alloc()
    pool.free(row)
    with pytest.raises(AssertionError, match="twice"):
        pool.free(row)


def test_slots_are_contiguous_and_never_the_dummy() -> None:
    allocator = TokenToKVPoolAllocator(10)
    assert (allocator.total, allocator.num_slots) == (10, 11)
    first = allocator.extend(0, 0, 4)
    assert first.tolist() == [1, 2, 3, 4]
    allocator.free(first[[1, 0]])
    assert sorted(allocator.alloc_pages(8).tolist()) == [1, 2, 5, 6, 7, 8, 9, 10]
    assert allocator.available == 0
    with pytest.raises(AssertionError, match="more pages"):
        allocator.alloc_pages(1)


def test_freed_slots_come_back_in_order() -> None:
    allocator = TokenToKVPoolAllocator(6)
    taken = allocator.alloc_pages(6)
    for slot in (5, 3, 4, 2):
        allocator.free(taken[taken == slot])
    assert allocator.alloc_pages(4).tolist() == [2, 3, 4, 5]


@pytest.mark.parametrize("slot", [0, 1])
def test_a_slot_freed_twice_or_the_dummy_is_found(slot: int) -> None:
    allocator = TokenToKVPoolAllocator(4)
    allocator.alloc_pages(2)
    if slot:
        allocator.free(np.array([1]))
    with pytest.raises(AssertionError, match="freed twice"):
        allocator.free(np.array([slot]))


def test_extending_fills_the_last_page_first() -> None:
    allocator = TokenToKVPoolAllocator(16, page_size=4)
    assert (allocator.total, allocator.num_slots) == (16, 20)
    first = allocator.extend(0, 0, 6)
    assert first.tolist() == [4, 5, 6, 7, 8, 9]
    assert allocator.extend(int(first[-1]), 6, 7).tolist() == [10]
    assert allocator.extend(10, 7, 10).tolist() == [11, 12, 13]
    assert (
        allocator.tokens_needed(6, 8) == 0 and allocator.tokens_needed(6, 9) == 4 and allocator.tokens_needed(8, 8) == 0
    )
    allocator.free(np.arange(4, 14))
    allocator.check()
    assert allocator.available == 16


def test_decode_takes_a_page_only_at_a_boundary() -> None:
    allocator = TokenToKVPoolAllocator(16, page_size=4)
    allocator.alloc_pages(2)
    positions, last = np.array([5, 8]), np.array([8, 7])
    assert allocator.decode_tokens_needed(positions) == 4
    assert allocator.decode(last, positions).tolist() == [9, 12]
    assert last.tolist() == [8, 7]  # the caller's array is not changed


def test_memory_that_is_no_multiple_of_the_page_is_rounded_down() -> None:
    assert TokenToKVPoolAllocator(10, page_size=4).total == 8


@pytest.mark.parametrize("page_size", [1, 4])
def test_random_use_never_hands_out_a_slot_twice(page_size: int) -> None:
    rng = random.Random(page_size)
    allocator = TokenToKVPoolAllocator(64, page_size)
    sequences: list[list[int]] = []
    for _ in range(500):
        if sequences and (rng.random() < 0.4 or allocator.available < 16):
            allocator.free(np.array(sequences.pop(rng.randrange(len(sequences)))))
        elif sequences and rng.random() < 0.5:
            sequence = rng.choice(sequences)
            end = len(sequence) + rng.randint(1, 9)
            sequence += allocator.extend(sequence[-1], len(sequence), end).tolist()
        else:
            sequences.append(allocator.extend(0, 0, rng.randint(1, 9)).tolist())
        allocator.check()
        held = [slot for sequence in sequences for slot in sequence]
        assert len(held) == len(set(held)) and not set(held) & set(allocator.free_slots().tolist())
        pages = sum(-(-len(sequence) // page_size) for sequence in sequences)
        assert allocator.available == allocator.total - pages * page_size


def test_check_finds_planted_damage() -> None:
    allocator = TokenToKVPoolAllocator(8)
    allocator._released.append(np.array([1]))
    with pytest.raises(AssertionError, match="free twice"):
        allocator.check()
