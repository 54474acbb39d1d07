"""What HTTP itself needs, for every route: bodies within bounds, keys, disconnects, server-sent events.

Plain ASGI and Starlette; knows nothing of models or protocols. Called by the app and the routes.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...lang.errors import AbortError

T = TypeVar("T")

_JSON = msgspec.json.Encoder()

OPEN_PATHS = frozenset({"/health", "/ready", "/openapi.json"})  # exact routes that need no key


class Guard:
    """ASGI middleware: checks the key, and reads a body into memory within its bounds of size and time."""

    def __init__(self, app: ASGIApp, *, api_key: str | None, max_body: int, body_timeout: float) -> None:
        self.app = app
        self._key = None if api_key is None else f"Bearer {api_key}".encode()
        self._max_body = max_body
        self._body_timeout = body_timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 401, 408 or 413."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if self._key is not None and scope["path"] not in OPEN_PATHS:
            given = headers.get(b"authorization", b"")
            if not hmac.compare_digest(given, self._key):
                await _refuse(401, "missing or wrong API key")(scope, receive, send)
                return
        try:
            body = await asyncio.wait_for(self._read(receive, headers), self._body_timeout)
        except TimeoutError:
            await _refuse(408, f"the body did not arrive within {self._body_timeout:g} s")(scope, receive, send)
            return
        if body is None:
            message = f"the body is larger than this server's {self._max_body} bytes"
            await _refuse(413, message)(scope, receive, send)
            return
        await self.app(scope, _replay(body, receive), send)

    async def _read(self, receive: Receive, headers: dict[bytes, bytes]) -> bytes | None:
        """Return the whole body; None when it is too large."""
        declared = headers.get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > self._max_body:
            return None
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise asyncio.CancelledError
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._max_body:
                return None
            if not message.get("more_body", False):
                return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that was read, then what comes next: the disconnect."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return messages.pop() if messages else await receive()

    return next_message


def _refuse(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": {"type": "RequestRefused", "message": message}}, status)


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` gives; when the client hangs up before, cancel it and raise `AbortError`."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return await working
        raise AbortError("the client hung up")
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def sse(data: Any) -> bytes:
    """Return one server-sent event; `data` is text or JSON."""
    return b"data: " + (data.encode() if isinstance(data, str) else _JSON.encode(data)) + b"\n\n"


async def stream_response(request: Request, events: AsyncIterator[bytes]) -> StreamingResponse:
    """Return a response of server-sent events that ends `events` when the client hangs up.

    The first event is made before the response begins, so that what is refused at once has a status of its own.
    """
    first = await unless_gone(request, _first(events))

    async def body() -> AsyncIterator[bytes]:
        async with contextlib.aclosing(events):  # type: ignore[type-var]
            yield first
            async for event in events:
                yield event

    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(body(), media_type="text/event-stream", headers=headers)


async def _first(events: AsyncIterator[bytes]) -> bytes:
    return await anext(events)


async def ready_items(queue: asyncio.Queue[T]) -> list[T]:
    """Wait for an item and return it with all that are there already."""
    items = [await queue.get()]
    while not queue.empty():
        items.append(queue.get_nowait())
    return items
