"""`benchmarks/gpu.py` runs: tiny, on the CPU, through the same code as on a device."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_it_measures_and_reports(tmp_path: Path) -> None:
    report = tmp_path / "results" / "gpu.md"
    command = [sys.executable, ROOT / "benchmarks" / "gpu.py", "--tiny", "--only", "engine", "--output", report]
    result = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert result.returncode == 0, result.stderr
    text = report.read_text()
    for what in ("decode, batch 3", "prefill 40", "shared prefix, 3 rows", "fork tree, 4 rows", "masks cost"):
        assert what in text, text
    assert "TB/s" in text and "Did not run" not in text


def test_a_section_that_fails_is_reported_and_the_others_go_on(tmp_path: Path) -> None:
    report = tmp_path / "gpu.md"
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import gpu; "
        "gpu._run = lambda name, *a: ([], 'out of order') if name.startswith('engine') else (['CEILINGS {}'], ''); "
        "sys.argv[1:] = ['--tiny', '--output', sys.argv[2]]; gpu.main()"
    )
    command = [sys.executable, "-c", code, ROOT / "benchmarks", report]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "- engine:tiny: out of order" in report.read_text() and "static" not in report.read_text()
