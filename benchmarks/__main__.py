"""Measure ramify against transformers on the same weights and token counts: `make bench`, or `python benchmarks -h`.

Run as a folder, not as a package: the working directory must not be importable, it holds a folder named `kernels`.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
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
    """Run what was asked for. The report is written anew after every workload, so a run that is stopped leaves one."""
    arguments = _arguments()
    workloads = [work for work in (QUICK if arguments.quick else FULL) if arguments.only in work.name]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        names = ["tiny"] if arguments.quick else arguments.models
        folders = {name: save_model(SHAPES[name], Path(temporary) / name) for name in {*names, "llama-5m"}}
        scale = 100 if arguments.quick else 1
        small = folders["llama-5m"]
        overhead = micro.engine_overhead_us(small, batch=32, num_new=4 if arguments.quick else 128, rounds=5)
        radix = micro.radix_us(tree_tokens=1_000_000 // scale, prompt_len=2000 // scale, rounds=300)
        for name in names:
            for dtype in [dtype for dtype in SHAPES[name].dtypes if dtype in arguments.dtypes]:
                for row in compare(name, folders[name], dtype, workloads, arguments):
                    rows.append(row)
                    report = Report(machine() | arguments.note, tuple(rows), overhead, radix)
                    path = write(report, arguments.output)
                    print(f"{name} {dtype} {row.workload}: {row.speedup:.2f}, same {row.agreement:.1%}", flush=True)
    if arguments.quick:
        print("A quick run: tiny counts, times without meaning.")
    print(to_markdown(report))
    print(f"written to {path}")


def compare(
    model: str, folder: Path, dtype: str, workloads: list[Workload], arguments: argparse.Namespace
) -> Iterator[Row]:
    """Hold one contest per workload on one model."""
    baseline, ours = TransformersSide(folder, dtype), RamifySide(folder, dtype)
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
        yield Row(model, dtype, work.name, work.num_tokens, seconds, medians, same)
    ours.close()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python benchmarks", description=__doc__)
    parser.add_argument("--models", nargs="+", choices=[*SHAPES], default=["llama-5m", "smollm2-135m"])
    parser.add_argument("--dtypes", nargs="+", choices=["float32", "bfloat16"], default=["float32", "bfloat16"])
    parser.add_argument("--only", default="", metavar="TEXT", help="workloads whose name contains TEXT")
    parser.add_argument("--rounds", type=int, default=7, help="most rounds per workload")
    parser.add_argument("--budget", type=float, default=90, help="seconds after which a workload starts no new round")
    parser.add_argument("--quick", action="store_true", help="tiny counts, to see that it runs; the times mean nothing")
    parser.add_argument("--note", type=lambda text: {"note": text}, default={}, help="a remark for the report")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results", help="folder of the report")
    return parser.parse_args()


if __name__ == "__main__":
    main()
