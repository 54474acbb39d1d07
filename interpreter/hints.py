"""`hints`: what a caller says about the programs it starts in a block: their priority and whose cache they use.

The rest of a request's hints is what the program itself knows (`chain.py`). Read by every run when it begins.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from types import TracebackType

from ..backend.api import Hints
from ..lang.errors import ParameterError

_NONE = Hints()
_HINTS: ContextVar[Hints] = ContextVar("ramify_hints", default=_NONE)


class hints:
    """Give the programs that are started inside the `with` block a priority, or a prefix cache of their own.

    - `priority`: programs of a higher one go first, whoever came first; 0 unless said.
    - `cache_salt`: programs share cached prefixes only within one salt, as of one tenant.

    What is left out stays as in the block around.

    >>> import ramify
    >>> @ramify.function
    ... def capital(s, country):
    ...     s += "The capital of " + country + " is" + ramify.gen("city")
    >>> backend = ramify.FakeBackend([" Paris"])
    >>> with ramify.hints(priority=1):
    ...     result = capital.run("France", backend=backend)
    >>> backend.requests[0].hints.priority
    1
    """

    def __init__(self, *, priority: int | None = None, cache_salt: str | None = None) -> None:
        if priority is not None and (isinstance(priority, bool) or not isinstance(priority, int)):
            raise ParameterError(f"priority must be an integer, got {priority!r}")
        if cache_salt is not None and not isinstance(cache_salt, str):
            raise ParameterError(f"cache_salt must be a string, got {cache_salt!r}")
        self._priority = priority
        self._cache_salt = cache_salt
        self._tokens: list[Token[Hints]] = []

    def __enter__(self) -> None:
        around = _HINTS.get()
        priority = around.priority if self._priority is None else self._priority
        cache_salt = around.cache_salt if self._cache_salt is None else self._cache_salt
        self._tokens.append(_HINTS.set(Hints(priority=priority, cache_salt=cache_salt)))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _HINTS.reset(self._tokens.pop())


def current_hints() -> Hints:
    """Return what the blocks around say."""
    return _HINTS.get()
