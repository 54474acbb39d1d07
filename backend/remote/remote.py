"""`RemoteBackend`: a ramify server as a backend; the same programs, over HTTP.

Speaks our own protocol in the plain values of `wire.py`. Needs neither torch nor transformers.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Literal, get_args

import httpx

from ...lang.errors import BackendError, ParameterError, RamifyError
from .. import wire
from ..api import Backend, Capabilities, ChoiceScore, Chunk, Hints, Request, ScoreRequest
from .shipped import ShippedRun
from .together import Alone, Together
from .transport import Transport

Ship = Literal["auto", "never"]


class RemoteBackend:
    """Runs programs on the server at `url` (`http://host:port`).

    - `api_key`: sent as a bearer token. `timeout`: seconds without a sign of the server. `client`: an
      `httpx.AsyncClient` of yours.
    - `ship="auto"`: a program that can be traced runs on the server as a whole, so that its dependent generations cost
      no round trips; "never" sends every request by itself.

    What the server can do is asked of it when first needed; one that cannot be reached is an `UnreachableError`.

    >>> import ramify
    >>> program.run(backend=ramify.RemoteBackend("http://127.0.0.1:8000"))  # doctest: +SKIP
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout: float = 600.0,
        ship: Ship = "auto",
        client: httpx.AsyncClient | None = None,
    ) -> None:
        if ship not in get_args(Ship):
            raise ParameterError(f"ship is one of {', '.join(get_args(Ship))}, got {ship!r}")
        self._ship = ship
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._transport = Transport(url, read_error=_read_error, headers=headers, timeout=timeout, client=client)
        self._together = Together(self._transport)
        self._capabilities: Capabilities | None = None

    async def connect(self) -> None:
        """Ask the server what it can do, without blocking the event loop; `arun` and batches do it first of all."""
        if self._capabilities is None:
            self._take_capabilities(await self._transport.get("/v1/models"))

    @property
    def capabilities(self) -> Capabilities:
        """What the server can do; the first access waits for its answer."""
        if self._capabilities is None:
            return self._take_capabilities(self._transport.get_blocking("/v1/models"))
        return self._capabilities

    def _take_capabilities(self, models: Any) -> Capabilities:
        found = _capabilities_of(models)
        self._capabilities = replace(found, graphs=found.graphs and self._ship == "auto")
        return self._capabilities

    async def generate(self, request: Request) -> AsyncIterator[Chunk]:
        """See `Backend`."""
        body = wire.encode_request(request)
        try:
            async with aclosing(self._together.events("generate", body, _size(request))) as events:  # type: ignore[type-var]
                async for event in events:
                    if "error" in event:
                        raise wire.decode_error(event["error"])
                    yield wire.decode_chunk(event["chunk"])
                    if event.get("is_last"):
                        return
        except Alone:
            pass
        async with aclosing(self._generate_alone(body, stream=request.stream)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def score(self, request: ScoreRequest) -> list[ChoiceScore]:
        """See `Backend`."""
        body = wire.encode_score_request(request)
        try:
            async with aclosing(self._together.events("score", body, _size(request))) as events:  # type: ignore[type-var]
                answer = await anext(events)
        except Alone:
            answer = await self._transport.post("/v1/score", body)
        if "error" in answer:
            raise wire.decode_error(answer["error"])
        return [wire.decode_score(score) for score in answer["scores"]]

    async def _generate_alone(self, body: dict[str, Any], *, stream: bool) -> AsyncGenerator[Chunk]:
        if not stream:
            answer = await self._transport.post("/v1/generate", body)
            for plain in answer.get("chunks", ()):
                yield wire.decode_chunk(plain)
            return
        async with aclosing(self._transport.events("/v1/generate", {**body, "stream": True})) as events:  # type: ignore[type-var]
            async for data in events:
                plain = json.loads(data)
                if "error" in plain:
                    raise wire.decode_error(plain["error"])
                yield wire.decode_chunk(plain)

    def ship(
        self,
        graph: str,
        *,
        name: str = "program",
        timeout: float | None = None,
        stream: bool = True,
        hints: Hints | None = None,
    ) -> Backend:
        """Return the backend of one run of `graph`, which runs on the server: see `GraphBackend`."""
        body = {"graph": json.loads(graph), "name": name, "stream": True, "growing": stream}
        if timeout is not None:
            body["timeout"] = timeout
        if hints is not None and hints != Hints():
            body |= {"priority": hints.priority, "cache_salt": hints.cache_salt}
        return ShippedRun(self, self._transport, body)

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    def __repr__(self) -> str:
        return f"RemoteBackend({self._transport.base_url!r})"


def _size(request: Request | ScoreRequest) -> int:
    """About how many bytes of a body a request is."""
    choices = request.choices if isinstance(request, ScoreRequest) else ()
    return sum(len(piece.text) for piece in request.prompt) + sum(map(len, choices)) + 512


def _capabilities_of(models: Any) -> Capabilities:
    try:
        plain: Mapping[str, Any] = models["data"][0]["capabilities"]
    except (TypeError, LookupError) as error:
        raise BackendError("this is no ramify server: its /v1/models does not say what it can do") from error
    return wire.decode_capabilities(plain)


def _read_error(status: int, body: Any) -> RamifyError:
    if isinstance(body, Mapping) and isinstance(body.get("error"), Mapping):
        return wire.decode_error(body["error"])
    return BackendError(f"the server answered with status {status}: {str(body)[:500]}")
