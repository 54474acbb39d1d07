"""Measure ramify against transformers on the same weights and token counts: `make bench`, or `python benchmarks -h`.

Run as a folder, not as a package: the working directory must not be importable, it holds a folder named `kernels`.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

import micro
from contest import Contestant, agreement, hold
from models import SHAPES, save_model
from ramify_side import RamifySide
from report import BY_HAND, OURS, PLAIN, Report, Row, machine, to_markdown, write
from transformers_side import TransformersSide
from workloads import FULL, QUICK, Generate, Workload


def main() -> None:
    """Run everything that was asked for and write the report."""
    arguments = _arguments()
    workloads = [work for work in (QUICK if arguments.quick else FULL) if arguments.only in work.name]
    names = ["tiny"] if arguments.quick else arguments.models
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        folders = {name: save_model(SHAPES[name], Path(temporary) / name) for name in names}
        for name, folder in folders.items():
            for dtype in SHAPES[name].dtypes:
                rows += compare(name, folder, dtype, workloads, arguments)
        scale = 100 if arguments.quick else 1
        small = save_model(SHAPES["llama-5m"], Path(temporary) / "small")
        overhead = micro.engine_overhead_us(small, batch=32, num_new=4 if arguments.quick else 128, rounds=5)
        radix = micro.radix_us(tree_tokens=1_000_000 // scale, prompt_len=2000 // scale, rounds=300)
    report = Report(machine(), tuple(rows), overhead, radix)
    if arguments.quick:
        print("A quick run: tiny counts, times without meaning.")
    print(to_markdown(report))
    print(f"written to {write(report, arguments.output)}")


def compare(
    model: str, folder: Path, dtype: str, workloads: list[Workload], arguments: argparse.Namespace
) -> list[Row]:
    """Hold one contest per workload on one model."""
    baseline, ours = TransformersSide(folder, dtype), RamifySide(folder, dtype)
    rows = []
    for work in workloads:
        contestants = [
            Contestant(OURS, partial(ours.run, work), prepare=ours.forget),
            Contestant(PLAIN, partial(baseline.plain, work)),
        ]
        if not isinstance(work, Generate) or work.shared:
            contestants.append(Contestant(BY_HAND, partial(baseline.by_hand, work)))
        standings = {s.name: s for s in hold(contestants, rounds=arguments.rounds, budget_s=arguments.budget)}
        same = min(agreement(standings[OURS].answer, s.answer) for s in standings.values())
        seconds = {name: s.seconds for name, s in standings.items()}
        medians = {name: s.median for name, s in standings.items()}
        rows.append(Row(model, dtype, work.name, work.num_tokens, seconds, medians, same))
        print(f"{model} {dtype} {work.name}: ratio {rows[-1].speedup:.2f}, same tokens {same:.1%}", flush=True)
    ours.close()
    return rows


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python benchmarks", description=__doc__)
    parser.add_argument("--models", nargs="+", choices=[*SHAPES], default=["llama-5m", "smollm2-135m"])
    parser.add_argument("--only", default="", metavar="TEXT", help="workloads whose name contains TEXT")
    parser.add_argument("--rounds", type=int, default=7, help="most rounds per workload")
    parser.add_argument("--budget", type=float, default=90, help="seconds after which a workload starts no new round")
    parser.add_argument("--quick", action="store_true", help="tiny counts, to see that it runs; the times mean nothing")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results", help="folder of the report")
    return parser.parse_args()


if __name__ == "__main__":
    main()
