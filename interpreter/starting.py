"""Starting a run, and shipping: the graph runs where the model is, and the run here takes its answers from there.

The body still runs here, so its values are what they always are; a request that the graph did not foresee is sent as
usual. Called by `Program`.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from ..backend.api import Backend, GraphBackend, Hints
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

    None where it is not worth it, or cannot be: the backend takes no graphs, the program cannot be traced, its graph
    holds what has no form as JSON, or its requests have hints, which a graph has not. Tracing runs the body once more,
    with stand-ins for what is generated.
    """
    if not backend.capabilities.graphs or not isinstance(backend, GraphBackend) or current_hints() != Hints():
        return None
    (bound,) = call.args
    try:
        graph = program.compile(*bound.args, **bound.kwargs)
        shipped = graph.to_json()
    except ProgramError:
        return None
    num_gens = sum(isinstance(node.op, Gen | Select) for node in graph.nodes)
    has_loop = any(isinstance(node.op, Loop | ForkEach) for node in graph.nodes)
    return backend.ship(shipped, timeout=timeout, stream=is_streamed) if has_loop or num_gens >= MIN_REQUESTS else None


def start(
    program: Program, call: partial[Any], backend: Backend, timeout: float | None, loop: asyncio.AbstractEventLoop
) -> Execution:
    """Return the execution of a program's body on `backend`, with its graph shipped where that pays."""
    shipped = ship(program, call, backend, timeout, is_streamed=True)
    return _execution(program, call, backend, timeout, loop, shipped=shipped, is_streamed=True)


async def start_beside(
    program: Program, call: partial[Any], backend: Backend, timeout: float | None, *, is_streamed: bool = True
) -> Execution:
    """`start` on the running event loop, without blocking it: a body that is traced may take its time."""
    shipped = None
    if backend.capabilities.graphs:
        shipped = await asyncio.to_thread(ship, program, call, backend, timeout, is_streamed=is_streamed)
    loop = asyncio.get_running_loop()
    return _execution(program, call, backend, timeout, loop, shipped=shipped, is_streamed=is_streamed)


def _execution(
    program: Program,
    call: partial[Any],
    backend: Backend,
    timeout: float | None,
    loop: asyncio.AbstractEventLoop,
    *,
    shipped: Backend | None,
    is_streamed: bool,
) -> Execution:
    facts = {"is_async": program.is_async, "is_streamed": is_streamed}
    execution = Execution(call, program.parameters, shipped or backend, timeout, loop, **facts)
    execution.run.owned = shipped
    return execution
