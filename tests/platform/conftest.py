"""A copy of the sources, as a build sees them, and the wheel made from it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
NOT_SOURCE = (".*", "build", "dist", "*.egg-info", "__pycache__", "*.so", "tests", "results")


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout without anything built, in a folder whose name is no identifier."""
    copy = tmp_path_factory.mktemp("checkout") / "ramify-clone-1"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*NOT_SOURCE))
    return copy


@pytest.fixture(scope="session")
def wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built offline, with the setuptools that is installed, on a machine without a compiler.

    Compiling the optional kernels takes longer than all other platform tests; an editable install has done it already.
    """
    out = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "-w", out, sources], check=True, env={**os.environ, "CC": "/bin/false"}, timeout=100)
    (wheel,) = out.glob("ramify-*.whl")
    return wheel
