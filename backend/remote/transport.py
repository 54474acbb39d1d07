"""`Transport`: JSON over HTTP to one server: connections kept alive for each event loop, timeouts, careful retries.

Knows no protocol beyond JSON bodies and server-sent events. Called by the clients beside it.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import weakref
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx

from ...lang.errors import BackendError, ClosedError, RamifyError, UnreachableError

RETRIES = 2  # after the first try; only of requests of which nothing was answered
MAX_CONNECTIONS = 256
KEEP_ALIVE_SECONDS = 25.0  # a new connection costs a round trip or more; our server keeps them for 30
MAX_RETRY_AFTER = 30.0  # seconds; a server that wants more patience gets no second try
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
        self._lanes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Lanes] = weakref.WeakKeyDictionary()
        self._is_closed = False

    def get_blocking(self, path: str) -> Any:
        """Return the JSON at `path`, waiting for it in this thread."""
        self._check()
        try:
            answer = httpx.get(self.base_url + path, headers=self._headers, timeout=self._timeout)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        try:
            self._check_status(answer)
        except _Retryable as error:
            raise error.cause from error
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
                await self._wait_or_raise(attempt, error.cause, error.retry_after)
            except httpx.HTTPError as error:
                failure = self._unreachable(error)
                if is_begun:
                    raise failure from error
                await self._wait_or_raise(attempt, failure)

    async def close(self) -> None:
        """Close the connections of this event loop; later calls raise `ClosedError`."""
        self._is_closed = True
        lanes = self._lanes.pop(asyncio.get_running_loop(), None)
        if lanes is not None:
            await lanes.close()

    async def _request(self, method: str, path: str, body: Any) -> Any:
        for attempt in range(RETRIES + 1):
            try:
                async with self._connection() as client:
                    answer = await client.request(method, self.base_url + path, json=body, headers=self._headers)
                self._check_status(answer)
                return _parsed(answer.content)
            except _Retryable as error:
                await self._wait_or_raise(attempt, error.cause, error.retry_after)
            except httpx.HTTPError as error:
                await self._wait_or_raise(attempt, self._unreachable(error))
        raise AssertionError("the last attempt returns or raises")

    @asynccontextmanager
    async def _stream(self, path: str, body: Any) -> AsyncIterator[httpx.Response]:
        url = self.base_url + path
        async with (
            self._connection() as client,
            client.stream("POST", url, json=body, headers=self._headers) as answer,
        ):
            if answer.status_code != 200:
                await answer.aread()
                self._check_status(answer)
            yield answer

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[httpx.AsyncClient]:
        """Lend a client that nobody else uses meanwhile, unless it is the caller's own."""
        self._check()
        if self._client is not None:
            yield self._client
            return
        loop = asyncio.get_running_loop()
        lanes = self._lanes.get(loop)
        if lanes is None:
            lanes = self._lanes[loop] = _Lanes(self._timeout, is_secure=self.base_url.startswith("https:"))
        async with lanes.one() as client:
            yield client

    def _check(self) -> None:
        if self._is_closed:
            raise ClosedError(f"the connection to {self.base_url} is closed")

    def _check_status(self, answer: httpx.Response) -> None:
        status, content = answer.status_code, answer.content
        if status < 400:
            return
        try:
            body: Any = json.loads(content)
        except ValueError:
            body = content.decode(errors="replace")
        error = self._read_error(status, body)
        if status in _RETRY_STATUS:
            raise _Retryable(error, answer.headers.get("Retry-After"))
        raise error

    async def _wait_or_raise(self, attempt: int, error: RamifyError, retry_after: float | None = None) -> None:
        """Sleep before the next attempt, longer each time and never all clients at once; or raise after the last.

        What the server asks for (`Retry-After`) goes before our own guess.
        """
        if attempt == RETRIES or (retry_after is not None and retry_after > MAX_RETRY_AFTER):
            raise error
        seconds = 0.1 * 4**attempt if retry_after is None else retry_after
        await asyncio.sleep(seconds * (1 + 0.5 * random.random()))

    def _unreachable(self, error: httpx.HTTPError) -> UnreachableError:
        what = "did not answer in time" if isinstance(error, httpx.TimeoutException) else "cannot be reached"
        return UnreachableError(f"{self.base_url} {what} ({type(error).__name__}: {error})")


class _Retryable(Exception):
    """A refusal that may pass; `retry_after`: after how many seconds, if the server says so."""

    def __init__(self, cause: RamifyError, retry_after: str | None) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.retry_after = float(retry_after) if retry_after is not None and retry_after.isdigit() else None


class _Lanes:
    """The connections of one event loop: each a client of its own, last used first used.

    One client for all would look through all its connections at every request.
    """

    def __init__(self, timeout: httpx.Timeout, *, is_secure: bool) -> None:
        self._timeout = timeout
        # one for all: loading certificates takes longer than a request
        self._tls = httpx.create_ssl_context() if is_secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._is_closed = False
        self._idle: list[httpx.AsyncClient] = []
        self._turns = asyncio.Semaphore(MAX_CONNECTIONS)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[httpx.AsyncClient]:
        """Lend a connection; it is kept alive for the next."""
        async with self._turns:
            client = self._idle.pop() if self._idle else self._new()
            try:
                yield client
            finally:
                if self._is_closed:
                    await client.aclose()
                else:
                    self._idle.append(client)

    def _new(self) -> httpx.AsyncClient:
        limits = httpx.Limits(keepalive_expiry=KEEP_ALIVE_SECONDS)
        return httpx.AsyncClient(timeout=self._timeout, verify=self._tls, limits=limits)

    async def close(self) -> None:
        """Close the connections that nobody uses now, and each of the others as soon as it is free."""
        self._is_closed = True
        while self._idle:
            await self._idle.pop().aclose()


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        raise BackendError(f"the server's answer is not JSON: {content[:200]!r}") from error
