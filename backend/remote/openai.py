"""`OpenAIBackend`: any OpenAI-compatible server as a backend: hosted models, vLLM, llama.cpp, our own.

What a server cannot express is an error before anything is sent. Needs neither torch nor OpenAI's client.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from ...lang.constraints import Choices, Constraint, Grammar, JsonSchema, Regex
from ...lang.errors import BackendError, ParameterError, RamifyError, RequestError, UnsupportedError, did_you_mean
from ...lang.sampling import Sampling
from ..api import (
    Capabilities,
    ChoiceScore,
    Chunk,
    ConstraintKind,
    Finish,
    Request,
    ScoreRequest,
    TokenLogprob,
    Usage,
    constraint_kind,
)
from .openai_prompts import TEMPLATE, Messages, read_prompt
from .transport import Transport

Flavour = Literal["openai", "ramify", "vllm", "llama.cpp"]

DEFAULT_URL = "https://api.openai.com/v1"
UNKNOWN_TOKEN = -1  # the id in log-probabilities: these servers tell the texts of tokens only


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a kind of server takes beyond OpenAI's own fields, and by which name.

    `constraints`: the kinds it enforces; `extras`: parameters of `Sampling` -> the server's name of them.
    `continues`: the fields that let it go on with a message of the assistant's, or None if it never does.
    """

    constraints: frozenset[ConstraintKind]
    extras: Mapping[str, str]
    continues: Mapping[str, Any] | None


_LOCAL = {name: name for name in ("top_k", "min_p", "repetition_penalty", "ignore_eos")}

DIALECTS: Mapping[str, Dialect] = {
    "openai": Dialect(frozenset({"json_schema"}), {}, None),
    "ramify": Dialect(
        frozenset({"regex", "json_schema", "grammar", "choices"}),
        {**_LOCAL, "min_tokens": "min_tokens", "stop_token_ids": "stop_token_ids", "stop_regex": "stop_regex"},
        {"continue_final_message": True},
    ),
    "vllm": Dialect(
        frozenset({"regex", "json_schema", "choices"}),
        {**_LOCAL, "min_tokens": "min_tokens", "stop_token_ids": "stop_token_ids"},
        {"add_generation_prompt": False, "continue_final_message": True},
    ),
    "llama.cpp": Dialect(frozenset({"json_schema"}), {**_LOCAL, "repetition_penalty": "repeat_penalty"}, {}),
}

# Parameters of `Sampling` that every server has under the same name.
_COMMON = ("temperature", "top_p", "frequency_penalty", "presence_penalty", "seed", "n")


class OpenAIBackend:
    """Runs programs on `model` of an OpenAI-compatible server.

    - `base_url`: with the version, as in `http://127.0.0.1:8000/v1`; None: OpenAI's own, or `OPENAI_BASE_URL`.
    - `api_key`: None takes `OPENAI_API_KEY`. `timeout`: seconds without a sign of the server.
    - `flavour`: which server it is, so that constraints and sampling parameters beyond OpenAI's own can be sent:
      "openai", "vllm", "llama.cpp" or "ramify".

    Programs with roles go to `/chat/completions`, others to `/completions`. Choices cannot be scored through these
    protocols; `select(method="constrained")` works where choices can be enforced.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        flavour: Flavour = "openai",
        timeout: float = 600.0,
        client: httpx.AsyncClient | None = None,
    ) -> None:
        if flavour not in DIALECTS:
            raise ParameterError(f"there is no flavour {flavour!r}{did_you_mean(flavour, DIALECTS)}")
        self._model = model
        self._flavour = flavour
        self._dialect = DIALECTS[flavour]
        key = api_key or os.environ.get("OPENAI_API_KEY")
        self._transport = Transport(
            base_url or os.environ.get("OPENAI_BASE_URL") or DEFAULT_URL,
            read_error=_read_error,
            headers={} if key is None else {"Authorization": f"Bearer {key}"},
            timeout=timeout,
            client=client,
        )
        self._capabilities = Capabilities(
            model=model, chat_template=TEMPLATE, constraints=self._dialect.constraints, logprobs=True, scoring=False
        )

    @property
    def capabilities(self) -> Capabilities:
        """What can be said to this kind of server."""
        return self._capabilities

    async def generate(self, request: Request) -> AsyncIterator[Chunk]:
        """See `Backend`."""
        prompt = read_prompt(request.prompt)
        body = {**self._body(request, prompt), "stream": True, "stream_options": {"include_usage": True}}
        path = "/completions" if isinstance(prompt, str) else "/chat/completions"
        reader = _Reader(request.sampling)
        async with aclosing(self._transport.events(path, body)) as events:  # type: ignore[type-var]
            async for data in events:
                for chunk in reader.chunks(json.loads(data)):
                    yield chunk
        for chunk in reader.last_chunks():
            yield chunk

    async def score(self, request: ScoreRequest) -> list[ChoiceScore]:
        """Raise `UnsupportedError`: these protocols do not give the log-probabilities of a given text."""
        raise UnsupportedError("an OpenAI-compatible server cannot score choices; use select(method='constrained')")

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    def __repr__(self) -> str:
        return f"OpenAIBackend({self._model!r}, base_url={self._transport.base_url!r})"

    def _body(self, request: Request, prompt: Messages | str) -> dict[str, Any]:
        sampling = request.sampling
        is_chat = isinstance(prompt, Messages)
        body: dict[str, Any] = {"model": self._model}
        if isinstance(prompt, Messages):
            body["messages"] = list(prompt.messages)
            body["max_completion_tokens" if self._flavour == "openai" else "max_tokens"] = sampling.max_tokens
            if prompt.is_begun:
                body |= self._continuing()
        else:
            body |= {"prompt": prompt, "max_tokens": sampling.max_tokens}
        default = Sampling()
        body |= {name: getattr(sampling, name) for name in _COMMON if getattr(sampling, name) != getattr(default, name)}
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if sampling.logit_bias:
            body["logit_bias"] = {str(token_id): bias for token_id, bias in sampling.logit_bias}
        if sampling.logprobs is not None:
            body |= _logprobs(sampling.logprobs, is_chat=is_chat)
        body |= self._extras(sampling, default)
        if request.constraint is not None:
            body |= self._constraint(request.constraint, is_chat=is_chat)
        return body

    def _continuing(self) -> Mapping[str, Any]:
        if self._dialect.continues is None:
            raise UnsupportedError(
                f"a server of flavour {self._flavour!r} cannot go on with text that the program wrote into the "
                "assistant's message; put the text into the user's message, or use a server that continues messages"
            )
        return self._dialect.continues

    def _extras(self, sampling: Sampling, default: Sampling) -> dict[str, Any]:
        extras: dict[str, Any] = {}
        known = {*_COMMON, *self._dialect.extras, "max_tokens", "stop", "logit_bias", "logprobs", "logprob_start"}
        for name in type(sampling).__dataclass_fields__:
            value = getattr(sampling, name)
            if value == getattr(default, name):
                continue
            if name not in known:
                raise UnsupportedError(f"{name} cannot be sent to a server of flavour {self._flavour!r}")
            if name in self._dialect.extras:
                extras[self._dialect.extras[name]] = list(value) if isinstance(value, tuple) else value
        return extras

    def _constraint(self, constraint: Constraint, *, is_chat: bool) -> dict[str, Any]:
        kind = constraint_kind(constraint)
        if kind not in self._dialect.constraints:
            raise UnsupportedError(
                f"a constraint of kind {kind!r} cannot be sent to a server of flavour "
                f"{self._flavour!r}; it takes {', '.join(sorted(self._dialect.constraints))}"
            )
        match constraint, self._flavour:
            case JsonSchema(schema=schema), "openai" | "vllm" if is_chat:
                named = {"name": "value", "schema": json.loads(schema), "strict": True}
                return {"response_format": {"type": "json_schema", "json_schema": named}}
            case JsonSchema(schema=schema), "vllm":
                return {"structured_outputs": {"json": json.loads(schema)}}
            case JsonSchema(schema=schema), "ramify" | "llama.cpp":
                return {"json_schema": json.loads(schema)}
            case Regex(pattern), "vllm":
                return {"structured_outputs": {"regex": pattern}}
            case Choices(choices), "vllm":
                return {"structured_outputs": {"choice": list(choices)}}
            case Regex(pattern), _:
                return {"regex": pattern}
            case Choices(choices), _:
                return {"choices": list(choices)}
            case Grammar(grammar), _:
                return {"grammar": grammar}
        raise UnsupportedError("a JSON schema can be sent to OpenAI's chat endpoint only; put the gen into a role")


class _Reader:
    """Turns the events of one stream into chunks."""

    def __init__(self, sampling: Sampling) -> None:
        self._texts = [""] * sampling.n
        self._finishes: dict[int, Finish] = {}
        self._usage = Usage()

    def chunks(self, event: Any) -> list[Chunk]:
        """Return the chunks of an event; endings are held back until the usage is known."""
        if "error" in event:
            raise _read_error(500, event)
        if event.get("usage"):
            self._usage = _usage(event["usage"])
        found = []
        for choice in event.get("choices") or ():
            index = choice.get("index", 0)
            text = (choice["delta"].get("content") if "delta" in choice else choice.get("text")) or ""
            self._texts[index] += text
            if text:
                found.append(Chunk(index=index, text=text, logprobs=_read_logprobs(choice.get("logprobs"))))
            if choice.get("finish_reason"):
                self._finishes[index] = self._finish(index, choice)
        return found

    def last_chunks(self) -> list[Chunk]:
        """Return the chunks that end the samples; `usage` is told for all of them together, so the first has it."""
        missing = [index for index in range(len(self._texts)) if index not in self._finishes]
        if missing:
            raise BackendError(f"the server's answer ended without a finish for sample {missing[0]}")
        return [
            Chunk(index=index, finish=finish, usage=self._usage if index == 0 else Usage())
            for index, finish in sorted(self._finishes.items())
        ]

    def _finish(self, index: int, choice: Any) -> Finish:
        reason, text = choice["finish_reason"], self._texts[index]
        match reason:
            case "stop":
                return Finish("stop", choice.get("matched_stop", choice.get("stop_reason")), 0, text)
            case "length":
                return Finish("length", None, 0, text)
        raise RequestError(f"the server ended the answer for another reason: {reason}", partial=text)


def _logprobs(num: int, *, is_chat: bool) -> dict[str, Any]:
    return {"logprobs": True, "top_logprobs": num} if is_chat else {"logprobs": num}


def _read_logprobs(plain: Any) -> tuple[TokenLogprob, ...]:
    if not plain:
        return ()
    if "content" in plain:
        return tuple(
            TokenLogprob(
                UNKNOWN_TOKEN,
                entry["logprob"],
                entry["token"],
                tuple((UNKNOWN_TOKEN, top["logprob"]) for top in entry.get("top_logprobs") or ()),
            )
            for entry in plain["content"] or ()
        )
    pairs = zip(plain.get("tokens") or (), plain.get("token_logprobs") or (), strict=True)
    return tuple(TokenLogprob(UNKNOWN_TOKEN, logprob, token) for token, logprob in pairs)


def _usage(plain: Mapping[str, Any]) -> Usage:
    cached = (plain.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return Usage(plain.get("prompt_tokens") or 0, cached, plain.get("completion_tokens") or 0)


def _read_error(status: int, body: Any) -> RamifyError:
    error = body.get("error", body) if isinstance(body, Mapping) else body
    message = error.get("message", error) if isinstance(error, Mapping) else error
    text = f"{str(message)[:500]} (status {status})"
    if status in (400, 404, 422):
        return ParameterError(f"the server refuses the request: {text}")
    if status in (401, 403):
        return BackendError(f"the server refuses the API key: {text}")
    return BackendError(text)
