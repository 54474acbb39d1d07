"""What operators ask: health, readiness, metrics, the cache's tree, and flushing it.

Called by the app; answers from the service and, where it is alive, the engine.
"""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse, PlainTextResponse, Response

from ...lang.errors import RamifyError
from .errors import headers_of, own_body
from .service import Service

ENGINE_SECONDS = 2.0  # how long the engine may take to say how it is


def routes(service: Service) -> APIRouter:
    """Return the operators' routes."""
    router = APIRouter(tags=["operations"])

    @router.get("/health", response_model=None)
    async def health() -> Response:
        failure = service.backend.failure
        if failure is None:
            return JSONResponse({"status": "ok"})
        return JSONResponse({"status": "failed" if service.has_started else "loading", **own_body(failure)}, 503)

    @router.get("/ready", response_model=None)
    async def ready() -> Response:
        try:
            service.check_ready()
        except RamifyError as error:
            return JSONResponse({"status": "not ready", **own_body(error)}, 503, headers_of(error))
        return JSONResponse({"status": "ready"})

    @router.get("/metrics", response_model=None)
    async def metrics() -> Response:
        counts: dict[str, Any] = {}
        try:
            counts = await asyncio.wait_for(service.backend.ask("stats"), ENGINE_SECONDS)
        except (RamifyError, TimeoutError):
            counts = {}  # a scrape must not fail because the engine does; ramify_engine_* are then missing
        return Response(service.metrics.text(counts), media_type="text/plain; version=0.0.4")

    @router.get("/debug/radix", response_model=None)
    async def radix() -> Response:
        return JSONResponse(await service.backend.ask("snapshot"))

    @router.get("/debug/programs", response_model=None)
    async def programs() -> Response:
        return JSONResponse(await service.backend.ask("programs"))

    @router.post("/flush_cache", response_model=None)
    async def flush_cache() -> Response:
        await service.backend.ask("flush")
        return PlainTextResponse("The cache has been flushed.\n")

    return router
