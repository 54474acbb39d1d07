"""`RemoteBackend`: a ramify server as a backend; the same programs, over HTTP.

Speaks our own protocol in the plain values of `wire.py`. Needs neither torch nor transformers.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

import httpx

from ...lang.errors import BackendError, RamifyError
from .. import wire
from ..api import Capabilities, ChoiceScore, Chunk, Request, ScoreRequest
from .transport import Transport


class RemoteBackend:
    """Runs programs on the server at `url` (`http://host:port`).

    `api_key`: sent as a bearer token. `timeout`: seconds without a sign of the server. `client`: an `httpx.AsyncClient`
    of yours. What it can do is asked of the server when first needed; a server that cannot be reached is a
    `BackendError`.

    >>> import ramify
    >>> program.run(backend=ramify.RemoteBackend("http://127.0.0.1:8000"))  # doctest: +SKIP
    """

    def __init__(
        self, url: str, *, api_key: str | None = None, timeout: float = 600.0, client: httpx.AsyncClient | None = None
    ) -> None:
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._transport = Transport(url, read_error=_read_error, headers=headers, timeout=timeout, client=client)
        self._capabilities: Capabilities | None = None

    @property
    def capabilities(self) -> Capabilities:
        """What the server can do; the first access waits for its answer."""
        if self._capabilities is None:
            self._capabilities = _capabilities_of(self._transport.get_blocking("/v1/models"))
        return self._capabilities

    async def generate(self, request: Request) -> AsyncIterator[Chunk]:
        """See `Backend`."""
        body = wire.encode_request(request)
        if not request.stream:
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

    async def score(self, request: ScoreRequest) -> list[ChoiceScore]:
        """See `Backend`."""
        answer = await self._transport.post("/v1/score", wire.encode_score_request(request))
        return [wire.decode_score(score) for score in answer["scores"]]

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    def __repr__(self) -> str:
        return f"RemoteBackend({self._transport.base_url!r})"


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
