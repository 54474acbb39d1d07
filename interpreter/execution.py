"""One execution of a program's body: in the caller's thread, in a thread of its own, or as a coroutine.

Puts together run, chain and state, and ends the run whatever happens. Called by `Program` and the streams.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Mapping
from typing import Any

from ..backend.api import Backend
from ..lang.recorder import Recorder
from .background import background
from .chain import Chain
from .default_backend import use
from .result import Result
from .run import CURRENT_RUN, Run
from .state import AsyncState, State

Body = Callable[..., Any]


class Execution:
    """A body with its state, about to run. `body(state)` has its other arguments bound already."""

    def __init__(
        self,
        body: Body,
        parameters: Mapping[str, Any],
        backend: Backend,
        timeout: float | None,
        loop: asyncio.AbstractEventLoop,
        *,
        is_async: bool,
        is_streamed: bool,
    ) -> None:
        self.run = Run(loop, backend, timeout, is_streamed=is_streamed)
        self.chain = Chain(self.run)
        self._body = body
        self._is_async = is_async
        recorder = Recorder(self.chain, parameters=parameters)
        self._state = AsyncState(recorder) if is_async else State(recorder)

    def complete_here(self) -> Result:
        """Run a sync body in this thread; its requests run on the background loop."""
        error: BaseException | None = None
        try:
            value = self._call()
            return background().call(self._settle(value))
        except BaseException as caught:
            error = caught
            raise
        finally:
            if not self.run.ended:
                background().call(self.run.stop(error))

    async def complete(self) -> Result:
        """Run the body and wait for everything it started; called on the run's loop."""
        run, error = self.run, None
        timer = None if run.timeout is None else run.loop.call_later(run.timeout, run.expire)
        body = run.loop.create_task(self._call_async()) if self._is_async else self._call_in_thread()
        stopped = run.loop.create_task(run.stopped.wait())
        try:
            await asyncio.wait({body, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if run.error is not None:
                raise run.error
            return await self._settle(body.result())
        except BaseException as caught:
            error = caught
            raise
        finally:
            stopped.cancel()
            body.cancel()
            if timer is not None:
                timer.cancel()
            await run.stop(error)

    async def _settle(self, value: Any) -> Result:
        """Check that the body left nothing open, wait for its requests and collect the result."""
        self._state.recorder.close()
        await self.run.finish()
        result = Result(self.chain, value)
        await self.run.stop()
        return result

    def _call(self) -> Any:
        token = CURRENT_RUN.set(self.run)
        try:
            with use(self.run.backend):
                return self._body(self._state)
        finally:
            CURRENT_RUN.reset(token)

    async def _call_async(self) -> Any:
        token = CURRENT_RUN.set(self.run)
        try:
            with use(self.run.backend):
                return await self._body(self._state)
        finally:
            CURRENT_RUN.reset(token)

    def _call_in_thread(self) -> asyncio.Future[Any]:
        """Run a sync body in a thread of its own, in a copy of this context."""
        loop = self.run.loop
        future: asyncio.Future[Any] = loop.create_future()
        context = contextvars.copy_context()

        def deliver(value: Any, error: BaseException | None) -> None:
            if future.done():  # the run ended before its body did
                return
            if error is None:
                future.set_result(value)
            elif isinstance(error, StopIteration):
                future.set_exception(RuntimeError(f"the program raised {error!r}"))  # a future cannot carry it
            else:
                future.set_exception(error)

        def work() -> None:
            value, error = None, None
            try:
                value = context.run(self._call)
            except BaseException as caught:  # noqa: BLE001 (delivered to the waiting loop, which raises it)
                error = caught
            if not loop.is_closed():
                loop.call_soon_threadsafe(deliver, value, error)

        threading.Thread(target=work, name="ramify-body", daemon=True).start()
        return future
