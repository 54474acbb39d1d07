"""`Feed`: items put by one event loop, read by any number of threads and loops, each from the start.

Readers sleep until something comes; nothing polls. Used for streamed text, declared names and events.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class Feed(Generic[T]):
    """A list that grows until it is closed."""

    def __init__(self) -> None:
        self._items: list[T] = []
        self._waiting: list[Future[None]] = []
        self._closed = False
        self._error: BaseException | None = None
        self._lock = threading.Lock()

    def put(self, item: T) -> None:
        """Add an item; ignored once closed."""
        with self._lock:
            if self._closed:
                return
            self._items.append(item)
            waiting, self._waiting = self._waiting, []
        for future in waiting:
            _wake(future)

    def close(self, error: BaseException | None = None) -> None:
        """End every reader's loop after the items so far, with `error` if there is one. Only the first close counts."""
        with self._lock:
            if self._closed:
                return
            self._closed, self._error = True, error
            waiting, self._waiting = self._waiting, []
        for future in waiting:
            _wake(future)

    def __iter__(self) -> Iterator[T]:
        position = 0
        while True:
            items, future = self._after(position)
            yield from items
            position += len(items)
            if future is None:
                return
            future.result()

    async def __aiter__(self) -> AsyncIterator[T]:
        position = 0
        while True:
            items, future = self._after(position)
            for item in items:
                yield item
            position += len(items)
            if future is None:
                return
            await asyncio.wrap_future(future)

    def _after(self, position: int) -> tuple[list[T], Future[None] | None]:
        """Return the items from `position` on and what to wait for next: None when closed (or the error is raised)."""
        with self._lock:
            items = self._items[position:]
            if not self._closed or (items and self._error is not None):
                future: Future[None] = Future()
                if items or self._closed:
                    future.set_result(None)
                else:
                    self._waiting.append(future)
                return items, future
            if self._error is not None:
                raise self._error
            return items, None


def _wake(future: Future[None]) -> None:
    if future.set_running_or_notify_cancel():  # False when its reader was cancelled meanwhile
        future.set_result(None)
