"""The sampler against a naive one row at a time, its distributions, its logprobs and its failures."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
import torch

from ramify.backend.api import TokenLogprob
from ramify.backend.engine.batch import BatchResult, ScheduleBatch
from ramify.backend.engine.forward_batch import Logits
from ramify.backend.engine.req import Req
from ramify.backend.engine.sampler import Sampler
from ramify.backend.engine.sampling_table import SamplingTable, TokenCounts
from ramify.backend.engine.vocabulary import Vocabulary
from ramify.lang.errors import DeadEndError, RequestError
from ramify.lang.sampling import Sampling

SMALL = 50


def vocabulary(size: int) -> Vocabulary:
    return Vocabulary(tuple(f"t{i} ".encode() for i in range(size)), eos_ids=frozenset({1}))


class Bans:
    """A matcher that forbids some tokens."""

    can_stop = is_terminated = False

    def __init__(self, legal: set[int], size: int) -> None:
        self.legal, self.size = legal, size

    def fill_mask(self, row: Any) -> None:
        if not self.legal:
            raise DeadEndError("nothing fits")
        bits = np.zeros(len(row) * 32, dtype=np.uint8)
        bits[list(self.legal)] = 1
        row[:] = np.packbits(bits, bitorder="little").view(np.int32)


def make_req(row: int, sampling: Sampling, **facts: Any) -> Req:
    facts.setdefault("origin_input_ids", [3, 4])
    req = Req(rid=f"r{row}", sampling=sampling, stop_token_ids=frozenset({1}), **facts)
    req.row = row
    return req


def sample(reqs: list[Req], logits: torch.Tensor, size: int = SMALL) -> BatchResult:
    """One decode step of `reqs`; row i of `logits` is request i's."""
    sampler = Sampler(vocabulary(size), max_running=max(req.row for req in reqs))
    for req in reqs:
        sampler.open_row(req)
    return step(sampler, reqs, logits)


def step(sampler: Sampler, reqs: list[Req], logits: torch.Tensor) -> BatchResult:
    ones = np.ones(len(reqs), dtype=np.int64)
    batch = ScheduleBatch(
        reqs=reqs,
        rows=np.array([req.row for req in reqs]),
        prefix_lens=np.array([req.num_tokens - 1 for req in reqs]),
        extend_lens=ones,
        input_ids=ones,
        out_cache_loc=ones,
        samples=ones.astype(bool),
    )
    return sampler.sample(batch, Logits(logits.clone(), np.arange(len(reqs) + 1)))


# -- the naive reference: one row, plain Python


def mix(bits: int) -> int:
    mask = (1 << 64) - 1
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & mask
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & mask
    return bits ^ (bits >> 31)


def reference_uniform(seed: int, position: int) -> float:
    golden, mask = 0x9E3779B97F4A7C15, (1 << 64) - 1
    return (mix((mix((seed + golden) & mask) + (position + 1) * golden) & mask) >> 11) * 2.0**-53


def reference(req: Req, logits: torch.Tensor) -> tuple[int, bool]:
    """Return the token, and whether it is clear: not within rounding of another one's share of the draw."""
    sampling = req.sampling
    one = torch.float32
    row = logits.clone()
    for token in set(req.origin_input_ids) | set(req.output_ids):
        penalty = torch.tensor(sampling.repetition_penalty, dtype=one)
        row[token] = row[token] / penalty if row[token] > 0 else row[token] * penalty
    for token in set(req.output_ids):
        count = req.output_ids.count(token)
        row[token] -= torch.tensor(sampling.frequency_penalty, dtype=one) * count + sampling.presence_penalty
    for token, bias in sampling.logit_bias:
        row[token] += bias
    if len(req.output_ids) < sampling.min_tokens:
        for token in req.stop_token_ids:
            row[token] = -math.inf
    if req.matcher is not None:
        for token in range(len(row)):
            if token not in req.matcher.legal:  # type: ignore[attr-defined]
                row[token] = -math.inf
    if sampling.is_greedy:
        return int(row.argmax()), True
    row = row / torch.tensor(sampling.temperature, dtype=one)
    weights = torch.exp(row - row.max()).double().tolist()
    order = sorted(range(len(weights)), key=lambda token: -weights[token])
    kept = [token for token in order if weights[token] > 0]
    if 0 < sampling.top_k < len(kept):
        kept = [token for token in kept if weights[token] >= weights[kept[sampling.top_k - 1]]]
    clear = True
    if sampling.top_p < 1:
        total, mass, last = math.fsum(weights[token] for token in kept), 0.0, 0
        for last, token in enumerate(kept):  # noqa: B007 - the place it stops at is the result
            mass += weights[token]
            clear &= abs(mass - sampling.top_p * total) > 1e-6 * total
            if mass >= sampling.top_p * total:
                break
        kept = [token for token in kept if weights[token] >= weights[kept[last]]]
    kept = [token for token in kept if weights[token] >= np.float32(sampling.min_p)]
    target = reference_uniform(sampling.seed or 0, len(req.output_ids)) * math.fsum(weights[token] for token in kept)
    mass, total = 0.0, math.fsum(weights[token] for token in kept)
    for token in sorted(kept):
        mass += weights[token]
        clear &= abs(mass - target) > 1e-6 * total
        if mass > target:
            return token, clear
    return sorted(kept)[-1], clear


def random_sampling(rng: random.Random, size: int) -> Sampling:
    def maybe(value: Any, default: Any) -> Any:
        return value if rng.random() < 0.4 else default

    return Sampling(
        max_tokens=64,
        temperature=rng.choice([0.0, 0.3, 1.0, 1.0, 2.5]),
        top_k=maybe(rng.choice([1, 2, 5, size // 2, size, 2 * size]), 0),
        top_p=maybe(rng.choice([0.01, 0.5, 0.9, 0.999]), 1.0),
        min_p=maybe(rng.choice([0.01, 0.2, 1.0]), 0.0),
        repetition_penalty=maybe(rng.choice([0.7, 1.5]), 1.0),
        frequency_penalty=maybe(rng.choice([-1.0, 0.8]), 0.0),
        presence_penalty=maybe(rng.choice([-0.5, 1.5]), 0.0),
        logit_bias=maybe(((2, 5.0), (7, -100.0)), ()),
        min_tokens=maybe(6, 0),
        seed=rng.getrandbits(64),
    )


def random_batch(rng: random.Random, size: int, num: int) -> list[Req]:
    reqs = []
    for row in range(1, num + 1):
        req = make_req(row, random_sampling(rng, size), origin_input_ids=[rng.randrange(size) for _ in range(5)])
        req.output_ids = [rng.randrange(size) for _ in range(rng.randrange(8))]
        if rng.random() < 0.3:
            req.matcher = Bans(set(rng.sample(range(size), 10)) | {2}, size)
        reqs.append(req)
    return reqs


@pytest.mark.parametrize("seed", range(30))
def test_every_mix_of_parameters_equals_the_naive_sampler(seed: int) -> None:
    rng = random.Random(seed)
    reqs = random_batch(rng, SMALL, 64)
    torch.manual_seed(seed)
    logits = torch.randn(64, SMALL) * rng.choice([0.5, 3.0])
    if seed % 3 == 0:
        logits = logits.round()  # many ties
    result = sample(reqs, logits)
    assert not result.errors
    num_clear = 0
    for req, row, token in zip(reqs, logits, result.next_token_ids.tolist(), strict=True):
        expected, clear = reference(req, row)
        num_clear += clear
        if clear:
            assert token == expected, req.sampling
    assert num_clear > 55


@pytest.mark.parametrize("spread", [0.05, 1.0, 6.0])
def test_wide_vocabularies_take_every_head(spread: float) -> None:
    """Flat distributions fall through both heads to the full sort; peaked ones stay in the first."""
    size = 40_000
    rng = random.Random(1)
    torch.manual_seed(2)
    logits = torch.randn(12, size) * spread
    reqs = [
        make_req(row, Sampling(top_k=k, top_p=p, seed=rng.getrandbits(64)))
        for row, (k, p) in enumerate([(k, p) for k in (0, 10, 64, 900, 3000) for p in (1.0, 0.3, 0.95)][:12], start=1)
    ]
    result = sample(reqs, logits, size)
    for req, row, token in zip(reqs, logits, result.next_token_ids.tolist(), strict=True):
        expected, clear = reference(req, row)
        assert token == expected or not clear, req.sampling


def test_a_row_alone_and_among_others_gets_the_same() -> None:
    rng = random.Random(7)
    torch.manual_seed(7)
    size = 3000
    reqs = random_batch(rng, size, 24)
    logits = torch.randn(24, size) * 2
    together = sample(reqs, logits, size).next_token_ids
    backwards = sample(reqs[::-1], logits.flip(0), size).next_token_ids[::-1]
    alone = [int(sample([req], logits[i : i + 1], size).next_token_ids[0]) for i, req in enumerate(reqs)]
    assert together.tolist() == alone == backwards.tolist()


def test_uniforms_are_those_of_the_reference() -> None:
    table = SamplingTable(3)
    for row, seed in ((1, 0), (2, -5)):
        table.open_row(make_req(row, Sampling(seed=seed)))
    drawn = table.uniforms(np.array([1, 2]), np.array([0, 9]))
    assert drawn.tolist() == [reference_uniform(0, 0), reference_uniform(-5 % 2**64, 9)]


def test_a_rebuilt_row_has_the_penalties_of_its_tokens() -> None:
    """As after retraction: a sampler that has seen every step and one that opens the row late agree."""
    sampling = Sampling(temperature=0, frequency_penalty=1.5, presence_penalty=0.5, repetition_penalty=1.3)
    torch.manual_seed(0)
    req = make_req(1, sampling)
    sampler = Sampler(vocabulary(SMALL), max_running=1)
    sampler.open_row(req)
    for _ in range(30):
        logits = torch.randn(1, SMALL) * 0.1 + torch.linspace(0, 1, SMALL)
        token = int(step(sampler, [req], logits).next_token_ids[0])
        assert token == int(sample([req], logits).next_token_ids[0]) == reference(req, logits[0])[0]
        req.output_ids.append(token)
    assert len(set(req.output_ids)) > 5


def test_token_counts_grow() -> None:
    counts = TokenCounts([5, 5, 6])
    output = [i % 200 for i in range(1000)]
    for end in range(0, 1001, 7):
        counts.catch_up(output[:end])
    counts.catch_up(output)
    found = dict(zip(counts.ids.tolist(), counts.counts.tolist(), strict=True))
    assert found == dict.fromkeys(range(200), 5.0)


def test_logprobs_are_of_the_raw_logits() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, SMALL)
    reqs = [
        make_req(1, Sampling(temperature=0, logprobs=0)),
        make_req(2, Sampling(temperature=0, logit_bias=((9, 100.0),), logprobs=3)),
        make_req(3, Sampling(temperature=0)),
    ]
    result = sample(reqs, logits)
    assert result.logprobs is not None and result.logprobs[2] is None
    table = torch.log_softmax(logits, -1)
    first, second = result.logprobs[0], result.logprobs[1]
    best = int(logits[0].argmax())
    assert first == TokenLogprob(best, pytest.approx(table[0].max().item(), abs=1e-6), f"t{best} ")
    assert second is not None and second.token_id == 9 and second.logprob == pytest.approx(table[1, 9].item(), abs=1e-6)
    assert [i for i, _ in second.top] == table[1].topk(3).indices.tolist()


def chunk(req: Req, start: int, end: int, size: int, *, samples: bool) -> tuple[ScheduleBatch, Logits, torch.Tensor]:
    """One prefill chunk [start, end) of `req`, with logits for the positions that the contract asks for."""
    everything = torch.randn(64, size, generator=torch.Generator().manual_seed(3))
    assert req.logprob_start_len is not None
    first = min(max(start, req.logprob_start_len - 1), end - samples)
    batch = ScheduleBatch(
        reqs=[req],
        rows=np.array([req.row]),
        prefix_lens=np.array([start]),
        extend_lens=np.array([end - start]),
        input_ids=np.zeros(end - start, dtype=np.int64),
        out_cache_loc=np.zeros(end - start, dtype=np.int64),
        samples=np.array([samples]),
        num_prefill=1,
    )
    return batch, Logits(everything[first:end].clone(), np.array([0, max(0, end - first)])), everything


@pytest.mark.parametrize("start", [0, 1, 4, 9])
@pytest.mark.parametrize("cut", [1, 3, 10])
def test_prompt_logprobs_do_not_depend_on_chunks(start: int, cut: int) -> None:
    size, prompt = 30, list(range(5, 15))
    req = make_req(1, Sampling(temperature=0, prompt_logprobs=2), origin_input_ids=prompt, logprob_start_len=start)
    sampler = Sampler(vocabulary(size), max_running=1)
    sampler.open_row(req)
    entries: list[TokenLogprob] = []
    for begin in range(0, len(prompt), cut):
        end = min(begin + cut, len(prompt))
        batch, logits, everything = chunk(req, begin, end, size, samples=end == len(prompt))
        result = sampler.sample(batch, logits)
        entries += result.input_logprobs[0]
    assert result.next_token_ids.tolist() == [int(everything[len(prompt) - 1].argmax())]
    table = torch.log_softmax(everything, -1)
    assert [entry.token_id for entry in entries] == prompt[start:]
    for position, entry in enumerate(entries, start=start):
        if position == 0:
            assert entry.logprob is None and entry.top == ()
        else:
            assert entry.logprob == pytest.approx(table[position - 1, prompt[position]].item(), abs=1e-6)
            assert [i for i, _ in entry.top] == table[position - 1].topk(2).indices.tolist()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_row_that_is_not_finite_fails_alone(bad: float, temperature: float) -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, SMALL)
    logits[1, 7] = bad
    reqs = [make_req(row, Sampling(temperature=temperature, seed=row, logprobs=1)) for row in (1, 2, 3)]
    result = sample(reqs, logits)
    assert set(result.errors) == {1} and isinstance(result.errors[1], RequestError)
    assert result.next_token_ids[1] == -1
    alone = sample([reqs[0], reqs[2]], logits[[0, 2]])
    assert result.next_token_ids[[0, 2]].tolist() == alone.next_token_ids.tolist()


@pytest.mark.parametrize("min_tokens", [0, 1])
@pytest.mark.parametrize("can_stop", [True, False])
def test_what_the_mask_forbids_ends_a_text_that_may_end(can_stop: bool, min_tokens: int) -> None:
    """Tokens: 0 begins something else, 1 ends, 2 and 3 lengthen the value."""
    matcher = Bans({1, 2, 3}, 4)
    matcher.can_stop = can_stop
    probabilities = torch.tensor([[0.5, 0.05, 0.3, 0.15]])
    greedy = make_req(1, Sampling(temperature=0, min_tokens=min_tokens), matcher=matcher)
    ends = can_stop and min_tokens == 0
    assert sample([greedy], probabilities.log(), 4).next_token_ids.tolist() == [1 if ends else 2]
    share = 0.55 if ends else 0.0 if min_tokens else 0.05 / 0.5
    tokens = []
    for seed in range(2000):
        req = make_req(1, Sampling(seed=seed, min_tokens=min_tokens), matcher=matcher)
        tokens += sample([req], probabilities.log(), 4).next_token_ids.tolist()
    assert set(tokens) <= {1, 2, 3}
    assert abs(tokens.count(1) / len(tokens) - share) < 0.04


def test_dead_ends_fail_alone() -> None:
    logits = torch.zeros(4, 3)
    reqs = [
        make_req(1, Sampling(seed=0), matcher=Bans(set(), 3)),
        make_req(2, Sampling(seed=0, min_tokens=2), matcher=Bans({1}, 3)),
        make_req(3, Sampling(seed=0), matcher=Bans({2}, 3)),
        make_req(4, Sampling(seed=0, logit_bias=((0, -math.inf), (1, -math.inf), (2, -math.inf)))),
    ]
    result = sample(reqs, logits, 3)
    assert set(result.errors) == {0, 1, 3}
    assert all(isinstance(error, DeadEndError) for error in result.errors.values())
    assert "min_tokens" in str(result.errors[1])
    assert result.next_token_ids.tolist() == [-1, -1, 2, -1]


def test_middle_chunks_give_no_token() -> None:
    reqs = [make_req(1, Sampling(seed=0)), make_req(2, Sampling(temperature=0))]
    sampler = Sampler(vocabulary(SMALL), max_running=2)
    for req in reqs:
        sampler.open_row(req)
    batch = ScheduleBatch(
        reqs=reqs,
        rows=np.array([1, 2]),
        prefix_lens=np.array([0, 1]),
        extend_lens=np.array([1, 1]),
        input_ids=np.zeros(2, dtype=np.int64),
        out_cache_loc=np.zeros(2, dtype=np.int64),
        samples=np.array([False, True]),
        num_prefill=1,
    )
    logits = torch.randn(1, SMALL)
    result = sampler.sample(batch, Logits(logits, np.array([0, 0, 1])))
    assert result.next_token_ids.tolist() == [-1, int(logits.argmax())]


def test_a_closed_row_forgets() -> None:
    sampler = Sampler(vocabulary(SMALL), max_running=1)
    sampler.open_row(make_req(1, Sampling(temperature=0, logit_bias=((3, 100.0),), frequency_penalty=1.0)))
    sampler.close_row(1)
    logits = torch.arange(SMALL, dtype=torch.float32).unsqueeze(0)
    plain = make_req(1, Sampling(temperature=0))
    sampler.open_row(plain)
    assert step(sampler, [plain], logits).next_token_ids.tolist() == [SMALL - 1]
