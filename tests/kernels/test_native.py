"""Finding the C kernels: the switch, and one OpenMP runtime for torch and for them."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from ramify.kernels import native


def test_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(native.SWITCH, "0")
    native.library.cache_clear()
    try:
        assert native.library() is None
        assert native.library_for(torch.ones(3)) is None
    finally:
        native.library.cache_clear()


def test_missing_build(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without a compiler."""
    monkeypatch.setattr(native, "_find", lambda name: None)
    native.library.cache_clear()
    try:
        assert native.library() is None
    finally:
        native.library.cache_clear()


def test_only_what_the_kernels_can_read() -> None:
    if native.library() is None:
        pytest.skip("the C kernels were not built here")
    assert native.library_for(torch.ones(2, 3)) is native.library()
    assert native.library_for(torch.ones(2, 3, dtype=torch.bfloat16)) is native.library()
    assert native.library_for(torch.ones(2, 3, dtype=torch.float16)) is None
    assert native.library_for(torch.ones(2, 3).T) is None
    assert native.library_for(torch.ones(2, 3, device="meta")) is None


def test_one_openmp_runtime() -> None:
    """A second runtime would mean a second pool of threads that fight for the same cores."""
    program = """
import torch
from ramify.kernels import native
from ramify.kernels.linear import PackedLinear
PackedLinear(torch.ones(512, 512))(torch.ones(512, 512))
with open("/proc/self/maps") as maps:
    print(len({line.split()[-1] for line in maps if "gomp" in line or "libomp" in line or "iomp" in line}))
"""
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc")
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "1"
