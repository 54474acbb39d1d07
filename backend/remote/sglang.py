"""`SGLangBackend`: a server that speaks SGLang's native protocol as a backend, be it SGLang's own or ours.

Prompts travel as text, as its own front end sends them. Needs neither torch nor SGLang.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import httpx

from ...lang.constraints import Choices, Constraint, Grammar, JsonSchema, Regex
from ...lang.errors import BackendError, ParameterError, RamifyError, UnsupportedError
from ...lang.sampling import Sampling
from ..api import (
    Capabilities,
    ChatTemplate,
    ChoiceScore,
    Chunk,
    Finish,
    Request,
    ScoreRequest,
    TokenLogprob,
    Usage,
    prompt_text,
)
from .transport import Transport

# SGLang's name of each parameter of `Sampling`.
_NAMES = {
    "max_tokens": "max_new_tokens",
    "min_tokens": "min_new_tokens",
    "seed": "sampling_seed",
    **{name: name for name in ("temperature", "top_p", "top_k", "min_p", "n", "ignore_eos")},
    **{name: name for name in ("frequency_penalty", "presence_penalty", "repetition_penalty")},
    **{name: name for name in ("stop", "stop_token_ids", "stop_regex")},
}
_ALWAYS = ("max_tokens", "temperature")
_ELSEWHERE = ("logit_bias", "logprobs", "prompt_logprobs", "logprob_start")


class SGLangBackend:
    """Runs programs on the SGLang server at `url` (`http://host:port`).

    `chat_template`: the model's template (jinja source), which such a server does not tell; without one, roles are
    written as plain paragraphs. Text that spells a special token of the model becomes that token: the protocol has no
    way to say otherwise.
    """

    def __init__(
        self,
        url: str,
        *,
        chat_template: str | None = None,
        api_key: str | None = None,
        timeout: float = 600.0,
        client: httpx.AsyncClient | None = None,
    ) -> None:
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._transport = Transport(url, read_error=_read_error, headers=headers, timeout=timeout, client=client)
        self._template = None if chat_template is None else ChatTemplate(source=chat_template)
        self._capabilities: Capabilities | None = None

    async def connect(self) -> None:
        """Ask the server for its model's name, without blocking the event loop."""
        if self._capabilities is None:
            self._take_info(await self._transport.get("/get_model_info"))

    @property
    def capabilities(self) -> Capabilities:
        """What such a server can do; the first access asks it for its model's name."""
        return self._capabilities or self._take_info(self._transport.get_blocking("/get_model_info"))

    def _take_info(self, info: Any) -> Capabilities:
        self._capabilities = Capabilities(
            model=str(info.get("model_path")),
            chat_template=self._template,
            constraints=frozenset({"regex", "json_schema", "choices"}),
            logprobs=True,
            scoring=True,
        )
        return self._capabilities

    async def generate(self, request: Request) -> AsyncIterator[Chunk]:
        """See `Backend`."""
        body = _body(request)
        if not request.stream:
            answer = await self._transport.post("/generate", body)
            for index, plain in enumerate(answer if isinstance(answer, list) else [answer]):
                yield _Sample(index).chunk(plain)
            return
        samples = [_Sample(index) for index in range(request.sampling.n)]
        async with aclosing(self._transport.events("/generate", {**body, "stream": True})) as events:  # type: ignore[type-var]
            async for data in events:
                plain = json.loads(data)
                if "error" in plain:
                    raise _read_error(500, plain)
                yield samples[plain.get("index", 0)].chunk(plain)

    async def score(self, request: ScoreRequest) -> list[ChoiceScore]:
        """See `Backend`. One call for the prompt's tokens, one for all choices, one for the unconditional scores."""
        prompt = prompt_text(request.prompt)
        whole, *answers = await self._transport.post("/generate", _scoring([prompt, *_joined(prompt, request.choices)]))
        prompt_ids = [entry[1] for entry in whole["meta_info"]["input_token_logprobs"]]
        scores = [
            _choice_score(choice, answer, prompt_ids) for choice, answer in zip(request.choices, answers, strict=True)
        ]
        if not request.unconditional:
            return scores
        alone = await self._transport.post("/generate", _scoring([list(score.token_ids) for score in scores]))
        return [_with_unconditional(score, answer) for score, answer in zip(scores, alone, strict=True)]

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    def __repr__(self) -> str:
        return f"SGLangBackend({self._transport.base_url!r})"


class _Sample:
    """One sample of a stream, whose events repeat all its text."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._text = ""
        self._num_ids = 0
        self._num_logprobs = 0

    def chunk(self, plain: Any) -> Chunk:
        """Return what is new in an event, or in the whole answer."""
        meta, text = plain["meta_info"], plain["text"]
        ids = plain.get("output_ids") or []
        entries = meta.get("output_token_logprobs") or []
        reason = meta.get("finish_reason")
        finish = None if reason is None else _finish(reason, text)
        chunk = Chunk(
            index=self._index,
            text=text[len(self._text) :],
            token_ids=tuple(ids[self._num_ids :]),
            logprobs=tuple(TokenLogprob(entry[1], entry[0], entry[2] or "") for entry in entries[self._num_logprobs :]),
            finish=finish,
            usage=None if finish is None else _usage(meta),
        )
        self._text, self._num_ids, self._num_logprobs = text, len(ids), len(entries)
        return chunk


def _body(request: Request) -> dict[str, Any]:
    sampling, default = request.sampling, Sampling()
    params: dict[str, Any] = {}
    for name in Sampling.__dataclass_fields__:
        value = getattr(sampling, name)
        if name in _NAMES and (name in _ALWAYS or value != getattr(default, name)):
            params[_NAMES[name]] = list(value) if isinstance(value, tuple) else value
        elif name not in _NAMES and name not in _ELSEWHERE and value != getattr(default, name):
            raise UnsupportedError(f"{name} cannot be sent to an SGLang server")
    if sampling.logit_bias:
        params["logit_bias"] = {str(token_id): bias for token_id, bias in sampling.logit_bias}
    if request.constraint is not None:
        params |= _constraint(request.constraint)
    body: dict[str, Any] = {"text": prompt_text(request.prompt), "sampling_params": params, "rid": request.id}
    if sampling.logprobs is not None:
        body |= {"return_logprob": True, "top_logprobs_num": sampling.logprobs, "return_text_in_logprobs": True}
    if sampling.prompt_logprobs is not None:
        raise UnsupportedError("prompt_logprobs cannot be asked of an SGLang server through this client")
    if request.hints.priority:
        body["priority"] = request.hints.priority
    return body


def _constraint(constraint: Constraint) -> dict[str, str]:
    match constraint:
        case Regex(pattern):
            return {"regex": pattern}
        case JsonSchema(schema=schema):
            return {"json_schema": schema}
        case Choices(choices):
            return {"regex": "|".join(map(re.escape, choices))}
        case Grammar():
            raise UnsupportedError("an SGLang server does not take grammars in lark's syntax")


def _joined(prompt: str, choices: Sequence[str]) -> list[str]:
    return [prompt + choice for choice in choices]


def _scoring(prompts: list[Any]) -> dict[str, Any]:
    """A request for the log-probabilities of all tokens of some prompts, given as texts or as ids."""
    field = "text" if isinstance(prompts[0], str) else "input_ids"
    return {
        field: prompts,
        "sampling_params": {"max_new_tokens": 0, "temperature": 0},
        "return_logprob": True,
        "logprob_start_len": 0,
    }


def _choice_score(choice: str, answer: Any, prompt_ids: list[int]) -> ChoiceScore:
    meta = answer["meta_info"]
    entries = meta["input_token_logprobs"]
    ids = [entry[1] for entry in entries]
    start = next(
        (place for place, (one, other) in enumerate(zip(ids, prompt_ids, strict=False)) if one != other),
        min(len(ids), len(prompt_ids)),
    )
    own = entries[start:]
    if not own or any(entry[0] is None for entry in own):
        raise BackendError(f"the server gave no log-probabilities for the choice {choice!r}")
    return ChoiceScore(choice, tuple(ids[start:]), tuple(entry[0] for entry in own), (), _usage(meta))


def _with_unconditional(score: ChoiceScore, answer: Any) -> ChoiceScore:
    """The first token has nothing before it; what nothing predicts counts as certain, as SGLang's own rule has it."""
    values = tuple(entry[0] or 0.0 for entry in answer["meta_info"]["input_token_logprobs"])
    return ChoiceScore(score.choice, score.token_ids, score.logprobs, values, score.usage)


def _finish(reason: Mapping[str, Any], text: str) -> Finish:
    match reason.get("type"):
        case "stop":
            return Finish("stop", reason.get("matched"), 0, text)
        case "length":
            return Finish("length", None, 0, text)
    raise BackendError(f"the server aborted the request: {reason.get('message', reason)}")


def _usage(meta: Mapping[str, Any]) -> Usage:
    return Usage(meta["prompt_tokens"], meta.get("cached_tokens") or 0, meta.get("completion_tokens") or 0)


def _read_error(status: int, body: Any) -> RamifyError:
    error = body.get("error", body) if isinstance(body, Mapping) else body
    message = error.get("message", error) if isinstance(error, Mapping) else error
    kind = ParameterError if status in (400, 422) else BackendError
    return kind(f"{str(message)[:500]} (status {status})")
