"""`POST /v1/batch`: many generations and scorings in one body, answered by one stream as each of them gets on.

What a client has ready at one moment then costs one request. Called by the app.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from ...lang.errors import ParameterError, RamifyError
from .. import wire
from ..api import Request, ScoreRequest
from .bodies import Body, check_known
from .http import ready_items, sse, stream_response
from .service import OverloadedError, Service

Event = dict[str, Any]


class BatchBody(Body):
    """Each request is `{"generate": {...}}` or `{"score": {...}}`, with a body as the routes of these names take.

    Answered by events `{"request": number, ...}`: `chunk`s of a generation or the `scores` of a scoring, `is_last` with
    the last; or an `error`, with `is_busy` where the same request may be taken later.
    """

    requests: list[dict[str, Any]] = Field(min_length=1)


class AbortBody(Body):
    """End the open requests with exactly this id."""

    id: str = Field(max_length=256)


def routes(service: Service) -> APIRouter:
    """Return the routes for many requests at once."""
    router = APIRouter(tags=["ramify"])

    @router.post("/v1/batch", response_model=None)
    async def batch(body: BatchBody, http: HttpRequest) -> Response:
        if not service.settings.lenient:
            check_known(body)
        if len(body.requests) > service.settings.max_rows:
            raise ParameterError(
                f"the body holds {len(body.requests)} requests; a server takes {service.settings.max_rows}"
            )
        service.check_ready()
        return await stream_response(http, _Batch(service, body.requests).events())

    @router.post("/v1/abort", response_model=None)
    async def abort(body: AbortBody) -> Response:
        if not service.settings.lenient:
            check_known(body)
        return JSONResponse({"aborted": service.abort(body.id)})

    return router


class _Batch:
    """The requests of one body, each answered by a task of its own."""

    def __init__(self, service: Service, requests: list[Event]) -> None:
        self._service = service
        self._requests = requests
        self._ready: asyncio.Queue[Event] = asyncio.Queue()

    async def events(self) -> AsyncIterator[bytes]:
        """Yield what happens; what is ready at one moment goes into one piece. Closing it aborts what is open."""
        tasks = [asyncio.create_task(self._answer(number, plain)) for number, plain in enumerate(self._requests)]
        num_open = len(tasks)
        try:
            while num_open:
                events = await ready_items(self._ready)
                num_open -= sum("is_last" in event for event in events)
                yield b"".join(map(sse, events))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        yield sse("[DONE]")

    async def _answer(self, number: int, plain: Event) -> None:
        try:
            match plain:
                case {"generate": asked, **rest} if not rest:
                    await self._generate(number, wire.decode_request(asked))
                case {"score": asked, **rest} if not rest:
                    await self._score(number, wire.decode_score_request(asked))
                case _:
                    raise ParameterError("a request of a batch is an object with either generate or score")
        except RamifyError as error:
            busy = {"is_busy": True} if isinstance(error, OverloadedError) else {}
            self._put(number, {"error": wire.encode_error(error), "is_last": True, **busy})

    async def _generate(self, number: int, request: Request) -> None:
        num_open = request.sampling.n
        async with aclosing(self._service.generate(request)) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                num_open -= chunk.finish is not None
                end = {} if num_open else {"is_last": True}
                self._put(number, {"chunk": wire.encode_chunk(chunk), **end})

    async def _score(self, number: int, request: ScoreRequest) -> None:
        scores = await self._service.score(request)
        self._put(number, {"scores": [wire.encode_score(score) for score in scores], "is_last": True})

    def _put(self, number: int, event: Event) -> None:
        self._ready.put_nowait({"request": number, **event})
