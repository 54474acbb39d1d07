"""A small run of benchmarks/hit_rate.py: achieved hit rates equal the optimum where the cache is large enough."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
MODULES = ("token_programs", "token_workloads", "optimum", "replay", "hit_rate")
SCALE = 0.15


@pytest.fixture(scope="module")
def bench() -> dict[str, ModuleType]:
    """The benchmark's modules, which import each other by plain names."""
    sys.path.append(str(BENCHMARKS))
    try:
        return {name: importlib.import_module(name) for name in MODULES}
    finally:
        sys.path.remove(str(BENCHMARKS))
        for name in MODULES:
            sys.modules.pop(name, None)


def workload(bench: dict[str, ModuleType], index: int):
    return bench["token_workloads"].all_workloads(SCALE)[index]


def token_trie_optimum(work) -> int:
    """The most tokens that can be cached, counted token by token: a second opinion on `optimum`.

    Every position of every prompt is a node of a trie; a node is computed by the first prompt that has it unless an
    answer's decoding leaves it behind.
    """
    calls = sorted((call for program in work.programs for call in program), key=lambda call: call.prompt_len)
    ids = [[text.number for text in call.prompt for _ in range(text.length)] for call in calls]
    known: set[int] = set()
    for call, prompt in zip(calls, ids, strict=True):
        decoded = [call.output.number] * (call.output.length - 1)
        known.update(node for node in path(prompt + decoded)[len(prompt) :])
    cached = 0
    for call, prompt in zip(calls, ids, strict=True):
        nodes = path(prompt)
        usable = len(prompt) - (call.prompt[-1].length + 1 if call.is_scored else 1)
        cached += next((at for at in range(usable) if nodes[at] not in known), usable)
        known.update(nodes[: len(prompt) - call.is_scored])
    return cached


def path(tokens: list[int]) -> list[int]:
    """A hash of every prefix."""
    nodes, node = [], 0
    for token in tokens:
        node = hash((node, token))
        nodes.append(node)
    return nodes


@pytest.mark.parametrize("index", range(13))
def test_a_large_cache_achieves_the_optimum(index: int, bench) -> None:
    work = workload(bench, index)
    best, sizes = bench["optimum"].optimum(work), bench["hit_rate"].cache_sizes(work)
    for setting in bench["hit_rate"].SETTINGS[3:]:
        outcome = bench["replay"].Replay(work, setting, sizes["large"]).run()
        assert (outcome.prompt_tokens, outcome.cached_tokens) == (best.prompt_tokens, best.cached_tokens)
        assert outcome.hit_rate == best.hit_rate


@pytest.mark.parametrize("index", range(13))
def test_the_optimum_is_what_counting_token_by_token_gives(index: int, bench) -> None:
    work = workload(bench, index)
    assert bench["optimum"].optimum(work).cached_tokens == token_trie_optimum(work)


@pytest.mark.parametrize("index", [4, 5, 7])
def test_no_setting_beats_the_optimum_and_every_ability_holds_its_invariants(index: int, bench) -> None:
    """With a small cache every invariant is checked after every step, in each setting."""
    work = bench["token_workloads"].all_workloads(0.05)[index]
    best, size = bench["optimum"].optimum(work), bench["hit_rate"].cache_sizes(work)["small"]
    for setting in bench["hit_rate"].SETTINGS:
        outcome = bench["replay"].Replay(work, setting, size, is_checked=True).run()
        assert outcome.prompt_tokens == best.prompt_tokens
        assert (outcome.cached_tokens == 0) if not setting.radix_cache else (outcome.cached_tokens > 0)
        assert outcome.cached_tokens <= best.cached_tokens


def test_what_programs_say_pays_when_the_cache_is_small(bench) -> None:
    """JSON field by field: without a program's age, documents in turn evict each other."""
    work = bench["token_workloads"].json_fields(1.0)
    size = bench["hit_rate"].cache_sizes(work)["small"]
    plain, aged, keeping = (
        bench["replay"].Replay(work, setting, size).run().hit_rate for setting in bench["hit_rate"].SETTINGS[3:]
    )
    assert plain < 0.5 < 0.8 < aged < keeping < bench["optimum"].optimum(work).hit_rate


def test_the_page_is_the_same_every_time(bench) -> None:
    work = bench["token_workloads"].short_turns(0.2)
    pages = [bench["hit_rate"].to_markdown([bench["hit_rate"].measure(work)]) for _ in range(2)]
    assert pages[0] == pages[1]
    assert "| Multi-turn, short |" in pages[0] and "59." in pages[0]
