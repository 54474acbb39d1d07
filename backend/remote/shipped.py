"""`ShippedRun`: the backend of one run whose graph runs on the server as well: its requests are answered from there.

The run here and the run there make the same requests at the same places (`Hints.place`), so one stream of events brings
all answers. Made by `RemoteBackend.ship`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from ...lang.errors import BackendError, ClosedError, RamifyError
from .. import wire
from ..api import Backend, Capabilities, ChoiceScore, Chunk, Request, ScoreRequest
from .transport import Transport


class ShippedRun:
    """Answers the requests of one run. A request that the server's run does not make as well goes to `backend`."""

    def __init__(self, backend: Backend, transport: Transport, body: dict[str, Any]) -> None:
        self._backend = backend
        self._transport = transport
        self._body = body
        self._places: dict[str, asyncio.Queue[dict[str, Any] | RamifyError]] = {}
        self._reader: asyncio.Task[None] | None = None
        self._end: RamifyError | None = None

    @property
    def capabilities(self) -> Capabilities:
        """The server's."""
        return self._backend.capabilities

    async def generate(self, request: Request) -> AsyncIterator[Chunk]:
        """See `Backend`."""
        answers = await self._answers(request)
        if answers is None:
            async with aclosing(self._backend.generate(request)) as chunks:  # type: ignore[type-var]
                async for chunk in chunks:
                    yield chunk
            return
        num_open = request.sampling.n
        while num_open:
            chunk = wire.decode_chunk((await _next(answers))["chunk"])
            num_open -= chunk.finish is not None
            yield chunk

    async def score(self, request: ScoreRequest) -> list[ChoiceScore]:
        """See `Backend`."""
        answers = await self._answers(request)
        if answers is None:
            return await self._backend.score(request)
        return [wire.decode_score(score) for score in (await _next(answers))["scores"]]

    async def close(self) -> None:
        """End the server's run, if it still goes on."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    async def _answers(self, request: Request | ScoreRequest) -> asyncio.Queue[dict[str, Any] | RamifyError] | None:
        """Return where the answers to a request come; None when the server's run asks something else there."""
        if self._reader is None:
            self._reader = asyncio.create_task(self._read())
        queue = self._queue(request.hints.place or "")
        try:
            first = await _next(queue)
        except _Over:
            return None  # the server's run has ended without this request
        return queue if first["asked"] == wire.digest(request) else None

    def _queue(self, place: str) -> asyncio.Queue[dict[str, Any] | RamifyError]:
        if place not in self._places:
            self._places[place] = asyncio.Queue()
            if self._end is not None:
                self._places[place].put_nowait(self._end)
        return self._places[place]

    async def _read(self) -> None:
        """Hand out the events of the server's run by place."""
        end: RamifyError = _Over("the server's run has ended")
        try:
            async with aclosing(self._transport.events("/v1/graphs/run", self._body)) as events:  # type: ignore[type-var]
                async for data in events:
                    event = json.loads(data)
                    if "place" in event:
                        self._queue(event["place"] or "").put_nowait(event)
                    elif "row" not in event:
                        raise wire.decode_error(event.get("error"))
        except RamifyError as error:
            end = error
        except asyncio.CancelledError:
            end = ClosedError("the run has ended")
            raise
        finally:
            self._end = end
            for queue in self._places.values():
                queue.put_nowait(end)


class _Over(BackendError):
    """The server's run has ended without what was waited for."""


async def _next(queue: asyncio.Queue[dict[str, Any] | RamifyError]) -> dict[str, Any]:
    event = await queue.get()
    if isinstance(event, RamifyError):
        queue.put_nowait(event)  # for whoever asks next
        raise event
    if "failed" in event:
        raise wire.decode_error(event["failed"])
    return event
