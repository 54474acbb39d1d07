"""The results as a table for people (Markdown) and as facts for programs (JSON), with the machine and the versions."""

from __future__ import annotations

import datetime
import json
import os
import platform
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

PLAIN, BY_HAND, OURS = "transformers", "transformers, cache by hand", "ramify"


@dataclass(frozen=True, slots=True)
class Row:
    """One workload on one model: median seconds per contestant, and how far the answers agree with transformers."""

    model: str
    dtype: str
    workload: str
    num_tokens: int
    seconds: dict[str, tuple[float, ...]]
    medians: dict[str, float]
    agreement: float

    @property
    def speedup(self) -> float:
        """How many times faster than transformers as a user writes it."""
        return self.medians[PLAIN] / self.medians[OURS]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that one run measured."""

    machine: dict[str, str]
    rows: tuple[Row, ...]
    overhead_us: float
    radix_us: float


def machine() -> dict[str, str]:
    """What the figures depend on."""
    import torch

    return {
        "date": datetime.date.today().isoformat(),
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "threads": str(torch.get_num_threads()),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in ("torch", "transformers", "numpy")},
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def to_markdown(report: Report) -> str:
    """Return the report as Markdown: the machine, a table per model, the two costs."""
    parts = ["# Benchmark", "", ", ".join(f"{name} {value}" for name, value in report.machine.items()), ""]
    for model, dtype in dict.fromkeys((row.model, row.dtype) for row in report.rows):
        parts += [f"## {model}, {dtype}", ""]
        parts += _table([row for row in report.rows if (row.model, row.dtype) == (model, dtype)])
        parts.append("")
    parts += [
        "Seconds are medians; contestants took turns in one process, from a cold cache each time. `tokens/s` and",
        "ratios are ramify's. `same tokens`: share of greedy tokens (or picks) that transformers gives",
        "too, up to the first difference of each sequence; in bfloat16 the two round differently, and near-ties part.",
        "",
        f"- Engine overhead per running request and step, batch 32, blocking generate, model replaced by ready logits: "
        f"{report.overhead_us:.0f} us",
        f"- Radix match and insert of a 2,000-token prompt in a tree of 10^6 tokens: {report.radix_us:.0f} us",
        "",
    ]
    return "\n".join(parts)


def _table(rows: list[Row]) -> list[str]:
    head = ["workload", "ramify s", "transformers s", "by hand s", "tokens/s", "ratio", "ratio by hand", "same tokens"]
    lines = ["| " + " | ".join([*head, "rounds"]) + " |", "|---" + "|---:" * len(head) + "|"]
    for row in rows:
        by_hand = row.medians.get(BY_HAND)
        cells = [
            row.workload,
            f"{row.medians[OURS]:.3f}",
            f"{row.medians[PLAIN]:.3f}",
            f"{by_hand:.3f}" if by_hand else "",
            f"{row.num_tokens / row.medians[OURS]:.0f}",
            f"{row.speedup:.1f}",
            f"{by_hand / row.medians[OURS]:.1f}" if by_hand else "",
            f"{row.agreement:.1%}",
            str(len(row.seconds[OURS])),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def write(report: Report, folder: Path) -> Path:
    """Write `benchmark.md` and `benchmark.json` to `folder`; return the path of the first."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "benchmark.json").write_text(json.dumps(asdict(report), indent=1) + "\n")
    path = folder / "benchmark.md"
    path.write_text(to_markdown(report))
    return path
