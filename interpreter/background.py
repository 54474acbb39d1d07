"""The one background event loop on which the requests of sync programs run.

It knows nothing of programs. Started on first use in a daemon thread, stopped at exit, started anew after `os.fork`.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, Generic, TypeVar

from ..lang.errors import AbortError

T = TypeVar("T")


class LoopThread:
    """An event loop that runs in its own daemon thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="ramify-programs", daemon=True)
        self._thread.start()
        atexit.register(self._stop)

    @property
    def is_current(self) -> bool:
        """True on the loop's own thread, where blocking would stop the loop for ever."""
        return threading.current_thread() is self._thread

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop, in the caller's context, and wait; an exception here (Ctrl-C) cancels it."""
        call = _Call(self.loop, coroutine)
        try:  # from the first step on: Ctrl-C may come before the coroutine has started, or as it starts
            self.loop.call_soon_threadsafe(call.start)
            return call.outcome.result()
        except CancelledError:
            raise AbortError("the run was cancelled before its end, as when the process ends") from None
        finally:
            if not call.outcome.done():
                self.loop.call_soon_threadsafe(call.cancel)

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        ended = False
        while not ended:
            try:
                self.loop.run_forever()
                ended = True
            # A program called sys.exit(). asyncio has noted it in the task, whose reader raises it; for the others the
            # loop goes on.
            except (SystemExit, KeyboardInterrupt):
                continue

    def _stop(self) -> None:
        if self._thread.is_alive():  # not in a process that was forked off
            asyncio.run_coroutine_threadsafe(self._end_tasks(), self.loop)
            self._thread.join(timeout=2.0)

    async def _end_tasks(self) -> None:
        """Cancel what still runs, so that requests are closed properly, and stop the loop."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)
        self.loop.stop()


class _Call(Generic[T]):
    """A coroutine on its way to the loop; `start` and `cancel` run there, in this order or with `cancel` alone."""

    def __init__(self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> None:
        self.outcome: Future[T] = Future()
        self._loop = loop
        self._coroutine = coroutine
        self._task: asyncio.Task[T] | None = None

    def start(self) -> None:
        """Run the coroutine as a task that delivers its outcome."""
        self._task = self._loop.create_task(self._coroutine)
        self._task.add_done_callback(self._deliver)

    def cancel(self) -> None:
        """End the coroutine: nobody waits for it any more."""
        if self._task is None:
            self._coroutine.close()
        else:
            self._task.cancel()

    def _deliver(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            self.outcome.cancel()
        elif (error := task.exception()) is not None:
            self.outcome.set_exception(error)
        else:
            self.outcome.set_result(task.result())


def background() -> LoopThread:
    """Return the background loop of this process."""
    return _loop_of_process(os.getpid())


_LOCK = threading.Lock()


def _loop_of_process(pid: int) -> LoopThread:
    with _LOCK:
        return _start(pid)


@functools.lru_cache(maxsize=1)
def _start(pid: int) -> LoopThread:
    return LoopThread()
