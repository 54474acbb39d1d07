"""Achieved against optimal cache hit rate per workload: `python benchmarks/hit_rate.py`. No model, no clock.

Replays programs as token counts on the real scheduler, with three sizes of cache, adding one ability at a time. The
optimum is counted, not scheduled.
"""

from __future__ import annotations

import argparse
import platform
import statistics
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import ramify

from optimum import Optimum, distinct_tokens, optimum
from replay import MAX_RUNNING, Outcome, Replay, Setting
from token_programs import Program, TokenWorkload
from token_workloads import all_workloads

SETTINGS = (
    Setting("no cache", radix_cache=False),
    Setting("cache, FCFS", cache_aware=False, in_batch=False),
    Setting("cache-aware", in_batch=False),
    Setting("+ in-batch"),
    Setting("+ program age", gives_program=True),
    Setting("+ keep_prefix", gives_program=True, gives_keep=True),
)
SIZES = ("small", "working set", "large")
MANY = 16  # programs that a working set spans at least


@dataclass(frozen=True, slots=True)
class Result:
    """One workload: its optimum, and what each setting achieved, by size of cache and name of setting."""

    name: str
    best: Optimum
    sizes: dict[str, int]
    outcomes: dict[tuple[str, str], Outcome]


def cache_sizes(workload: TokenWorkload) -> dict[str, int]:
    """Tokens of a cache for what concurrent programs leave behind, of one of a third of that, of one for everything."""
    programs, window = workload.programs, max(workload.concurrency, MANY)
    longest = max(call.prompt_len + call.output.length for program in programs for call in program)
    active = max(_distinct(programs[start : start + window]) for start in range(0, len(programs), window))
    least = longest + longest // 8
    return {
        "small": max(active // 3, least),
        "working set": max(active, least),
        "large": _distinct(programs) + MAX_RUNNING * longest,
    }


def measure(workload: TokenWorkload) -> Result:
    """Replay one workload with every setting and size."""
    sizes = cache_sizes(workload)
    outcomes = {
        (size, setting.name): Replay(workload, setting, sizes[size]).run() for size in SIZES for setting in SETTINGS
    }
    return Result(workload.name, optimum(workload), sizes, outcomes)


def to_markdown(results: list[Result]) -> str:
    """Return the page: a table for each size of cache, and what each ability is worth."""
    versions = ", ".join(
        f"{name} {version}"
        for name, version in (
            ("ramify", ramify.__version__),
            ("python", platform.python_version()),
            ("numpy", metadata.version("numpy")),
        )
    )
    parts = ["# Cache hit rate, achieved and optimal", "", versions, "", INTRODUCTION]
    for size in SIZES:
        parts += [f"## {size.capitalize()} cache", "", *_table(results, size), ""]
    parts += ["## What each ability is worth", "", *_summary(results), "", CONCLUSION]
    return "\n".join(parts)


def _table(results: list[Result], size: str) -> list[str]:
    lines = _head(["workload", "cache tokens", *(setting.name for setting in SETTINGS), "optimum"])
    for result in results:
        rates = [f"{result.outcomes[size, setting.name].hit_rate:.1%}" for setting in SETTINGS]
        lines.append(_row([result.name, f"{result.sizes[size]:,}", *rates, f"{result.best.hit_rate:.1%}"]))
    return lines


def _summary(results: list[Result]) -> list[str]:
    """Each setting over all workloads: share of the optimum, and the work and the time of a program."""
    columns = ("of optimum", "work", "program time")
    lines = _head(["setting", *(f"{size}: {column}" for size in SIZES for column in columns)])
    for setting in SETTINGS:
        cells = []
        for size in SIZES:
            pairs = [(r, r.outcomes[size, setting.name], r.outcomes[size, "+ in-batch"]) for r in results]
            cells += [
                f"{statistics.mean(outcome.cached_tokens / r.best.cached_tokens for r, outcome, _ in pairs):.1%}",
                f"{statistics.geometric_mean(outcome.work / usual.work for _, outcome, usual in pairs):.2f}",
                f"{statistics.geometric_mean(o.mean_program / usual.mean_program for _, o, usual in pairs):.2f}",
            ]
        lines.append(_row([setting.name, *cells]))
    return lines


def _head(names: list[str]) -> list[str]:
    return [_row(names), "|---" + "|---:" * (len(names) - 1) + "|"]


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _distinct(programs: tuple[Program, ...]) -> int:
    return distinct_tokens(call for program in programs for call in program)


INTRODUCTION = """\
Made by `python benchmarks/hit_rate.py`. Programs of the published workloads, as token counts, on the real scheduler
with a worker that has no model: a request is sent when those it depends on have ended, a fixed number of programs runs
at once, chunks of 512 tokens, at most 64 running requests. Hit rate: prompt tokens found in the cache when a request is
first admitted, of all prompt tokens. The optimum is a count over the prompts, not a schedule: each distinct prefix is
computed once, generated tokens never, and at least one token of each prompt. In depth-first order it can be had with a
cache as small as the longest request, one request at a time; so it bounds every size.

- *Working set*: what the programs that run at once leave behind. *Small*: a third of that. *Large*: everything.
- *cache-aware*: aged longest prefix first; a prefix is shared once it is computed. *+ in-batch*: from admission on.
- *+ program age*: requests say their program and are as old as it. *+ keep_prefix*: they say whether it goes on.
"""

CONCLUSION = """\
Work: tokens computed, plus 32 for each forward; program time: from a program's start to its end, in the same units.
Both relative to *+ in-batch*, as geometric means over the workloads.

Measured in the same way and left out, because over these workloads and mixtures of them hit rate, work and program time
were on average the same with and without, to half a percent: putting siblings of a fork together in line (their
program's age does), going first when few requests are still to come (ages are rarely equal, and what is near its end
has most of its prompt cached), and a message that a program has ended (one whose last request is not extended has).
"""


def main() -> None:
    """Replay everything and write the page."""
    parser = argparse.ArgumentParser(prog="python benchmarks/hit_rate.py", description=__doc__)
    parser.add_argument("--only", default="", metavar="TEXT", help="workloads whose name contains TEXT")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the number of items of each workload")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results", help="folder of the page")
    arguments = parser.parse_args()
    workloads = [work for work in all_workloads(arguments.scale) if arguments.only in work.name]
    page = to_markdown([measure(work) for work in workloads])
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "hit_rate.md").write_text(page)
    print(page)


if __name__ == "__main__":
    main()
