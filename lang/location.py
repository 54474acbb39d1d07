"""Where in the user's code a call was made: the first frame outside this package and the standard library.

Used by expressions, recorder and tracer for error messages; knows nothing of them.
"""

from __future__ import annotations

import sys
import traceback
from types import FrameType

PACKAGE = __name__.partition(".")[0]


def caller_location() -> str | None:
    """Return `file:line` of the nearest frame that is not the library's own (nor Python's), or None."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if _is_users(frame):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return None


def raised_at(error: BaseException) -> str | None:
    """Return `file:line` of the innermost such frame that an error came through, or None."""
    frames = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__) if _is_users(frame)]
    return f"{frames[-1][0].f_code.co_filename}:{frames[-1][1]}" if frames else None


def _is_users(frame: FrameType) -> bool:
    module = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    return module != PACKAGE and module not in sys.stdlib_module_names


def at(location: str | None) -> str:
    """Return `" (file:line)"` for a message, or the empty string."""
    return f" ({location})" if location else ""
