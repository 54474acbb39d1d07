"""`create_app`: the ASGI application: guard, routes of all protocols, and how errors look in each of them.

The composition root of the server's HTTP side; decides nothing that its parts decide.
"""

from __future__ import annotations

import logging

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from ...lang.errors import BackendError, ParameterError, RamifyError
from . import (
    openai_answers,
    routes_batch,
    routes_graphs,
    routes_openai,
    routes_ops,
    routes_own,
    routes_sglang,
    sglang_answers,
)
from .errors import headers_of, own_body, status_of
from .http import Guard
from .observer import REQUEST_ID, Observer
from .service import Service

# Routes whose clients expect errors in another shape than our own.
ERROR_BODIES = {
    "/v1/completions": openai_answers.error_body,
    "/v1/chat/completions": openai_answers.error_body,
    "/generate": sglang_answers.error_body,
}

log = logging.getLogger("ramify.server")


def create_app(service: Service) -> ASGIApp:
    """Return the application that answers with `service`."""
    settings = service.settings
    app = FastAPI(title="ramify", version="1", docs_url=None, redoc_url=None)
    app.include_router(routes_own.routes(service))
    app.include_router(routes_batch.routes(service))
    app.include_router(routes_openai.routes(service))
    app.include_router(routes_sglang.routes(service))
    app.include_router(routes_graphs.routes(service))
    app.include_router(routes_ops.routes(service))
    app.add_exception_handler(RamifyError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_defect)

    def count(route: str, status: int) -> None:
        service.metrics.requests.labels(route, status).inc()

    key = settings.api_key
    guard = Guard(
        app,
        api_key=None if key is None else key.get_secret_value(),
        max_body=settings.max_body_bytes,
        body_timeout=settings.body_timeout,
    )
    return Observer(guard, count)


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RamifyError)
    body = ERROR_BODIES.get(request.url.path, own_body)
    return JSONResponse(body(error), status_of(error), headers_of(error))


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:]) or "body"
    return await _on_error(request, ParameterError(f"{place}: {first['msg']}"))


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    body = {"error": {"type": "RequestRefused", "message": str(error.detail)}}
    return JSONResponse(body, error.status_code, error.headers)


async def _on_defect(request: Request, error: Exception) -> Response:
    request_id = request.scope.get(REQUEST_ID)
    log.error("%s %s failed, request %s", request.method, request.url.path, request_id, exc_info=error)
    failure = BackendError(f"the server met a defect of its own; its log says more about request {request_id}")
    return JSONResponse(own_body(failure), 500)
