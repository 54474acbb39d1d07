"""Adds the optional C kernels to the build; everything else is in pyproject.toml.

The same sources are compiled once per instruction set and the best one the machine can run is chosen at import. Where
there is no compiler, or no OpenMP, installing goes on without them and the engine runs on torch alone, more slowly.
"""

from __future__ import annotations

import platform
from pathlib import Path

from setuptools import Extension, setup

SOURCES = sorted(str(path) for path in Path("kernels/csrc").glob("*.c"))
HEADERS = sorted(str(path) for path in Path("kernels/csrc").glob("*.h"))
COMMON = ["-O2", "-g0", "-fopenmp", "-fvisibility=hidden", "-ffp-contract=fast"]
AVX2 = ["-mavx2", "-mfma", "-mf16c"]
AVX512 = [*AVX2, "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq"]
X86_VARIANTS = {"avx2": AVX2, "avx512": AVX512, "avx512_bf16": [*AVX512, "-mavx512bf16"]}


def extension(name: str, flags: list[str]) -> Extension:
    """One build of the kernels."""
    return Extension(
        f"ramify.kernels._native_{name}",
        sources=SOURCES,
        depends=HEADERS,
        extra_compile_args=[*COMMON, *flags],
        extra_link_args=["-fopenmp"],
        optional=True,
    )


def extensions() -> list[Extension]:
    """The builds that make sense on this kind of machine."""
    if platform.system() != "Linux":
        return []
    variants = X86_VARIANTS if platform.machine() in ("x86_64", "AMD64") else {}
    return [extension("generic", []), *(extension(name, flags) for name, flags in variants.items())]


# The root is a package, and a build copies all its modules but the one it knows to be the set-up script.
setup(script_name="setup.py", ext_modules=extensions())
