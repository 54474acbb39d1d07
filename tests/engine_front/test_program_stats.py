"""What an engine tells of the programs that it ran."""

from __future__ import annotations

from pathlib import Path

import ramify


@ramify.function
def two_steps(s, word):
    s += "The same long beginning of every prompt, then " + word
    s += ramify.gen("first", max_tokens=4, ignore_eos=True)
    s += " and " + ramify.gen("second", max_tokens=3, ignore_eos=True)


def test_each_program_is_counted_by_itself(model_folder: Path) -> None:
    with ramify.Engine(str(model_folder), dtype="float32", max_total_tokens=2000) as engine:
        assert engine.program_stats() == {}
        engine.generate("of no program", max_tokens=2)
        results = [two_steps.run(word, backend=engine) for word in ("one", "two")]
        counts = list(engine.program_stats().values())
    assert len(counts) == 2
    for count, result in zip(counts, results, strict=True):
        assert (count.requests, count.open_requests) == (2, 0)
        assert count.prompt_tokens == result.usage.prompt_tokens
        assert count.cached_tokens == result.usage.cached_tokens
        assert count.completion_tokens == count.critical_path_tokens == 7
        assert count.seconds > 0
    assert counts[0].cached_tokens < counts[1].cached_tokens  # the second one finds the beginning
