"""From OpenAI's request bodies to requests of our own: prompts, sampling, constraints, tools.

Raises errors of the tree for what cannot be done. Called by the OpenAI routes.
"""

from __future__ import annotations

import json
from typing import Any

from ...lang.constraints import CONSTRAINT_KINDS, Constraint, JsonSchema, constraint_of
from ...lang.errors import ParameterError, UnsupportedError
from ...lang.sampling import Sampling
from ..api import Hints, Markup, Piece, Request, Text, Tokens, new_id
from ..engine.prompts import chat_pieces
from .openai_bodies import ChatBody, CommonBody, CompletionBody, Message, NamedTool, Tool
from .service import Service
from .tools import call_schema

# Fields that are a parameter of `Sampling` under the same name.
_SAMPLING = (
    *("n", "stop", "seed", "temperature", "top_p", "top_k", "min_p", "frequency_penalty", "presence_penalty"),
    *("repetition_penalty", "min_tokens", "stop_token_ids", "stop_regex", "ignore_eos"),
)
_ANY_OBJECT = JsonSchema('{"type": "object"}')
DEFAULT_MAX_TOKENS = 16  # of a completion, as OpenAI has it


def completion_requests(body: CompletionBody, service: Service) -> list[Request]:
    """Return one request for each prompt."""
    if body.suffix:
        raise UnsupportedError("suffix is not supported: the models served here continue a text, they do not fill in")
    if body.best_of is not None and body.best_of != body.n:
        raise UnsupportedError("best_of is not supported; ask for n samples and choose among them")
    prompts = _prompts(body)
    if len(prompts) > service.settings.max_rows:
        raise ParameterError(f"prompt holds {len(prompts)} prompts; this server takes {service.settings.max_rows}")
    max_tokens = DEFAULT_MAX_TOKENS if body.max_tokens is None else body.max_tokens
    sampling = _sampling(body, max_tokens, logprobs=body.logprobs)
    if body.echo and body.logprobs is not None:
        sampling = sampling.with_(prompt_logprobs=body.logprobs)
    return [_request(body, prompt, sampling, _constraint(body)) for prompt in prompts]


async def chat_request(body: ChatBody, service: Service) -> Request:
    """Return the request of a conversation; without a limit of its own the answer may fill the context."""
    template = service.capabilities.chat_template
    if template is None:
        raise UnsupportedError("this model has no chat template; use /v1/completions")
    tools = [] if body.tool_choice == "none" else list(body.tools or ())
    if tools and "tools" not in template.source:
        raise UnsupportedError("this model's chat template has no place for tools")
    messages = [_message(message) for message in body.messages]
    begun: tuple[Piece, ...] = ()
    if body.continue_final_message:
        if messages[-1]["role"] != "assistant" or len(messages) == 1:
            raise ParameterError("continue_final_message needs a last message of the assistant's, after others")
        begun = (Text(messages.pop()["content"]),)
    prompt = chat_pieces(messages, service.backend.tokenizer, tools=[tool.given() for tool in tools]) + begun
    limit = body.max_completion_tokens or body.max_tokens
    if limit is None:
        limit = await _room(prompt, service)
    logprobs = (body.top_logprobs or 0) if body.logprobs else None
    return _request(body, prompt, _sampling(body, limit, logprobs=logprobs), _chat_constraint(body, tools))


async def _room(prompt: tuple[Piece, ...], service: Service) -> int:
    """How many tokens the context has left after the prompt."""
    limit = service.settings.max_tokens_limit
    context = service.capabilities.context_len
    if context is None:
        return limit
    return max(1, min(limit, context - len(await service.encode(prompt))))


def _prompts(body: CompletionBody) -> list[tuple[Piece, ...]]:
    if isinstance(body.prompt, str):
        return [(Text(body.prompt),)]
    if not body.prompt or [] in body.prompt:
        raise ParameterError("prompt is empty")
    prompts: list[tuple[Piece, ...]] = []
    ids: list[int] = []
    for item in body.prompt:
        match item:
            case str():
                prompts.append((Text(item),))
            case int():
                ids.append(item)
            case _:
                prompts.append((Tokens(tuple(item), ""),))
    return prompts or [(Tokens(tuple(ids), ""),)]


def _message(message: Message) -> dict[str, Any]:
    """A message as chat templates have it."""
    content = message.content
    plain: dict[str, Any] = message.given()
    plain["role"] = "system" if message.role == "developer" else message.role
    for call in plain.get("tool_calls") or ():
        call["function"]["arguments"] = _arguments(call["function"]["arguments"])
    plain["content"] = "".join(part.text for part in content) if isinstance(content, list) else content or ""
    return plain


def _arguments(text: str) -> Any:
    """The arguments of a call; chat templates expect them as an object."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise ParameterError(f"the arguments of a tool call are not JSON: {text!r}") from error


def _sampling(body: CommonBody, max_tokens: int, *, logprobs: int | None) -> Sampling:
    given = {name: getattr(body, name) for name in _SAMPLING}
    if body.logit_bias is not None:
        given["logit_bias"] = {_token_id(key): value for key, value in body.logit_bias.items()}
    return Sampling.of(max_tokens=max_tokens, logprobs=logprobs, **given)


def _token_id(key: str) -> int:
    if not key.isdigit():
        raise ParameterError(f"logit_bias maps token ids to numbers; {key!r} is no token id")
    return int(key)


def _constraint(body: CommonBody) -> Constraint | None:
    given: dict[str, Any] = {kind: getattr(body, kind) for kind in CONSTRAINT_KINDS if getattr(body, kind) is not None}
    wanted = body.response_format
    if wanted is not None and wanted.type != "text":
        if wanted.type == "json_schema" and wanted.json_schema is None:
            raise ParameterError("response_format of type json_schema needs a json_schema")
        given["response_format"] = wanted
    if len(given) > 1:
        raise ParameterError(f"a request has one constraint at most; given are {', '.join(given)}")
    for kind, value in given.items():
        if kind != "response_format":
            return constraint_of(kind, value)
        schema = value.json_schema
        return _ANY_OBJECT if schema is None else constraint_of("json_schema", schema.schema_)
    return None


def _chat_constraint(body: ChatBody, tools: list[Tool]) -> Constraint | None:
    """The constraint of an answer; a call that must come is held to the functions' own schemas."""
    constraint = _constraint(body)
    match body.tool_choice:
        case "required":
            wanted = tools
        case NamedTool(function=function):
            wanted = [tool for tool in tools if tool.function.name == function.name]
            if not wanted:
                raise ParameterError(f"tool_choice names {function.name!r}, which is not among the tools")
        case _:
            return constraint
    if not wanted:
        raise ParameterError(f"tool_choice is {body.tool_choice!r}, but there are no tools")
    if constraint is not None:
        raise ParameterError("an answer that must be a call cannot have another constraint")
    return JsonSchema(json.dumps(call_schema(wanted)))


def _request(body: CommonBody, prompt: tuple[Piece, ...], sampling: Sampling, constraint: Constraint | None) -> Request:
    hints = Hints(priority=body.priority or 0, timeout=body.timeout, cache_salt=body.cache_salt or "")
    return Request(
        prompt=prompt, sampling=sampling, constraint=constraint, stream=body.stream, id=new_id(), hints=hints
    )


def prompt_markup(prompt: tuple[Piece, ...]) -> str:
    """Return the text of a prompt; ids have none."""
    return "".join(piece.text for piece in prompt if isinstance(piece, Text | Markup))
