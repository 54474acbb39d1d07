"""Rows run as they are read and handed out as they finish, so that a batch may be larger than memory.

Reading and handing out may block, so each has a thread: the rows' own, and the consumer's. At most `width` rows are
between the two, whichever is slow. It knows a run as something to await. Called by the command line.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import math
import queue
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

from .background import background

R = TypeVar("R")
T = TypeVar("T")

CANCEL_SECONDS = 5.0  # how long `close` waits for runs under way to be aborted
TURN_SECONDS = 0.25  # of one wait for the next row


@dataclass(frozen=True, slots=True)
class _End:
    """No more rows: `count` were read, and `error` is why if reading failed."""

    count: int
    error: BaseException | None = None


class RowStream(Generic[R, T]):
    """An iterator over what `run(row)` returned for each row, in the order in which they finish; to be read once.

    What reading or `run` raises is raised here. Leaving the `with` block cancels what is under way; `rest()` is what
    had finished by then and was not handed out.
    """

    def __init__(self, run: Callable[[R], Coroutine[Any, Any, T]], rows: Iterable[R], width: int) -> None:
        self._run = run
        self._rows = rows
        self._loop = background().loop
        self._context = contextvars.copy_context()
        self._room = threading.Semaphore(width)
        self._finished: queue.SimpleQueue[asyncio.Task[T] | _End | None] = queue.SimpleQueue()
        self._tasks: set[asyncio.Task[T]] = set()
        self._closed = False

    def __iter__(self) -> Iterator[T]:
        threading.Thread(target=self._read, name="ramify-rows", daemon=True).start()
        handed_out, count = 0, math.inf
        while handed_out < count:
            match self._next():
                case None:
                    return
                case _End() as end:
                    count = end.count
                    if end.error is not None:
                        raise end.error
                case task:
                    yield task.result()
                    handed_out += 1
                    self._room.release()

    def _next(self) -> asyncio.Task[T] | _End | None:
        """Wait in turns: a signal that comes just before a wait begins is only handled when that wait ends."""
        while True:
            with contextlib.suppress(queue.Empty):
                return self._finished.get(timeout=TURN_SECONDS)

    def stop(self) -> None:
        """End the iteration after what has finished by now; a signal handler may call this."""
        self._finished.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Cancel the runs under way and wait until they have ended."""
        self._closed = True
        self._room.release()  # the reader may wait for room; it looks at `_closed` then
        background().call(self._cancel())

    def rest(self) -> Iterator[T]:
        """Yield what had finished when the stream was closed."""
        while not self._finished.empty():
            item = self._finished.get()
            if isinstance(item, asyncio.Task) and not item.cancelled() and item.exception() is None:
                yield item.result()

    def _read(self) -> None:
        """Read rows as long as there is room; on a thread of its own."""
        count, error = 0, None
        try:
            for row in self._rows:
                self._room.acquire()
                if self._closed:
                    break
                count += 1
                self._loop.call_soon_threadsafe(self._start, row, context=self._context)
        except BaseException as caught:  # noqa: BLE001 (raised where the rows are read)
            error = caught
        self._finished.put(_End(count, error))

    def _start(self, row: R) -> None:
        if not self._closed:
            task = self._loop.create_task(self._run(row))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(self._finished.put)

    async def _cancel(self) -> None:
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CANCEL_SECONDS)
