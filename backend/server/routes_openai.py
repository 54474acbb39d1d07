"""OpenAI's protocol: completions and chat completions, whole and streamed.

Bodies become requests in `openai_requests.py`, answers become objects in `openai_answers.py`; here they meet the
service. Called by the app.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from ...lang.errors import ParameterError, RamifyError, did_you_mean
from ..api import Chunk, Request
from .bodies import check_known
from .gathered import Answer, merged
from .http import sse, stream_response, unless_gone
from .openai_answers import (
    Envelope,
    Plain,
    TokenText,
    chat_choice,
    chat_logprobs,
    ending,
    error_body,
    text_logprobs,
    usage_of,
)
from .openai_bodies import ChatBody, CommonBody, CompletionBody, Tool
from .openai_requests import chat_request, completion_requests, prompt_markup
from .service import Service
from .tools import find_calls


def routes(service: Service) -> APIRouter:
    """Return the routes of OpenAI's protocol."""
    router = APIRouter(tags=["openai"])

    def checked(body: CommonBody) -> None:
        if not service.settings.lenient:
            check_known(body)
        name = service.capabilities.model
        if body.model not in (None, "", name):
            raise ParameterError(
                f"there is no model {body.model!r}{did_you_mean(str(body.model), [name])}; this is {name!r}"
            )

    @router.post("/v1/completions", response_model=None)
    async def completions(body: CompletionBody, http: HttpRequest) -> Response:
        checked(body)
        completion = _Completion(body, completion_requests(body, service), service)
        if body.stream:
            return await stream_response(http, completion.events())
        return JSONResponse(await unless_gone(http, completion.whole()))

    @router.post("/v1/chat/completions", response_model=None)
    async def chat_completions(body: ChatBody, http: HttpRequest) -> Response:
        checked(body)
        completion = _Chat(body, [await chat_request(body, service)], service)
        if body.stream:
            return await stream_response(http, completion.events())
        return JSONResponse(await unless_gone(http, completion.whole()))

    return router


class _Completion:
    """One call: its requests run side by side; choice `p * n + i` is sample i of prompt p."""

    kind = "text_completion"

    def __init__(self, body: Any, requests: Sequence[Request], service: Service) -> None:
        self.body = body
        self.requests = requests
        self.service = service
        self.envelope = Envelope(self.kind, service.capabilities.model)
        self.answers = [[Answer() for _ in range(request.sampling.n)] for request in requests]

    async def whole(self) -> Plain:
        """Return the object of the finished answer."""
        async with aclosing(merged(self.service, self.requests)) as chunks:
            async for place, chunk in chunks:
                self.answers[place][chunk.index].add(chunk)
        choices = [
            self.choice(place * len(samples) + index, place, answer)
            for place, samples in enumerate(self.answers)
            for index, answer in enumerate(samples)
        ]
        return self.envelope.whole(choices, self._usage())

    async def events(self) -> AsyncIterator[bytes]:
        """Yield the events of a stream; a failure after the first is an event of its own."""
        is_begun = False
        try:
            async with aclosing(merged(self.service, self.requests)) as chunks:
                async for place, chunk in chunks:
                    answer = self.answers[place][chunk.index]
                    answer.add(chunk)
                    number = place * len(self.answers[place]) + chunk.index
                    for choice in self.deltas(number, place, chunk, answer):
                        is_begun = True
                        yield sse(self.envelope.part([choice]))
            if self.body.stream_options is not None and self.body.stream_options.include_usage:
                yield sse(self.envelope.part([], self._usage()))
        except RamifyError as error:
            if not is_begun:
                raise
            yield sse(error_body(error))
        yield sse("[DONE]")

    def choice(self, number: int, place: int, answer: Answer) -> Plain:
        """Return one finished choice."""
        text, logprobs = answer.text, answer.logprobs
        prompt = prompt_markup(self.requests[place].prompt)
        if self.body.echo:
            text, logprobs = prompt + text, [*answer.prompt_logprobs, *logprobs]
        return {"index": number, "text": text, "logprobs": self._logprobs(logprobs, prompt), **ending(answer.finish)}

    def deltas(self, number: int, place: int, chunk: Chunk, answer: Answer) -> list[Plain]:
        """Return the choices of the events for a chunk."""
        prompt = prompt_markup(self.requests[place].prompt)
        is_first = len(answer.text) == len(chunk.text)
        text, logprobs = chunk.text, list(chunk.logprobs)
        if self.body.echo and is_first:
            text, logprobs = prompt + text, [*chunk.prompt_logprobs, *logprobs]
        entries = self._logprobs(logprobs, prompt) if logprobs else None
        return [{"index": number, "text": text, "logprobs": entries, **ending(chunk.finish)}]

    def _logprobs(self, entries: Sequence[Any], prompt: str) -> Plain | None:
        if self.body.logprobs is None:
            return None
        return text_logprobs(entries, self._token_text(), offset=0 if self.body.echo else len(prompt))

    def _token_text(self) -> TokenText:
        return self.service.backend.tokenizer.vocabulary.token_text

    def _usage(self) -> Plain:
        return usage_of([answer.usage for answer in samples] for samples in self.answers)


class _Chat(_Completion):
    """A chat completion: messages instead of texts, and calls of tools."""

    kind = "chat.completion"

    @property
    def tools(self) -> list[Tool]:
        """The tools that the model may call."""
        return [] if self.body.tool_choice == "none" else list(self.body.tools or ())

    def choice(self, number: int, place: int, answer: Answer) -> Plain:
        """Return one finished choice."""
        return chat_choice(number, answer, self.tools, self._token_text() if self.body.logprobs else None)

    def deltas(self, number: int, place: int, chunk: Chunk, answer: Answer) -> list[Plain]:
        """Return the choices of the events for a chunk; with tools the text is held back until it is whole."""
        is_first = len(answer.text) == len(chunk.text)
        delta: Plain = {"role": "assistant", "content": ""} if is_first else {}
        logprobs = chat_logprobs(chunk.logprobs, self._token_text()) if self.body.logprobs else None
        end = ending(chunk.finish)
        if not self.tools:
            delta["content"] = chunk.text
        elif chunk.finish is not None:
            rest, calls = find_calls(answer.text, self.tools)
            delta["content"] = rest or None
            if calls:
                whole = chat_choice(number, answer, self.tools, None)
                delta["tool_calls"] = [
                    {"index": index, **call} for index, call in enumerate(whole["message"]["tool_calls"])
                ]
                end["finish_reason"] = "tool_calls"
        elif not is_first:
            return []
        return [{"index": number, "delta": delta, "logprobs": logprobs, **end}]
