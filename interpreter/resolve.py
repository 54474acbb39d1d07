"""Values that an operation reads, on the run's event loop: waits for the variables in them and computes the rest.

Live bodies record what they know; graphs record references, so that a whole graph is recorded before it runs. Called
by `Chain` for its operations and by `replay.py` for what control depends on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..lang.errors import ProgramError
from ..lang.evaluate import evaluate
from ..lang.graph.values import sources_of
from ..lang.ir import Argument, Reference, Value, is_constant
from ..lang.location import at
from .run import Run
from .values import Meta, Variable
from .waiting import value_of


async def resolve(run: Run, value: Value, location: str | None) -> Any:
    """Wait for what `value` reads and return what it is; `ProgramError` with the place where it cannot be computed."""
    if is_constant(value):
        return value
    for source in sources_of(value):
        if isinstance(source, Reference):
            await wait_for(run, source.node, source.name)
    return compute(run, value, location)


async def wait_for(run: Run, node: int, name: str) -> Variable:
    """Wait for the variable `name` of a node of any branch."""
    slot = run.slots[node, name]
    slot.chain.start()
    return await value_of(slot.future)


def compute(run: Run, value: Value, location: str | None) -> Any:
    """Return what `value` is; everything it reads is there."""

    def lookup(source: Reference | Argument) -> Any:
        assert isinstance(source, Reference), "arguments are given when a graph is recorded"
        return run.slots[source.node, source.name].future.result().value

    try:
        return evaluate(value, lookup)
    except ProgramError as error:
        raise ProgramError(f"{error}{at(location)}") from error


async def gather(run: Run, name: str, sources: Sequence[int | None]) -> Variable:
    """Wait for the variable `name` of each of several nodes and return the tuple of them; None where there is none."""
    found = [None if node is None else await wait_for(run, node, name) for node in sources]
    values = tuple(None if item is None else item.value for item in found)
    metas = tuple(Meta() if item is None else item.meta for item in found)
    return Variable(values, None, Meta(samples=metas))
