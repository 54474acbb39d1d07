"""Which backend answers a program that names none: `use(...)` around the call, else the process's default.

The only process-global state of the library. With nothing set, the factory that the composition root registered makes
the embedded engine on first use. Knows no backend by name.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar, Token
from types import TracebackType
from typing import cast

from ..backend.api import Backend
from ..lang.errors import BackendError, ParameterError

_USED: ContextVar[Backend | None] = ContextVar("ramify_backend", default=None)
_MEMBERS = ("capabilities", "generate", "score", "close")


class _Default:
    """The process's default backend, and how to make one."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.backend: Backend | None = None
        self.factory: Callable[[], Backend] | None = None


_DEFAULT = _Default()


def set_default_backend(backend: Backend | None) -> None:
    """Answer every program that names no other backend with `backend`; None goes back to the embedded engine."""
    with _DEFAULT.lock:
        _DEFAULT.backend = None if backend is None else check_backend(backend)


def set_default_factory(factory: Callable[[], Backend] | None) -> None:
    """Set how the default backend is made on first use; called by the composition root."""
    with _DEFAULT.lock:
        _DEFAULT.factory = factory


class use:
    """Answer the programs that are started inside the `with` block with `backend`, in this context only.

    >>> import ramify
    >>> with ramify.use(ramify.FakeBackend(["4"])) as backend:
    ...     pass
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = check_backend(backend)
        self._tokens: list[Token[Backend | None]] = []

    def __enter__(self) -> Backend:
        self._tokens.append(_USED.set(self._backend))
        return self._backend

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _USED.reset(self._tokens.pop())


def resolve_backend(backend: Backend | None = None) -> Backend:
    """Return `backend`, else that of `use`, else the default, else a new one from the factory."""
    if backend is not None:
        return check_backend(backend)
    used = _USED.get()
    if used is not None:
        return used
    with _DEFAULT.lock:
        if _DEFAULT.backend is None:
            if _DEFAULT.factory is None:
                raise BackendError("no backend is set: pass backend=..., or call ramify.set_default_backend(...)")
            _DEFAULT.backend = _DEFAULT.factory()
        return _DEFAULT.backend


def check_backend(backend: object) -> Backend:
    """Return `backend` if it is one, or raise `ParameterError`."""
    # Looked for in the class first: reading `capabilities` may ask a server.
    has_all = all(hasattr(type(backend), name) or hasattr(backend, name) for name in _MEMBERS)
    if not has_all or isinstance(backend, type):
        raise ParameterError(f"backend must have generate, score, close and capabilities; got {backend!r}")
    return cast(Backend, backend)
