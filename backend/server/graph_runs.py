"""Running shipped programs: the interpreter over the service, row by row, with everything that happens as events.

Called by the graph routes. A failing row is a result like any other; it never ends the others.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter

from ...interpreter.batch import Ok
from ...interpreter.program import Program
from ...interpreter.request_graph import RequestGraph
from ...interpreter.result import Result
from ...interpreter.script_program import parse_script
from ...lang.errors import ParameterError, RamifyError
from ...lang.graph.limits import Limits
from .. import wire
from ..api import Capabilities, ChoiceScore, Chunk, Hints, Request, ScoreRequest, Usage
from .graph_bodies import GraphBody
from .http import ready_items
from .service import Service

Event = dict[str, Any]

_PLAIN: TypeAdapter[Any] = TypeAdapter(Any)


def load_program(body: GraphBody, limits: Limits) -> Program:
    """Return the program of a body; `ProgramError` (`ScriptError` with its diagnostics) when it is wrong."""
    if (body.graph is None) == (body.script is None):
        raise ParameterError("either graph or script must be given")
    if body.graph is not None:
        program: Program = RequestGraph.from_json(json.dumps(body.graph), limits).program()
    else:
        program = parse_script(body.script or "", body.name)
        program.compile().verify(limits)
    return program.with_sampling(**(body.sampling or {}))


def rows_of(body: GraphBody, program: Program, max_rows: int) -> list[dict[str, Any]]:
    """Return the inputs of every row, checked."""
    if body.rows is not None and body.inputs is not None:
        raise ParameterError("inputs are for one run, rows for many; give one of them")
    rows = [body.inputs or {}] if body.rows is None else body.rows
    if len(rows) > max_rows:
        raise ParameterError(f"the request holds {len(rows)} rows; this server takes {max_rows}")
    for number, row in enumerate(rows):
        try:
            program.check_row(row)
        except ParameterError as error:
            raise ParameterError(f"row {number}: {error}") from error
    return rows


class GraphRuns:
    """The runs of one request."""

    def __init__(self, service: Service, program: Program, body: GraphBody, rows: list[dict[str, Any]]) -> None:
        self._service = service
        self._program = program
        self._body = body
        self._rows = rows
        self._turns = asyncio.Semaphore(service.settings.max_running)

    async def results(self) -> list[Event]:
        """Return what each row came to, in order."""
        return list(await asyncio.gather(*(self._run(number, lambda event: None) for number in range(len(self._rows)))))

    async def events(self) -> AsyncGenerator[list[Event]]:
        """Yield what happens, of all rows as it comes: what is there at one moment. Closing it ends the runs."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue()

        async def run_all() -> None:
            async def run(number: int) -> None:
                queue.put_nowait({"row": number, **await self._run(number, queue.put_nowait)})

            await asyncio.gather(*(run(number) for number in range(len(self._rows))))

        running = asyncio.create_task(run_all())
        running.add_done_callback(lambda _: queue.put_nowait(None))
        try:
            is_over = False
            while not is_over:
                items = await ready_items(queue)
                is_over = None in items
                if events := [event for event in items if event is not None]:
                    yield events
            await running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def _run(self, number: int, emit: Any) -> Event:
        """Run a row, and count it by the program's name."""
        began = time.perf_counter()
        usage: Usage | None = None
        try:
            event, usage = await self._outcome(number, emit)
            return event
        finally:
            self._service.metrics.program_run(self._body.name, usage, time.perf_counter() - began)

    async def _outcome(self, number: int, emit: Any) -> tuple[Event, Usage | None]:
        hints = Hints(priority=self._body.priority, cache_salt=self._body.cache_salt)
        backend = _Observed(self._service, hints, lambda event: emit({"row": number, **event}))
        async with self._turns:
            if self._body.stream and self._body.growing:
                try:
                    result = await self._program.arun(backend=backend, timeout=self._timeout, **self._rows[number])
                except RamifyError as error:
                    return {"error": wire.encode_error(error)}, None
                return {"result": encode_result(result)}, result.usage
            rows = [self._rows[number]]  # a batch's requests are not streamed
            (done,) = await self._program.arun_batch(rows, backend=backend, timeout=self._timeout, progress=False)
        if isinstance(done, Ok):
            return {"result": encode_result(done.value)}, done.value.usage
        if isinstance(done.error, RamifyError):
            return {"error": wire.encode_error(done.error)}, None
        raise done.error

    @property
    def _timeout(self) -> float:
        limit = self._service.settings.request_timeout
        return limit if self._body.timeout is None else min(limit, self._body.timeout)


class _Observed:
    """The service as the backend of one run, which tells of every request and its answer."""

    def __init__(self, service: Service, hints: Hints, emit: Any) -> None:
        self._service = service
        self._hints = hints
        self._emit = emit
        self._capabilities = replace(service.capabilities, graphs=False)  # it is here already

    @property
    def capabilities(self) -> Capabilities:
        """See `Backend`."""
        return self._capabilities

    async def generate(self, request: Request) -> AsyncIterator[Chunk]:
        """See `Backend`."""
        place = request.hints.place
        self._emit({"place": place, "asked": wire.digest(request)})
        try:
            async with aclosing(self._service.generate(self._with_hints(request))) as chunks:  # type: ignore[type-var]
                async for chunk in chunks:
                    self._emit({"place": place, "chunk": wire.encode_chunk(chunk)})
                    yield chunk
        except RamifyError as error:
            self._emit({"place": place, "failed": wire.encode_error(error)})
            raise

    async def score(self, request: ScoreRequest) -> list[ChoiceScore]:
        """See `Backend`."""
        place = request.hints.place
        self._emit({"place": place, "asked": wire.digest(request)})
        try:
            scores = await self._service.score(self._with_hints(request))
        except RamifyError as error:
            self._emit({"place": place, "failed": wire.encode_error(error)})
            raise
        self._emit({"place": place, "scores": [wire.encode_score(score) for score in scores]})
        return scores

    async def close(self) -> None:
        """See `Backend`; the service outlives its runs."""

    def _with_hints(self, request: Any) -> Any:
        given = self._hints
        hints = replace(request.hints, priority=given.priority, cache_salt=given.cache_salt)
        return replace(request, hints=hints)


def encode_result(result: Result) -> Event:
    """Return a result as plain values: `value`, `variables`, `text`, `messages`, `usage`."""
    plain: Event = _PLAIN.dump_python(
        {
            "value": result.value,
            "variables": {name: result[name] for name in result},
            "text": result.text(),
            "messages": result.messages(),
            "usage": result.usage,
        },
        mode="json",
        fallback=str,
    )
    return plain
