"""Cached-token counts equal the optimum, which a plain trie over the prompts gives independently of the engine."""

from __future__ import annotations

import random

import pytest

from ramify.backend.engine.policy import AgedLongestPrefixMatch, FirstComeFirstServed


def optimal_computed(prompts) -> int:
    """Fewest tokens any schedule can compute: each distinct prefix once; the last token of every prompt always.

    Taken in order of length, so that a prompt that another one extends is computed first.
    """
    trie: dict = {}
    computed = 0
    for prompt in sorted(prompts, key=len):
        node, shared = trie, 0
        for position, token in enumerate(prompt):
            shared += token in node and shared == position
            node = node.setdefault(token, {})
        computed += len(prompt) - min(shared, len(prompt) - 1)
    return computed


def tokens(rng: random.Random, count: int) -> list[int]:
    return [rng.randrange(10_000) for _ in range(count)]


def fork_tree(rng: random.Random, branching: int, depth: int, length: int) -> list[list[int]]:
    prompts = [tokens(rng, length)]
    for _ in range(depth):
        prompts = [prompt + tokens(rng, length) for prompt in prompts for _ in range(branching)]
    return prompts


def workload(name: str, rng: random.Random) -> list[list[int]]:
    match name:
        case "shared":
            shared = tokens(rng, 512)
            return [shared + tokens(rng, 16) for _ in range(64)]
        case "fork":
            return fork_tree(rng, 8, 2, 40)
        case "equal":
            return [tokens(rng, 100)] * 20
        case "groups":
            prefixes = [tokens(rng, 120) for _ in range(10)]
            return [prefixes[number % 10] + tokens(rng, 12) for number in range(80)]
        case _:
            return [tokens(rng, 50) for _ in range(30)]


def check_counts(harness, reqs) -> None:
    harness.expect_oracle(reqs)
    stats = harness.scheduler.stats()
    assert stats.prompt_tokens == sum(len(req.origin_input_ids) for req in reqs)
    assert stats.cached_tokens == sum(req.cached_tokens for req in reqs)
    assert stats.cached_tokens + stats.computed_tokens == stats.prompt_tokens


@pytest.mark.parametrize("name", ["shared", "fork", "equal", "groups", "unrelated"])
@pytest.mark.parametrize("chunk", [7, 64, 512, 4096])
def test_a_burst_computes_every_distinct_token_once(name: str, chunk: int, make_harness) -> None:
    rng = random.Random(7)
    prompts = workload(name, rng)
    rng.shuffle(prompts)
    if chunk == 7:
        prompts = prompts[:24]  # many steps, each of them checked
    harness = make_harness(chunk=chunk, max_total_tokens=9_000, max_running=8, max_context=600)
    reqs = [harness.req(prompt, 2) for prompt in prompts]
    harness.run(*reqs)
    check_counts(harness, reqs)
    assert harness.scheduler.stats().computed_tokens == optimal_computed(prompts)


def test_sixty_four_behind_one_prefix_in_two_forwards(make_harness) -> None:
    """Rows of one forward share what an earlier row of it computes: nobody waits for the prefix."""
    rng = random.Random(1)
    prompts = workload("shared", rng)
    harness = make_harness(chunk=512 + 64 * 16, max_running=64, max_context=600)
    reqs = [harness.req(prompt, 1) for prompt in prompts]
    harness.run(*reqs)
    assert harness.worker.batches == [(64, 64, 512 + 64 * 16)]
    assert reqs[0].cached_tokens == 0 and all(req.cached_tokens == 512 for req in reqs[1:])


def test_arrivals_over_time_find_what_is_cached(make_harness) -> None:
    rng = random.Random(2)
    prompts = workload("groups", rng)
    harness = make_harness(chunk=100, max_total_tokens=20_000)
    reqs = [harness.req(prompt, 5) for prompt in prompts]
    for req in reqs:
        harness.submit(req)
        harness.step()
    harness.run()
    check_counts(harness, reqs)
    assert harness.scheduler.stats().computed_tokens == optimal_computed(prompts)


def test_a_conversation_reuses_its_generated_tokens(make_harness) -> None:
    harness = make_harness()
    first = harness.req(range(10), 6)
    harness.run(first)
    second = harness.req([*range(10), *first.output_ids, 3, 4], 2)
    harness.run(second)
    assert second.cached_tokens == 10 + 6 - 1  # the last sampled token has no KV yet


@pytest.mark.parametrize("page_size", [1, 4])
def test_a_chunked_prompt_takes_over_what_others_cached_meanwhile(page_size: int, make_harness) -> None:
    """The rest of the long prompt is what the other request generates while it is computed in small chunks."""
    harness = make_harness(chunk=2, page_size=page_size)
    first = harness.req(range(8), 24)
    harness.submit(first)
    while len(first.output_ids) < 20:
        harness.step()
    expected = harness.oracle_output(list(range(8)), 24)
    long = harness.req([*range(8), *expected, *range(100, 120)], 2)
    harness.submit(long)
    while not first.is_done:
        harness.step()
    computed = long.prefix_len
    assert harness.scheduler.chunked_req is long and computed < 28
    harness.run()
    assert long.cached_tokens == 8 + (8 + 23) // page_size * page_size - computed
    check_counts(harness, [first, long])


@pytest.mark.parametrize("page_size", [4, 16])
def test_pages_cost_at_most_their_rounding(page_size: int, make_harness) -> None:
    rng = random.Random(3)
    prompts = workload("shared", rng)
    harness = make_harness(page_size=page_size, max_total_tokens=8000, max_context=600, chunk=200)
    reqs = [harness.req(prompt, 1) for prompt in prompts]
    harness.run(*reqs)
    check_counts(harness, reqs)
    assert all(req.cached_tokens == 512 for req in reqs[1:])  # 512 is a whole number of pages


def test_a_prompt_cached_in_whole_pages_recomputes_one_token_only(make_harness) -> None:
    harness = make_harness(page_size=16)
    for expected in (0, 31):
        req = harness.req(range(32), 3)
        harness.run(req)
        assert req.cached_tokens == expected


def test_choices_share_everything_before_the_first_token_that_is_scored(make_harness) -> None:
    """k choices of l_i tokens behind P prompt tokens: P - 1 tokens once, then l_i each (the last prompt token predicts
    the first token of the choice, the last token of the choice predicts nothing that is asked for).
    """
    rng = random.Random(4)
    prompt = tokens(rng, 200)
    choices = [tokens(rng, length) for length in (1, 2, 3, 1)]
    harness = make_harness(chunk=4096)
    reqs = [harness.req(prompt + choice, 0, logprob_start_len=200) for choice in choices]
    harness.run(*reqs)
    assert harness.scheduler.stats().computed_tokens == 199 + sum(len(choice) for choice in choices)
    assert len(harness.worker.batches) == 1
    for req in reqs:
        span = range(200, len(req.origin_input_ids))
        assert [entry.logprob for entry in req.input_logprobs] == [
            harness.oracle_logprob(req.origin_input_ids, position) for position in span
        ]


def interleaved_groups(rng: random.Random) -> list[list[int]]:
    prefixes = [tokens(rng, 100) for _ in range(8)]
    return [prefixes[number % 8] + tokens(rng, 5) for number in range(64)]


def computed_with(policy, make_harness) -> int:
    """Tokens computed for eight interleaved groups when memory holds about two of their prefixes."""
    prompts = interleaved_groups(random.Random(5))
    harness = make_harness(policy=policy, max_total_tokens=260, max_running=4, chunk=128)
    reqs = [harness.req(prompt, 4) for prompt in prompts]
    harness.run(*reqs)
    harness.expect_oracle(reqs)
    return harness.scheduler.stats().computed_tokens


def test_cache_aware_order_is_optimal_when_memory_is_short(make_harness) -> None:
    best = optimal_computed(interleaved_groups(random.Random(5)))
    assert computed_with(AgedLongestPrefixMatch(), make_harness) == best
    assert computed_with(FirstComeFirstServed(), make_harness) > 2 * best


def test_without_a_cache_everything_is_computed(make_harness) -> None:
    prompts = workload("shared", random.Random(6))[:5]
    harness = make_harness(radix_cache=False, max_context=600)
    reqs = [harness.req(prompt, 1) for prompt in prompts]
    harness.run(*reqs)
    assert harness.scheduler.stats().computed_tokens == 5 * 528
    assert all(req.cached_tokens == 0 for req in reqs)


def test_namespaces_do_not_share(make_harness) -> None:
    harness = make_harness()
    reqs = [harness.req(range(50), 1, cache_salt=salt) for salt in ("a", "b", "a")]
    harness.run(*reqs)
    assert [req.cached_tokens for req in reqs] == [0, 0, 49]
