"""The engine on one GPU, against transformers and the ceilings of the same run: `python benchmarks/gpu.py`.

Each section runs in a process of its own, so that one that fails costs no other. `--tiny` runs all of it on the CPU, to
see that it works; the figures then mean nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MODELS = ("qwen3-0.6b", "llama-3.2-1b", "llama-3-8b")
RESULTS = Path(__file__).parent / "results" / "gpu.md"


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement: `milliseconds` of a step or call; `floor_ms`, what the bytes or FLOPs take at the ceiling."""

    model: str
    what: str
    milliseconds: float
    tokens_per_s: float
    floor_ms: float | None = None
    note: str = ""


def sections(arguments: argparse.Namespace) -> list[str]:
    """What is measured, the most telling first: the budget may not reach the end."""
    models = ["tiny"] if arguments.tiny else arguments.models
    engines = [f"engine:{model}" for model in sorted(models, key=lambda name: name != "llama-3-8b")]
    peers = [f"{peer}:{model}" for model in models for peer in ("static", "continuous")]
    return [name for name in [*engines, *peers] if arguments.only in name]


def main() -> None:
    """Measure the ceilings, then each section until the budget is used up; the report is written after each."""
    arguments = _arguments()
    if arguments.section:
        for row in _measure(arguments):
            print("ROW " + json.dumps(asdict(row)), flush=True)
        return
    end = time.monotonic() + arguments.budget
    rows: list[Row] = []
    lines, failed = _run("ceilings", arguments, arguments.budget)
    failures = {"ceilings": failed} if failed else {}
    ceilings: dict[str, Any] = next((json.loads(line[9:]) for line in lines if line.startswith("CEILINGS ")), {})
    for name in sections(arguments):
        left = end - time.monotonic()
        if left < 20 and not arguments.tiny:
            failures[name] = "left out: the budget was used up"
            continue
        lines, failed = _run(name, arguments, max(left, 60), ceilings)
        rows += [Row(**json.loads(line[4:])) for line in lines if line.startswith("ROW ")]
        if failed:
            failures[name] = failed
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(to_markdown(ceilings, rows, failures))
    print(to_markdown(ceilings, rows, failures))
    print(f"written to {arguments.output}")


def _run(
    section: str, arguments: argparse.Namespace, seconds: float, ceilings: dict[str, Any] | None = None
) -> tuple[list[str], str]:
    """Run one section in a process of its own; return what it printed, and how it failed ("" if it did not)."""
    command = [sys.executable, __file__, "--section", section, "--ceilings", json.dumps(ceilings or {})]
    with tempfile.TemporaryFile("w+") as printed, tempfile.TemporaryFile("w+") as complained:
        try:
            code = subprocess.run(
                [*command, *(["--tiny"] if arguments.tiny else [])], stdout=printed, stderr=complained, timeout=seconds
            ).returncode
        except subprocess.TimeoutExpired:
            code = -1
        printed.seek(0), complained.seek(0)
        lines, errors = printed.read().splitlines(), complained.read().strip().splitlines()
    print(f"{section}: {len(lines)} lines, exit {code}", flush=True)
    if code == 0:
        return lines, ""
    return lines, f"stopped after {seconds:.0f} s" if code == -1 else (errors or [f"exit status {code}"])[-1]


def _measure(arguments: argparse.Namespace) -> Iterator[Row]:
    """The rows of one section, in this process."""
    import gpu_sections

    kind, _, model = arguments.section.partition(":")
    sizes = gpu_sections.TINY if arguments.tiny else gpu_sections.FULL
    ceilings = json.loads(arguments.ceilings)
    match kind:
        case "ceilings":
            print("CEILINGS " + json.dumps(gpu_sections.ceilings(sizes)), flush=True)
        case "engine":
            yield from (Row(model, *found) for found in gpu_sections.engine(model, sizes, ceilings))
        case "static":
            yield from (Row(model, *found) for found in gpu_sections.static_cache(model, sizes, ceilings))
        case "continuous":
            yield from (Row(model, *found) for found in gpu_sections.continuous_batching(model, sizes, ceilings))


def to_markdown(ceilings: dict[str, Any], rows: list[Row], failures: dict[str, str]) -> str:
    """Return the report: the ceilings, a table per model, what did not run and why."""
    parts = ["# One GPU", "", ", ".join(f"{name} {value}" for name, value in ceilings.items()), ""]
    for model in dict.fromkeys(row.model for row in rows):
        parts += [f"## {model}, bfloat16", "", "| what | ms | tokens/s | floor ms | of the floor | |"]
        parts.append("|---|---:|---:|---:|---:|---|")
        for row in rows:
            if row.model == model:
                floor = "" if row.floor_ms is None else f"{row.floor_ms:.3f}"
                share = "" if row.floor_ms is None else f"{row.floor_ms / row.milliseconds:.0%}"
                cells = (row.what, f"{row.milliseconds:.3f}", f"{row.tokens_per_s:.0f}", floor, share, row.note)
                parts.append("| " + " | ".join(cells) + " |")
        parts.append("")
    parts += [
        "A decode step's floor is its bytes (weights, keys and values, shared ones once) at the measured copy rate;",
        "a prefill's is its multiplications at the measured matrix rate. Medians; weights are random.",
        "",
    ]
    if failures:
        parts += ["Did not run:", "", *(f"- {name}: {reason}" for name, reason in failures.items()), ""]
    return "\n".join(parts)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python benchmarks/gpu.py", description=__doc__)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--only", default="", metavar="TEXT", help="sections whose name contains TEXT")
    parser.add_argument("--budget", type=float, default=460, help="seconds for all of it")
    parser.add_argument("--tiny", action="store_true", help="a tiny model on the CPU, to see that it runs")
    parser.add_argument("--output", type=Path, default=RESULTS, help="the report")
    parser.add_argument("--section", default="", help=argparse.SUPPRESS)
    parser.add_argument("--ceilings", default="{}", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
