"""`Observer`: ASGI middleware around everything: request ids, one line of log and one count for each request.

Knows nothing of models or protocols. Called by the app.
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUEST_ID = "ramify.request_id"  # where a request's id stands in its scope
CLIENT_GONE = 499  # of a request whose client hung up before it was answered

_SANE_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")

log = logging.getLogger("ramify.access")


class Observer:
    """Gives every request an id, the client's `X-Request-Id` where that is sane, and says what became of it.

    `count` is called with the route's pattern, never the path, and the status.
    """

    def __init__(self, app: ASGIApp, count: Callable[[str, int], None]) -> None:
        self.app = app
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        given: bytes = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        request_id = given if _SANE_ID.fullmatch(given) else uuid.uuid4().hex.encode()
        scope[REQUEST_ID] = request_id.decode()
        status = CLIENT_GONE

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id)]
            await send(message)

        try:
            await self.app(scope, receive, observed)
        finally:
            self._count(getattr(scope.get("route"), "path", "unknown"), status)
            if log.isEnabledFor(logging.INFO):
                client = (scope.get("client") or ("-",))[0]
                took = 1000 * (time.perf_counter() - began)
                path = scope["path"].encode("unicode_escape").decode()  # a path must not write lines of its own
                log.info("%s %s %s %d %.0f ms %s", client, scope["method"], path, status, took, scope[REQUEST_ID])
