"""The benchmark runs on tiny counts, and its two sides compute the same; it is never timed here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def report(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    output = tmp_path_factory.mktemp("results")
    command = [sys.executable, root / "benchmarks", "--quick", "--rounds", "1", "--output", output]
    subprocess.run(command, check=True, timeout=100, cwd=output, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    assert "| D: select" in (output / "benchmark.md").read_text()
    facts: dict[str, Any] = json.loads((output / "benchmark.json").read_text())
    return facts


def test_both_sides_give_the_same_tokens(report: dict[str, Any]) -> None:
    assert {row["workload"][0] for row in report["rows"]} == {"d", "p", "A", "B", "D"}
    assert [row["agreement"] for row in report["rows"]] == [1.0] * len(report["rows"])


def test_shared_prefixes_are_also_reused_by_hand(report: dict[str, Any]) -> None:
    by_hand = {row["workload"][0] for row in report["rows"] if "transformers, cache by hand" in row["seconds"]}
    assert by_hand == {"A", "B", "D"}


def test_says_on_what_it_was_measured(report: dict[str, Any]) -> None:
    assert {"date", "processor", "cores", "threads", "torch", "transformers"} <= set(report["machine"])
