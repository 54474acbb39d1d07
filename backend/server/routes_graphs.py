"""`POST /v1/graphs/run`: a shipped program runs here, so that its dependent generations cost the client no round trips.

Called by the app.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from ...lang.graph.limits import Limits
from .bodies import check_known
from .graph_bodies import GraphBody
from .graph_runs import GraphRuns, load_program, rows_of
from .http import sse, stream_response, unless_gone
from .service import Service


def routes(service: Service) -> APIRouter:
    """Return the route for shipped programs."""
    router = APIRouter(tags=["graphs"])
    limits = Limits(tokens=service.settings.max_run_tokens)

    @router.post("/v1/graphs/run", response_model=None)
    async def run(body: GraphBody, http: HttpRequest) -> Response:
        if not service.settings.lenient:
            check_known(body)
        service.check_ready()
        program = load_program(body, limits)
        runs = GraphRuns(service, program, body, rows_of(body, program, service.settings.max_rows))
        if body.stream:
            return await stream_response(http, _events(runs))
        return JSONResponse({"results": await unless_gone(http, runs.results())})

    return router


async def _events(runs: GraphRuns) -> AsyncIterator[bytes]:
    async with aclosing(runs.events()) as events:
        async for ready in events:
            yield b"".join(map(sse, ready))
    yield sse("[DONE]")
