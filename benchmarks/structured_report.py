"""The results of `structured.py` as Markdown, with the machine and the versions."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from grammar_costs import Cost, GrammarCosts
from report import machine
from rivals import BATCH, MAX_TOKENS, Result


@dataclass(frozen=True, slots=True)
class Rates:
    """Seconds of every round of one batch, per contestant; all of them made `num_tokens` tokens.

    `forced`: the share of tokens that were forced where forced runs are on.
    """

    model: str
    batch: str
    num_tokens: int
    forced: float
    seconds: dict[str, tuple[float, ...]]

    def rate(self, name: str) -> float:
        """Tokens a second, by the median round."""
        return self.num_tokens / statistics.median(self.seconds[name])

    def against(self, name: str, other: str) -> float:
        """How many times as fast as `other`: median over the rounds, in which they ran one after the other."""
        return statistics.median(b / a for a, b in zip(self.seconds[name], self.seconds[other], strict=True))


def write(
    costs: Sequence[GrammarCosts], rates: Sequence[Rates], rivals: Sequence[Result] | None, folder: Path, *, note: str
) -> Path:
    """Write `structured.md` to `folder` and return its path."""
    facts = machine() | {name: metadata.version(name) for name in ("llguidance", "outlines-core", "tokenizers")}
    parts = ["# Structured decoding", "", ", ".join(f"{key} {value}" for key, value in facts.items()), ""]
    parts += [note, ""] if note else []
    parts += _costs_table(costs) + _masks_table(costs) + _rates_table(rates)
    if rivals is not None:
        parts += _rivals_table(rivals)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "structured.md"
    path.write_text("\n".join(parts))
    return path


def _costs_table(costs: Sequence[GrammarCosts]) -> list[str]:
    lines = [
        "## Compiling 100 JSON schemas",
        "",
        "| vocabulary | compile p50 ms | p99 ms | to the first mask p50 ms | p99 ms | again p50 us | p99 us |",
        "|---:" * 7 + "|",
    ]
    for cost in costs:
        timed = (_pair(cost.compile, 1e3), _pair(cost.first_mask, 1e3), _pair(cost.again, 1))
        lines.append(f"| {cost.vocabulary_size:,} | " + " | ".join(timed) + " |")
    return [*lines, ""]


def _masks_table(costs: Sequence[GrammarCosts]) -> list[str]:
    lines = [
        "## Filling the mask of one row",
        "",
        "Microseconds. *New*: texts drawn for the first time; *again*: the same texts, whose states are known.",
        "",
        "| vocabulary | kind | new p50 | p99 | again p50 | p99 |",
        "|---:|---" + "|---:" * 4 + "|",
    ]
    for cost in costs:
        for kind, (unseen, seen) in cost.masks.items():
            lines.append(f"| {cost.vocabulary_size:,} | {kind} | {_pair(unseen, 1)} | {_pair(seen, 1)} |")
    return [*lines, ""]


def _rates_table(rates: Sequence[Rates]) -> list[str]:
    names = list(rates[0].seconds)
    free = names[0]
    lines = [
        "## Decoding a batch of 32",
        "",
        "Tokens a second; the unconstrained batch makes as many tokens a row as the constrained one. Ratios are",
        "medians over rounds in which the contestants took turns.",
        "",
        "| model | batch | tokens | forced | " + " | ".join(names) + " | ratio | ratio with forced runs |",
        "|---|---" + "|---:" * (len(names) + 4) + "|",
    ]
    for rate in rates:
        cells = [rate.model, rate.batch, str(rate.num_tokens), f"{rate.forced:.0%}"]
        cells += [f"{rate.rate(name):.0f}" for name in names] + [
            f"{rate.against(name, free):.2f}" for name in names[1:]
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def _rivals_table(rivals: Sequence[Result]) -> list[str]:
    lines = [
        f"## The same model elsewhere: batch {BATCH}, one schema, at most {MAX_TOKENS} tokens, greedy, float32",
        "",
        "| library | version | tokens/s | ramify is faster by |",
        "|---|---|---:|---:|",
    ]
    ours = rivals[0].rate
    for result in rivals:
        if result.rate is None or ours is None:
            lines.append(f"| {result.name} | | does not run: {result.failure} | |")
        else:
            lines.append(f"| {result.name} | {result.version} | {result.rate:.1f} | {ours / result.rate:.1f} |")
    return [
        *lines,
        "",
        "Compiling is not timed; guidance has no batches, so it answers one prompt after the other.",
        "",
    ]


def _pair(cost: Cost, unit: float) -> str:
    digits = 0 if unit == 1 and cost.p99 > 100 else 1
    return f"{cost.p50 / unit:.1f} | {cost.p99 / unit:.{digits}f}"
