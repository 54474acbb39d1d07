"""Every kernel test runs on each build of the C kernels that this machine can run, and on plain torch."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ramify.kernels import native

IMPLEMENTATIONS = ("0", "generic", "avx2", "avx512", "avx512_bf16")


@pytest.fixture(params=IMPLEMENTATIONS)
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Force one implementation of all ops; "0" is plain torch."""
    yield from force(request.param, monkeypatch)


@pytest.fixture(params=IMPLEMENTATIONS[1:])
def compiled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Force one build of the C kernels."""
    yield from force(request.param, monkeypatch)


def force(name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv(native.SWITCH, name)
    native.library.cache_clear()
    if name != "0" and native.library() is None:
        pytest.skip(f"the {name} kernels were not built here, or this CPU cannot run them")
    yield name
    native.library.cache_clear()
