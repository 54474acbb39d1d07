"""From errors to HTTP: which status an error of the tree has, and the body in our own and in OpenAI's shape.

One table for all protocols. Called by the app's handlers and by streams, which have sent their status already.
"""

from __future__ import annotations

from typing import Any

from ...lang.errors import (
    AbortError,
    BackendError,
    CapacityError,
    DeadEndError,
    DeadlineError,
    ParameterError,
    ProgramError,
    PromptError,
    RamifyError,
    RequestError,
    UnsupportedError,
)
from .. import wire
from .service import OverloadedError

# First match counts: special before general.
_STATUS: tuple[tuple[type[RamifyError], int], ...] = (
    (OverloadedError, 503),
    (UnsupportedError, 400),
    (BackendError, 503),
    (DeadlineError, 408),
    (AbortError, 499),
    (DeadEndError, 422),
    (PromptError, 400),
    (CapacityError, 413),
    (ParameterError, 400),
    (ProgramError, 422),
    (RequestError, 422),
)


def status_of(error: RamifyError) -> int:
    """Return the HTTP status of an error.

    >>> status_of(ParameterError("no"))
    400
    """
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def own_body(error: RamifyError) -> dict[str, Any]:
    """Return the body in our own protocol: `{"error": {"type", "message", ...}}`."""
    return {"error": wire.encode_error(error)}


def headers_of(error: RamifyError) -> dict[str, str]:
    """Return the headers that go with an error."""
    return {"Retry-After": str(error.retry_after)} if isinstance(error, OverloadedError) else {}
