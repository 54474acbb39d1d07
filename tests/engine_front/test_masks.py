"""Masks filled beside the forward, and rows with few legal tokens: gathered, they give what masking them gives."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch

from ramify.backend.engine import masks
from ramify.backend.engine.batch import BatchResult, ScheduleBatch
from ramify.backend.engine.forward_batch import Logits
from ramify.backend.engine.masks import FEW, MaskFiller
from ramify.backend.engine.req import Req
from ramify.backend.engine.sampler import Sampler
from ramify.backend.engine.vocabulary import Vocabulary
from ramify.lang.errors import DeadEndError, PluginError
from ramify.lang.sampling import Sampling

LONG = 20_000
VOCABULARY = Vocabulary((b"x",) * LONG, eos_ids=frozenset({1, 2}))


class Legal:
    """A matcher that allows some tokens, or raises; it remembers the threads that asked."""

    is_terminated = False

    def __init__(self, tokens: Any, *, can_stop: bool = False, error: Exception | None = None) -> None:
        self.tokens, self.can_stop, self.error = tokens, can_stop, error
        self.threads: list[threading.Thread] = []

    def fill_mask(self, row: Any) -> None:
        self.threads.append(threading.current_thread())
        if self.error is not None:
            row[:] = 5
            raise self.error
        bits = np.zeros(len(row) * 32, dtype=np.bool_)
        bits[list(self.tokens)] = True
        row[:] = np.packbits(bits, bitorder="little").view(np.int32)


def random_matcher(rng: np.random.Generator) -> Legal:
    """From one token to a hundred to thousands to nearly all."""
    count = int(rng.choice([1, 2, 30, 256, 257, 3000, FEW, FEW + 1, 15_000]))
    can_stop = bool(rng.random() < 0.3)
    tokens = set(rng.choice(np.arange(3, LONG), count, replace=False).tolist())
    return Legal(tokens | ({1, 2} if can_stop else set()), can_stop=can_stop)


def random_sampling(rng: np.random.Generator) -> Sampling:
    return Sampling(
        seed=int(rng.integers(1 << 30)),
        temperature=float(rng.choice([0.0, 0.7, 1.0, 3.0])),
        top_k=int(rng.choice([0, 0, 1, 20])),
        top_p=float(rng.choice([1.0, 1.0, 0.9])),
        min_p=float(rng.choice([0.0, 0.0, 0.1])),
        logprobs=int(rng.choice([0, 3])) if rng.random() < 0.3 else None,
        logit_bias=tuple((int(token), 3.0) for token in sorted(set(rng.integers(3, LONG, 50).tolist()))),
    )


def random_rows(seed: int, count: int) -> tuple[list[Req], torch.Tensor]:
    """Requests, one in four of them free, and their logits."""
    rng = np.random.default_rng(seed)
    reqs = []
    for row in range(1, count + 1):
        matcher = random_matcher(rng) if row % 4 else None
        reqs.append(Req(f"r{row}", [3, 4], random_sampling(rng), stop_token_ids=frozenset({1, 2}), matcher=matcher))  # type: ignore[arg-type]
        reqs[-1].row = row
    return reqs, torch.from_numpy(rng.normal(scale=4.0, size=(count, LONG)).astype(np.float32))


def sample(reqs: list[Req], logits: torch.Tensor) -> BatchResult:
    sampler = Sampler(VOCABULARY, max_running=max(req.row for req in reqs))
    for req in reqs:
        sampler.open_row(req)
    return step(sampler, reqs, logits)


def step(sampler: Sampler, reqs: list[Req], logits: torch.Tensor) -> BatchResult:
    ones = np.ones(len(reqs), dtype=np.int64)
    rows = np.array([req.row for req in reqs])
    batch = ScheduleBatch(reqs, rows, ones, ones, ones, ones, ones.astype(bool))
    sampler.prepare(batch)
    return sampler.sample(batch, Logits(logits.clone(), np.arange(len(reqs) + 1)))


@pytest.mark.parametrize("seed", range(8))
def test_gathered_rows_give_what_masked_ones_give(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    reqs, logits = random_rows(seed, 24)
    gathered = sample(reqs, logits)
    monkeypatch.setattr(masks, "LONG_ROW", 1 << 60)
    plain = sample(reqs, logits)
    assert gathered.errors == plain.errors == {}
    assert gathered.next_token_ids.tolist() == plain.next_token_ids.tolist()
    assert gathered.logprobs == plain.logprobs
    for req, token in zip(reqs, gathered.next_token_ids.tolist(), strict=True):
        assert req.matcher is None or token in req.matcher.tokens  # type: ignore[attr-defined]


@pytest.mark.parametrize("seed", range(3))
def test_a_gathered_row_does_not_depend_on_its_neighbours(seed: int) -> None:
    reqs, logits = random_rows(seed, 12)
    together = sample(reqs, logits).next_token_ids.tolist()
    alone = [int(sample([req], logits[index : index + 1]).next_token_ids[0]) for index, req in enumerate(reqs)]
    assert together == alone


@pytest.mark.parametrize("long_row", [masks.LONG_ROW, 1 << 60], ids=["gathered", "masked"])
def test_the_end_gets_what_the_mask_forbids(long_row: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "LONG_ROW", long_row)
    logits = torch.zeros(1, LONG)
    logits[0, 7] = 8.0  # exp(8) against 20,000 others
    share = (LONG - 2 + 1) / (LONG - 1 + np.exp(8.0))
    ends = 0
    for seed in range(300):
        req = Req("r", [3], Sampling(seed=seed), stop_token_ids=frozenset({1, 2}), matcher=Legal({1, 7}, can_stop=True))  # type: ignore[arg-type]
        req.row = 1
        ends += int(sample([req], logits).next_token_ids[0]) == 1
    assert abs(ends / 300 - share) < 0.08


@pytest.mark.parametrize("legal", [{5}, {5, 9}, set(range(3, 9000))])
def test_what_fails_fails_alone(legal: set[int]) -> None:
    matchers = [
        Legal(legal),
        Legal((), error=DeadEndError("no way")),
        Legal((), error=ZeroDivisionError("planted")),
        None,
    ]
    reqs = [Req(f"r{row}", [3], Sampling(temperature=0), row=row, matcher=m) for row, m in enumerate(matchers, 1)]  # type: ignore[arg-type]
    logits = torch.zeros(4, LONG)
    logits[:, 5] = 1.0
    result = sample(reqs, logits)
    assert result.next_token_ids.tolist() == [5, -1, -1, 5]
    assert isinstance(result.errors[1], DeadEndError)
    assert isinstance(result.errors[2], PluginError) and "planted" in str(result.errors[2])
    assert isinstance(result.errors[2].__cause__, ZeroDivisionError)


def test_no_choice_is_no_dead_end_unless_it_is_forbidden() -> None:
    logits = torch.zeros(2, LONG)
    barred = Sampling(seed=1, logit_bias=((5, -np.inf),))
    reqs = [Req(f"r{row}", [3], s, row=row, matcher=Legal({5})) for row, s in ((1, Sampling(seed=1)), (2, barred))]  # type: ignore[arg-type]
    result = sample(reqs, logits)
    assert result.next_token_ids.tolist() == [5, -1] and isinstance(result.errors[1], DeadEndError)


def test_few_tokens_are_found_exactly() -> None:
    filler = MaskFiller(LONG, num_rows=1)
    for seed in range(30):
        matcher = random_matcher(np.random.default_rng(seed))
        filler.start([matcher], beside=False)  # type: ignore[list-item]
        few = filler.take().few[0]
        expected = sorted(matcher.tokens)
        assert (few is None and len(expected) > FEW) or few.tolist() == expected  # type: ignore[union-attr]


def test_masks_that_take_long_are_filled_in_a_thread_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for worth, beside, is_own in ((-1.0, True, True), (1e9, True, False), (-1.0, False, False)):
        monkeypatch.setattr(masks, "WORTH_A_THREAD", worth)
        filler = MaskFiller(LONG, num_rows=2)
        matchers = [Legal({5}), Legal({6, 7})]
        for _ in range(3):
            filler.start(matchers, beside=beside)  # type: ignore[arg-type]
            found = filler.take()
            assert [few.tolist() for few in found.few if few is not None] == [[5], [6, 7]]
        assert all((thread is not threading.current_thread()) == is_own for thread in matchers[0].threads)


def test_what_a_failed_forward_started_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next masks are written into the same memory."""
    monkeypatch.setattr(masks, "WORTH_A_THREAD", -1.0)
    gate = threading.Event()

    class Slow(Legal):
        def fill_mask(self, row: Any) -> None:
            assert gate.wait(10)
            super().fill_mask(row)

    filler = MaskFiller(LONG, num_rows=1)
    filler.start([Slow({9})], beside=True)  # type: ignore[list-item]
    threading.Timer(0.05, gate.set).start()
    filler.start([Legal({5})], beside=True)  # type: ignore[list-item]
    assert filler.take().few[0].tolist() == [5]  # type: ignore[union-attr]
