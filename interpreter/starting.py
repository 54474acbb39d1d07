"""Starting a run, and shipping: the graph runs where the model is, and the run here takes its answers from there.

The body still runs here, so its values are what they always are; a request that the graph did not foresee is sent as
usual. Called by `Program`.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from ..backend.api import Backend, ConnectingBackend, GraphBackend
from ..lang.errors import ProgramError
from ..lang.ir import ForkEach, Gen, Loop, Select
from .execution import Execution
from .hints import current_hints

if TYPE_CHECKING:
    from .program import Program

MIN_REQUESTS = 2  # a single request is one round trip either way


def ship(
    program: Program, call: partial[Any], backend: Backend, timeout: float | None, *, is_streamed: bool
) -> Backend | None:
    """Return the backend of one run whose graph is shipped, to be closed with the run. `call`: the body, bound.

    None where it is not worth it, or cannot be: the backend takes no graphs, the program cannot be traced, or its graph
    holds what has no form as JSON. Tracing runs the body once more, with stand-ins for what is generated.
    """
    if not backend.capabilities.graphs or not isinstance(backend, GraphBackend):
        return None
    (bound,) = call.args
    try:
        graph = program.compile(*bound.args, **bound.kwargs)
        shipped = graph.to_json()
    except ProgramError:
        return None
    num_gens = sum(isinstance(node.op, Gen | Select) for node in graph.nodes)
    if num_gens < MIN_REQUESTS and not any(isinstance(node.op, Loop | ForkEach) for node in graph.nodes):
        return None
    name = getattr(program, "__name__", "program")
    return backend.ship(shipped, name=name, timeout=timeout, stream=is_streamed, hints=current_hints())


def start(
    program: Program,
    call: partial[Any],
    backend: Backend,
    timeout: float | None,
    loop: asyncio.AbstractEventLoop,
    *,
    is_streamed: bool = True,
) -> Execution:
    """Return the execution of a program's body on `backend`, with its graph shipped where that pays.

    `is_streamed`: somebody outside the body may read its text as it grows.
    """
    shipped = ship(program, call, backend, timeout, is_streamed=is_streamed)
    return _execution(program, call, backend, timeout, loop, shipped=shipped)


async def start_beside(program: Program, call: partial[Any], backend: Backend, timeout: float | None) -> Execution:
    """`start` on the running event loop, without blocking it: a body that is traced may take its time."""
    await _connect(backend)
    shipped = None
    if backend.capabilities.graphs:
        shipped = await asyncio.to_thread(ship, program, call, backend, timeout, is_streamed=False)
    return _execution(program, call, backend, timeout, asyncio.get_running_loop(), shipped=shipped)


class RowStarter:
    """Starts the rows of one batch. What the first one shows holds for all: no others are traced if it is not shipped.

    Nobody reads the text of a row as it grows, so its requests are not streamed.
    """

    def __init__(self, program: Program, backend: Backend, timeout: float | None) -> None:
        self._program = program
        self._backend = backend
        self._timeout = timeout
        self._first: asyncio.Task[Backend | None] | None = None

    async def start(self, call: partial[Any]) -> Execution:
        """Return the execution of one row."""
        shipped = None
        if self._first is None:
            self._first = asyncio.create_task(self._ship(call))
            shipped = await self._first
        elif await asyncio.shield(self._first) is not None:
            shipped = await self._ship(call)
        loop = asyncio.get_running_loop()
        return _execution(self._program, call, self._backend, self._timeout, loop, shipped=shipped, is_streamed=False)

    async def _ship(self, call: partial[Any]) -> Backend | None:
        await _connect(self._backend)
        if not self._backend.capabilities.graphs:
            return None
        return await asyncio.to_thread(ship, self._program, call, self._backend, self._timeout, is_streamed=False)


async def _connect(backend: Backend) -> None:
    """Let a backend elsewhere say what it can do; later that would block."""
    if hasattr(type(backend), "connect"):  # `isinstance` would read `capabilities`
        await cast(ConnectingBackend, backend).connect()


def _execution(
    program: Program,
    call: partial[Any],
    backend: Backend,
    timeout: float | None,
    loop: asyncio.AbstractEventLoop,
    *,
    shipped: Backend | None,
    is_streamed: bool = True,
) -> Execution:
    facts = {"is_async": program.is_async, "is_streamed": is_streamed}
    execution = Execution(call, program.parameters, shipped or backend, timeout, loop, **facts)
    execution.run.owned = shipped
    return execution
