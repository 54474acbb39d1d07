"""Shipping: the graph of a program runs where the model is, and the run here takes its answers from there.

The body still runs here, so its values are what they always are; a request that the graph did not foresee is sent as
usual. Called by `Program` when a run begins.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from ..backend.api import Backend, GraphBackend, Hints
from ..lang.errors import ProgramError
from ..lang.ir import ForkEach, Gen, Loop, Select
from .hints import current_hints

if TYPE_CHECKING:
    from .program import Program

MIN_REQUESTS = 2  # a single request is one round trip either way


def ship(program: Program, call: partial[Any], backend: Backend, timeout: float | None) -> Backend | None:
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
    return backend.ship(shipped, timeout=timeout) if has_loop or num_gens >= MIN_REQUESTS else None


async def ship_beside(program: Program, call: partial[Any], backend: Backend, timeout: float | None) -> Backend | None:
    """`ship` without blocking the event loop: a body may take its time."""
    if not backend.capabilities.graphs:
        return None
    return await asyncio.to_thread(ship, program, call, backend, timeout)
