"""What scheduling costs without any model, and that it does not grow with the batch, the queue or the cache.

`python benchmarks/scheduling.py` writes a page. Times are of this process's own CPU time, the least of several rounds.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from pathlib import Path

from ramify.backend.engine.kv_manager import KVManager
from ramify.backend.engine.messages import Submit
from ramify.backend.engine.policy import AgedLongestPrefixMatch
from ramify.backend.engine.req import Req
from ramify.backend.engine.scheduler import Scheduler, SchedulerConfig
from ramify.lang.sampling import Sampling

from micro import radix_us
from replay import KnownAnswers
from report import machine

ROUNDS = 7
PROMPT_LEN = 32


def main() -> None:
    """Measure everything and write the page."""
    parser = argparse.ArgumentParser(prog="python benchmarks/scheduling.py", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results", help="folder of the page")
    parser.add_argument("--note", type=lambda text: {"note": text}, default={}, help="a remark for the page")
    arguments = parser.parse_args()
    facts = machine() | arguments.note
    lines = ["# Costs of scheduling", "", ", ".join(f"{name} {value}" for name, value in facts.items()), ""]
    lines += ["| microseconds | without hints | with program and keep_prefix |", "|---|---:|---:|"]
    for running in (32, 256, 2048):
        lines.append(
            _line(f"a step, per request, {running:,} running", lambda hints, n=running: step_us(n, hints=hints))
        )
    for waiting in (100, 1000, 10_000):
        lines.append(_line(f"a request, {waiting:,} waiting", lambda hints, n=waiting: request_us(n, hints=hints)))
    lines += ["", "| prefix tree of | match and insert of a 2,000-token prompt, microseconds |", "|---|---:|"]
    for tokens in (10_000, 100_000, 1_000_000):
        lines.append(f"| {tokens:,} tokens | {radix_us(tree_tokens=tokens, prompt_len=2000, rounds=300):.0f} |")
    page = "\n".join([*lines, ""])
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "scheduling.md").write_text(page)
    print(page)


def step_us(running: int, *, hints: bool) -> float:
    """Per running request and step: a burst of requests that all run at once and generate 64 tokens each."""
    scheduler = _scheduler(max_running=running, max_total_tokens=400 * running, chunk=PROMPT_LEN * running)
    return _least(lambda name: _drain(scheduler, _requests(name, running, 64, hints=hints))) / (64 * running)


def request_us(waiting: int, *, hints: bool) -> float:
    """Per request of one token each, in a burst of which 64 can run at once and whose cache is always full."""
    scheduler = _scheduler(max_running=64, max_total_tokens=8192, chunk=2048)
    return _least(lambda name: _drain(scheduler, _requests(name, waiting, 1, hints=hints))) / waiting


def _line(what: str, measure: Callable[[bool], float]) -> str:
    return f"| {what} | {measure(False):.1f} | {measure(True):.1f} |"


def _least(run: Callable[[str], float]) -> float:
    return min(run(f"round {number}") for number in range(ROUNDS)) * 1e6


def _drain(scheduler: Scheduler, reqs: tuple[Req, ...]) -> float:
    start = time.process_time()
    scheduler.inbox.put(Submit(reqs))
    scheduler.step()
    while scheduler.has_work:
        scheduler.step()
    return time.process_time() - start


def _scheduler(*, max_running: int, max_total_tokens: int, chunk: int) -> Scheduler:
    kv = KVManager.create(max_running=max_running, max_context=256, max_total_tokens=max_total_tokens)
    config = SchedulerConfig(chunked_prefill_size=chunk)
    return Scheduler(KnownAnswers(max_running), kv, AgedLongestPrefixMatch(), lambda outputs: None, config)


def _requests(name: str, count: int, num_new: int, *, hints: bool) -> tuple[Req, ...]:
    """Requests of four to a program, in two families of prompts."""
    draw = random.Random(name)
    reqs = []
    for number in range(count):
        prompt = [number % 2] * (PROMPT_LEN // 2) + [draw.randrange(50_000) for _ in range(PROMPT_LEN // 2)]
        program = f"{name} {number // 4}" if hints else None
        sampling = Sampling(max_tokens=num_new, seed=7)
        reqs.append(Req(f"{name} {number}", prompt, sampling, program=program, keep_prefix=hints, stream=False))
    return tuple(reqs)


if __name__ == "__main__":
    main()
