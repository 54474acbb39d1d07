"""Our own protocol: generate, score, tokenize, detokenize and models, in the plain values of `wire.py`.

Called by the app; everything it answers with comes from the service.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from ...lang.errors import ParameterError, RamifyError
from .. import wire
from ..api import Request
from .bodies import Body, TokenId, check_known
from .errors import own_body
from .http import sse, stream_response, unless_gone
from .service import Service


class MarkupPiece(Body):
    """Text of the model's chat template: special tokens in it are recognised."""

    markup: str


class TokensPiece(Body):
    """Token ids, and their text where it is known."""

    ids: list[TokenId]
    text: str = ""


Prompt = str | list[str | MarkupPiece | TokensPiece]


class Hints(Body):
    """What a program knows about its request; leaving all of it out is always correct."""

    program: str | None = None
    group: str | None = None
    keep_prefix: bool = False
    priority: int = Field(0, ge=-(2**31), lt=2**31)
    timeout: float | None = Field(None, ge=0)
    cache_salt: str = Field("", max_length=1024)
    place: str | None = Field(None, max_length=1024)


class GenerateBody(Body):
    """Generate a continuation of a prompt. `sampling`: see `ramify.Sampling`; `constraint`: one of its four kinds."""

    prompt: Prompt
    sampling: dict[str, Any] = {}
    constraint: dict[str, Any] | None = None
    stream: bool = False
    id: str | None = Field(None, max_length=256)
    hints: Hints | None = None


class ScoreBody(Body):
    """Score each choice as the continuation of a prompt."""

    prompt: Prompt
    choices: list[str] = Field(min_length=1, max_length=10_000)
    unconditional: bool = False
    id: str | None = Field(None, max_length=256)
    hints: Hints | None = None


class TokenizeBody(Body):
    """Tokenise a prompt."""

    prompt: Prompt


class DetokenizeBody(Body):
    """Return the text of token ids."""

    ids: list[TokenId]


class ModelCard(Body):
    """One model that is served."""

    id: str
    object: Literal["model"] = "model"
    owned_by: str = "ramify"
    capabilities: dict[str, Any]


def routes(service: Service) -> APIRouter:
    """Return the routes of our own protocol."""
    router = APIRouter(tags=["ramify"])

    def accepted(body: Body) -> dict[str, Any]:
        if not service.settings.lenient:
            check_known(body)
        return {name: value for name, value in body.given().items() if value is not None}

    @router.post("/v1/generate", response_model=None)
    async def generate(body: GenerateBody, http: HttpRequest) -> Response:
        request = replace(wire.decode_request(accepted(body)), stream=body.stream)
        if body.stream:
            return await stream_response(http, _events(service, request))
        return JSONResponse({"chunks": await unless_gone(http, _collect(service, request))})

    @router.post("/v1/score", response_model=None)
    async def score(body: ScoreBody, http: HttpRequest) -> Response:
        request = wire.decode_score_request(accepted(body))
        scores = await unless_gone(http, service.score(request))
        return JSONResponse({"scores": [wire.encode_score(score) for score in scores]})

    @router.post("/v1/tokenize", response_model=None)
    async def tokenize(body: TokenizeBody) -> Response:
        request = wire.decode_request(accepted(body))
        return JSONResponse({"ids": await service.encode(request.prompt)})

    @router.post("/v1/detokenize", response_model=None)
    async def detokenize(body: DetokenizeBody) -> Response:
        accepted(body)
        size = service.vocab_size
        if any(token_id >= size for token_id in body.ids):
            raise ParameterError(f"a token id is outside the vocabulary of {size} tokens")
        return JSONResponse({"text": service.backend.tokenizer.decode(body.ids)})

    @router.get("/v1/models")
    async def models() -> dict[str, Any]:
        capabilities = service.capabilities
        card = ModelCard(id=capabilities.model, capabilities=wire.encode_capabilities(capabilities))
        return {"object": "list", "data": [card.model_dump()]}

    return router


async def _collect(service: Service, request: Request) -> list[Any]:
    """The whole answer, as the chunks it came in."""
    async with aclosing(service.generate(request)) as chunks:  # type: ignore[type-var]
        return [wire.encode_chunk(chunk) async for chunk in chunks]


async def _events(service: Service, request: Request) -> AsyncIterator[bytes]:
    """The answer as events: chunks, at the end `[DONE]`; a failure is an event `{"error": ...}`."""
    is_begun = False
    try:
        async with aclosing(service.generate(request)) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                is_begun = True
                yield sse(wire.encode_chunk(chunk))
    except RamifyError as error:
        if not is_begun:
            raise  # the response has not begun: it gets a status of its own
        yield sse(own_body(error))
    yield sse("[DONE]")
