"""Waiting on an event loop for a value that another loop or thread sets.

Used wherever a variable is awaited: by chains, streams, and graphs while they are recorded.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from typing import TypeVar

T = TypeVar("T")


async def value_of(future: concurrent.futures.Future[T]) -> T:
    """Return the value once it is there. A waiter that is cancelled leaves the value to the others."""
    return await asyncio.shield(watched(future))


def watched(future: concurrent.futures.Future[T]) -> asyncio.Future[T]:
    """Return a future of this loop, for `asyncio.wait`.

    Its failure counts as seen: whoever reads the value raises it, and asyncio need not report one that a cancelled
    waiter left behind.
    """
    found = asyncio.wrap_future(future)
    found.add_done_callback(_see)
    return found


def _see(future: asyncio.Future[T]) -> None:
    if not future.cancelled():
        future.exception()
