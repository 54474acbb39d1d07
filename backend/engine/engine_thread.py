"""`EngineThread`: the one thread that runs the scheduler, and the routes by which outputs reach their callers.

Knows neither prompts nor results. Callers on any thread submit with a `Route`; the outputs of one step reach each event
loop in one call.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from ...lang.errors import BackendError, ClosedError
from .messages import Abort, Call, Close, Inbox, Message, StepOutput, Submit
from .req import Req
from .scheduler import Scheduler

_JOIN_SECONDS = 30.0  # a forward that takes longer is left to the daemon thread

T = TypeVar("T")


class Route(Protocol):
    """Where the outputs of one submission go."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop that takes them; None: `deliver` is called on the engine thread."""
        ...

    def deliver(self, output: StepOutput) -> None:
        """Take one output; on `loop`'s thread where there is one."""
        ...


class LoopRoute:
    """Outputs for one task of an event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._outputs: deque[StepOutput] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def deliver(self, output: StepOutput) -> None:
        """See `Route`."""
        self._outputs.append(output)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def take(self) -> list[StepOutput]:
        """Return the outputs so far; waits for one when there is none."""
        if not self._outputs:
            self._waiter = self.loop.create_future()
            await self._waiter
        outputs = list(self._outputs)
        self._outputs.clear()
        return outputs


class BlockingRoute:
    """Outputs for a thread that waits until every one of `num_open` sequences has ended, or one has failed."""

    loop = None

    def __init__(self, num_open: int) -> None:
        self.outputs: list[StepOutput] = []
        self._num_open = num_open
        self._done = threading.Event()

    def deliver(self, output: StepOutput) -> None:
        """See `Route`."""
        self.outputs.append(output)
        self._num_open -= output.is_final
        if self._num_open == 0 or output.error is not None:
            self._done.set()

    def wait(self) -> list[StepOutput]:
        """Block until the outputs are complete or hold an error."""
        self._done.wait()
        return self.outputs


class EngineThread:
    """Runs `scheduler` on a daemon thread until `close`.

    `scheduler` must call `emit` of this object with its outputs. The thread holds nothing that its makers own, so an
    engine that is forgotten can be collected, which ends the thread.
    """

    def __init__(self, *, num_threads: int | None = None) -> None:
        self._routes: dict[Req, Route] = {}
        self._num_threads = num_threads
        self._scheduler: Scheduler | None = None
        self._inbox: Inbox | None = None
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._is_closed = False
        self._pid = os.getpid()

    def start(self, scheduler: Scheduler) -> None:
        """Start the loop."""
        self._scheduler, self._inbox = scheduler, scheduler.inbox
        atexit.register(self.close)  # a daemon thread inside torch must not outlive the interpreter
        self._thread = threading.Thread(target=self._run, name="ramify-engine", daemon=True)
        self._thread.start()

    def submit(self, reqs: Sequence[Req], route: Route) -> None:
        """Run `reqs`, whose outputs go to `route`; each gets exactly one final output.

        Raises `ClosedError` after `close`, `BackendError` when the engine has failed or belongs to another process.
        """
        self._check()
        for req in reqs:
            self._routes[req] = route
        try:
            self._inbox_put(Submit(tuple(reqs)))
        except BackendError:
            for req in reqs:
                self._routes.pop(req, None)
            raise

    def abort(self, rid: str) -> None:
        """End what runs under this id; nothing happens when the engine has ended meanwhile."""
        if os.getpid() == self._pid:
            with contextlib.suppress(BackendError):
                self._inbox_put(Abort(rid))

    def call(self, function: Callable[[Scheduler], T]) -> T:
        """Run `function` between two steps on the engine thread and return its result."""
        self._check()
        message = Call(self._bound(function))
        self._inbox_put(message)
        result: T = message.future.result()
        return result

    def _bound(self, function: Callable[[Scheduler], T]) -> Callable[[], T]:
        def run() -> T:
            if self._scheduler is None:
                raise ClosedError("the engine was closed")
            return function(self._scheduler)

        return run

    def request_close(self) -> None:
        """End the loop without waiting for it: safe where a garbage collection calls it."""
        self._is_closed = True
        atexit.unregister(self.close)
        if self._inbox is not None and os.getpid() == self._pid:
            with contextlib.suppress(BackendError):
                self._inbox_put(Close())

    def close(self) -> None:
        """End the loop and join the thread. Open requests fail with `ClosedError`. Closing again does nothing."""
        self.request_close()
        thread = self._thread
        if thread is not None and os.getpid() == self._pid and threading.current_thread() is not thread:
            thread.join(_JOIN_SECONDS)

    def emit(self, outputs: list[StepOutput]) -> None:
        """Hand the outputs of one step to their routes, with one call into each event loop."""
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Route, StepOutput]]] = {}
        for output in outputs:
            req = output.req
            route = self._routes.pop(req, None) if output.is_final else self._routes.get(req)
            if route is None:
                continue
            if route.loop is None:
                route.deliver(output)
            else:
                by_loop.setdefault(route.loop, []).append((route, output))
        for loop, deliveries in by_loop.items():
            try:
                loop.call_soon_threadsafe(_deliver_all, deliveries)
            except RuntimeError:  # the loop was closed under its tasks
                for rid in {output.req.rid for _, output in deliveries if not output.is_final}:
                    self.abort(rid)

    def _check(self) -> None:
        if os.getpid() != self._pid:
            raise BackendError("the engine was made before this process forked; make an Engine in this process")
        if self._is_closed:
            raise ClosedError("the engine is closed; make a new Engine")

    def _inbox_put(self, message: Message) -> None:
        assert self._inbox is not None
        try:
            self._inbox.put(message)
        except ClosedError:
            if self._failure is None:
                raise
            raise BackendError(f"the engine failed and has ended: {self._failure!r}") from self._failure

    def _run(self) -> None:
        if self._num_threads is not None:
            import torch

            torch.set_num_threads(self._num_threads)
        assert self._scheduler is not None
        try:
            self._scheduler.event_loop_normal()
        except BaseException as error:  # noqa: BLE001 - every caller gets it as a BackendError, so nothing is lost here
            self._failure = error
        finally:
            self._scheduler = None  # with it the model and its memory


def _deliver_all(deliveries: list[tuple[Route, StepOutput]]) -> None:
    for route, output in deliveries:
        route.deliver(output)
