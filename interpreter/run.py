"""One run of a program: its event loop, tasks, failures and end. Everything it starts ends with it.

Chains belong to a run; it knows nothing of states or programs. All methods but `submit` and `cancel` run on its loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..backend.api import Backend, Usage, new_id
from ..lang.errors import AbortError, DeadlineError, ProgramError, RamifyError
from .chat import ChatFormat, chat_format
from .feed import Feed
from .hints import current_hints
from .values import Slot

if TYPE_CHECKING:
    from .chain import Chain

CURRENT_RUN: ContextVar[Run | None] = ContextVar("ramify_run", default=None)

GRACE_S = 5.0  # how long cancelled requests may take to close before the run ends without them


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of generated text: of which variable, in which branch (`()` is the main one), of which sample."""

    variable: str | None
    text: str
    branch: tuple[int, ...] = ()
    sample: int = 0


class Run:
    """The common fate of all branches of one run."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        backend: Backend,
        timeout: float | None = None,
        *,
        is_streamed: bool = True,
    ) -> None:
        self.loop = loop
        self.is_streamed = is_streamed  # somebody may read text as it grows; set by readers too
        self.backend = backend
        self.hints = current_hints()
        self.id = new_id()
        self.timeout = timeout
        self.deadline = None if timeout is None else time.monotonic() + timeout
        self.chat: ChatFormat = chat_format(backend.capabilities.chat_template)
        self.chains: list[Chain] = []
        self.slots: dict[tuple[int, str], Slot] = {}
        self.events: Feed[Delta] = Feed()
        self.usage = Usage()
        self.error: BaseException | None = None
        self.ended = False
        self.stopped = asyncio.Event()
        self.owned: Backend | None = None  # a backend of this run alone, closed with it
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: list[BaseException] = []
        self._children: set[Run] = set()
        self._parent = CURRENT_RUN.get()
        if self._parent is not None:
            self._parent._children.add(self)

    def submit(self, action: Callable[[], None]) -> None:
        """Do something on the run's loop soon; callable from any thread."""
        if self.ended:
            raise self.error or ProgramError("this run has ended; its states cannot be used any more")
        try:
            self.loop.call_soon_threadsafe(action)
        except RuntimeError as error:
            raise ProgramError("the event loop of this run was closed before the run ended") from error

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task that ends with the run at the latest."""
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @property
    def remaining(self) -> float | None:
        """Seconds until the deadline, or None without one."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def fail(self, error: BaseException) -> None:
        """Note the failure of a branch; it is raised at the end unless the body sees it before."""
        self._failures.append(error)

    def deliver(self, error: BaseException) -> None:
        """Note that the body has seen this failure (raised at a read); it is the body's to handle now."""
        self._failures[:] = [failure for failure in self._failures if failure is not error]

    def expire(self) -> None:
        """End the run because its time is over."""
        self._cancel(DeadlineError(f"the program did not finish within its timeout of {self.timeout:g} s"))

    def cancel(self, error: BaseException) -> None:
        """End the run from any thread."""
        if not self.ended and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._cancel, error)

    async def finish(self) -> None:
        """Wait for everything that was appended; raise the first failure that nobody has seen."""
        for chain in self.chains:
            chain.start()
        stopped = self.loop.create_task(self.stopped.wait())
        try:
            while self._tasks and self.error is None and not self._failures:
                await asyncio.wait({*self._tasks, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        if self.error is not None:
            raise self.error
        if self._failures:
            raise self._failures[0]

    async def stop(self, error: BaseException | None = None) -> None:
        """End the run: cancel what still runs, wait until it has closed, end all feeds. Safe to call twice."""
        if self.ended:
            return
        if error is not None:
            self._cancel(error if isinstance(error, RamifyError) else AbortError("the run was ended by an exception"))
        self.ended = True
        for child in tuple(self._children):
            child.cancel(AbortError("the program that started this run has ended"))
        if self._parent is not None:
            self._parent._children.discard(self)
        self.events.close(error)
        for chain in self.chains:
            chain.close(error)
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=GRACE_S)
        if self.owned is not None:
            await self.owned.close()

    def _cancel(self, error: BaseException) -> None:
        if self.error is not None or self.ended:
            return
        self.error = error
        for chain in self.chains:
            chain.fail(error)
        for task in tuple(self._tasks):
            task.cancel()
        for child in tuple(self._children):
            child.cancel(error)
        self.stopped.set()
