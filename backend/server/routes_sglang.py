"""SGLang's native protocol, as far as its front end and its tools for load and caches speak it.

Bodies become requests in `sglang_requests.py`, answers objects in `sglang_answers.py`; here they meet the service.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from ...lang.errors import RamifyError
from ...lang.sampling import Sampling
from ..api import Request, Text
from .bodies import check_known
from .gathered import Answer, merged
from .http import sse, stream_response, unless_gone
from .service import Service
from .sglang_answers import error_body, generation
from .sglang_bodies import AbortBody, GenerateBody
from .sglang_requests import Asked, asked

PROTOCOL_VERSION = "0.5.23"  # the release of SGLang whose protocol this is


def routes(service: Service) -> APIRouter:
    """Return the routes of SGLang's protocol."""
    router = APIRouter(tags=["sglang"])

    @router.post("/generate", response_model=None)
    @router.put("/generate", response_model=None, include_in_schema=False)
    async def generate(body: GenerateBody, http: HttpRequest) -> Response:
        if not service.settings.lenient:
            check_known(body)
        wanted, is_list = await asked(body, service)
        call = _Call(service, wanted, is_list=is_list)
        if body.stream:
            return await stream_response(http, call.events())
        return JSONResponse(await unless_gone(http, call.whole()))

    @router.post("/abort_request", response_model=None)
    async def abort_request(body: AbortBody) -> Response:
        if body.abort_all:
            service.abort_all()
        elif body.rid is not None:
            service.abort(body.rid)
        return Response(status_code=200)

    @router.get("/health_generate", response_model=None)
    async def health_generate() -> Response:
        request = Request(prompt=(Text("a"),), sampling=Sampling(max_tokens=1), stream=False)
        async with aclosing(service.generate(request)) as chunks:  # type: ignore[type-var]
            async for _ in chunks:
                pass
        return Response(status_code=200)

    _add_facts(router, service)
    return router


def _add_facts(router: APIRouter, service: Service) -> None:
    """Add the routes that tell about the server."""

    @router.get("/get_model_info")
    @router.get("/model_info", include_in_schema=False)
    async def model_info() -> dict[str, Any]:
        model = service.capabilities.model
        return {
            "model_path": model,
            "served_model_name": model,
            "tokenizer_path": model,
            "is_generation": True,
            "preferred_sampling_params": None,
            "weight_version": "default",
            "has_image_understanding": False,
        }

    @router.get("/server_info")
    @router.get("/get_server_info", include_in_schema=False)
    async def server_info() -> dict[str, Any]:
        settings = service.settings.model_dump(exclude={"api_key"})
        return {**settings, "version": PROTOCOL_VERSION, "internal_states": [await service.backend.ask("stats")]}


class _Call:
    """One call of `/generate`: its requests run side by side."""

    def __init__(self, service: Service, wanted: list[Asked], *, is_list: bool) -> None:
        self._service = service
        self._wanted = wanted
        self._is_list = is_list or any(item.request.sampling.n > 1 for item in wanted)
        self._answers = [[Answer() for _ in range(item.request.sampling.n)] for item in wanted]
        self._began = time.monotonic()

    async def whole(self) -> Any:
        """Return the finished object, or the list of them."""
        async with aclosing(self._chunks()) as chunks:
            async for place, chunk in chunks:
                self._answers[place][chunk.index].add(chunk)
        objects = [self._object(place, i) for place, samples in enumerate(self._answers) for i in range(len(samples))]
        return objects if self._is_list else objects[0]

    async def events(self) -> AsyncIterator[bytes]:
        """Yield events whose text is all there is of a sample so far; then `[DONE]`."""
        is_begun = False
        try:
            async with aclosing(self._chunks()) as chunks:
                async for place, chunk in chunks:
                    self._answers[place][chunk.index].add(chunk)
                    event = self._object(place, chunk.index)
                    if self._is_list:
                        event["index"] = self._number(place, chunk.index)
                    is_begun = True
                    yield sse(event)
        except RamifyError as error:
            if not is_begun:
                raise
            yield sse(error_body(error))
        yield sse("[DONE]")

    def _chunks(self) -> Any:
        return merged(self._service, [item.request for item in self._wanted])

    def _object(self, place: int, index: int) -> dict[str, Any]:
        item, answer = self._wanted[place], self._answers[place][index]
        text_of = self._service.backend.tokenizer.vocabulary.token_text
        return generation(item, answer, item.request.id, time.monotonic() - self._began, text_of)

    def _number(self, place: int, index: int) -> int:
        return sum(len(samples) for samples in self._answers[:place]) + index
