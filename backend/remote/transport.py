"""`Transport`: JSON over HTTP to one server: a keep-alive pool per event loop, timeouts everywhere, careful retries.

Knows no protocol beyond JSON bodies and server-sent events. Called by the clients beside it.
"""

from __future__ import annotations

import asyncio
import json
import random
import weakref
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx

from ...lang.errors import BackendError, ClosedError, RamifyError, UnreachableError

RETRIES = 2  # after the first try; only of requests of which nothing was answered
MAX_CONNECTIONS = 256
_RETRY_STATUS = frozenset({429, 502, 503, 504})

ReadError = Callable[[int, Any], RamifyError]
"""From an HTTP status and a decoded body (or its text) to the error that it means."""


class Transport:
    """Sends requests to `base_url`. Thread-safe; usable from any number of event loops.

    `timeout`: seconds without a byte from the server; `connect_timeout`: for a connection to come about. `client`: an
    `httpx.AsyncClient` to use instead of pools of its own (it belongs to one event loop and to the caller).
    """

    def __init__(
        self,
        base_url: str,
        *,
        read_error: ReadError,
        headers: Mapping[str, str] | None = None,
        timeout: float = 600.0,
        connect_timeout: float = 10.0,
        client: httpx.AsyncClient | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._read_error = read_error
        self._headers = dict(headers or {})
        self._timeout = httpx.Timeout(timeout, connect=connect_timeout)
        self._client = client
        self._clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = (
            weakref.WeakKeyDictionary()
        )
        self._is_closed = False

    def get_blocking(self, path: str) -> Any:
        """Return the JSON at `path`, waiting for it in this thread."""
        self._check()
        try:
            answer = httpx.get(self.base_url + path, headers=self._headers, timeout=self._timeout)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        self._check_status(answer.status_code, answer.content)
        return _parsed(answer.content)

    async def get(self, path: str) -> Any:
        """Return the JSON at `path`."""
        return await self._request("GET", path, None)

    async def post(self, path: str, body: Any) -> Any:
        """Return the JSON that answers `body`."""
        return await self._request("POST", path, body)

    async def events(self, path: str, body: Any) -> AsyncIterator[str]:
        """Yield the data of each server-sent event that answers `body`, up to `[DONE]`.

        A connection that fails before the first event is tried again; later it is a `BackendError`.
        """
        for attempt in range(RETRIES + 1):
            is_begun = False
            try:
                async with self._stream(path, body) as answer:
                    async for line in answer.aiter_lines():
                        if line.startswith("data:"):
                            is_begun = True
                            data = line.removeprefix("data:").strip()
                            if data == "[DONE]":
                                return
                            yield data
                    raise BackendError(f"{self.base_url} ended its answer in the middle")
            except _Retryable as error:
                await self._wait_or_raise(attempt, error.cause)
            except httpx.HTTPError as error:
                failure = self._unreachable(error)
                if is_begun:
                    raise failure from error
                await self._wait_or_raise(attempt, failure)

    async def close(self) -> None:
        """Close the pools of this event loop; later calls raise `ClosedError`."""
        self._is_closed = True
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

    async def _request(self, method: str, path: str, body: Any) -> Any:
        for attempt in range(RETRIES + 1):
            try:
                answer = await self._pool().request(method, self.base_url + path, json=body, headers=self._headers)
                self._check_status(answer.status_code, answer.content)
                return _parsed(answer.content)
            except _Retryable as error:
                await self._wait_or_raise(attempt, error.cause)
            except httpx.HTTPError as error:
                await self._wait_or_raise(attempt, self._unreachable(error))
        raise AssertionError("the last attempt returns or raises")

    @asynccontextmanager
    async def _stream(self, path: str, body: Any) -> AsyncIterator[httpx.Response]:
        url = self.base_url + path
        async with self._pool().stream("POST", url, json=body, headers=self._headers) as answer:
            if answer.status_code != 200:
                self._check_status(answer.status_code, await answer.aread())
            yield answer

    def _pool(self) -> httpx.AsyncClient:
        self._check()
        if self._client is not None:
            return self._client
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            limits = httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS)
            client = self._clients[loop] = httpx.AsyncClient(timeout=self._timeout, limits=limits)
        return client

    def _check(self) -> None:
        if self._is_closed:
            raise ClosedError(f"the connection to {self.base_url} is closed")

    def _check_status(self, status: int, content: bytes) -> None:
        if status < 400:
            return
        try:
            body: Any = json.loads(content)
        except ValueError:
            body = content.decode(errors="replace")
        error = self._read_error(status, body)
        if status in _RETRY_STATUS:
            raise _Retryable(error)
        raise error

    async def _wait_or_raise(self, attempt: int, error: RamifyError) -> None:
        """Sleep before the next attempt, longer each time and never all clients at once; or raise after the last."""
        if attempt == RETRIES:
            raise error
        await asyncio.sleep(0.1 * 4**attempt * (0.5 + random.random()))

    def _unreachable(self, error: httpx.HTTPError) -> UnreachableError:
        what = "did not answer in time" if isinstance(error, httpx.TimeoutException) else "cannot be reached"
        return UnreachableError(f"{self.base_url} {what} ({type(error).__name__}: {error})")


class _Retryable(Exception):
    """A refusal that may pass."""

    def __init__(self, cause: RamifyError) -> None:
        super().__init__(str(cause))
        self.cause = cause


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        raise BackendError(f"the server's answer is not JSON: {content[:200]!r}") from error
