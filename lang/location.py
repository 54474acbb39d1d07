"""Where in the user's code a call was made: the first frame outside this package.

Used by expressions, recorder and tracer for error messages; knows nothing of them.
"""

from __future__ import annotations

import sys

PACKAGE = __name__.partition(".")[0]


def caller_location() -> str | None:
    """Return `file:line` of the nearest frame that is not the library's own, or None."""
    frame = sys._getframe(1)
    while True:
        module = str(frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] != PACKAGE:
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        if frame.f_back is None:
            return None
        frame = frame.f_back


def at(location: str | None) -> str:
    """Return `" (file:line)"` for a message, or the empty string."""
    return f" ({location})" if location else ""
