"""From SGLang's request bodies to requests of our own, one for each prompt, with what its answer has to look like.

Raises errors of the tree for what cannot be done. Called by the SGLang routes.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Literal

from ...lang.constraints import Constraint, constraint_of
from ...lang.errors import ParameterError, UnsupportedError
from ...lang.sampling import Sampling
from ..api import Hints, Markup, Request, Tokens, new_id
from ..engine.tokenizer import Tokenizer
from .service import LONG_TEXT, Service
from .sglang_bodies import UNSUPPORTED_FIELDS, UNSUPPORTED_PARAMS, GenerateBody, SamplingParams

DEFAULT_MAX_NEW_TOKENS = 128

# Our name of a parameter for each of SGLang's.
_NAMES = {
    "min_new_tokens": "min_tokens",
    "sampling_seed": "seed",
    **{name: name for name in ("n", "stop", "stop_token_ids", "stop_regex", "temperature", "top_p", "top_k", "min_p")},
    **{name: name for name in ("frequency_penalty", "presence_penalty", "repetition_penalty", "ignore_eos")},
}

InputLogprobs = Literal["none", "leading-null", "after-start"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request of ours, and how its answer is written.

    `input_logprobs`: which of the prompt's tokens are listed. SGLang's own server puts a null before them; its front
    end, which scores choices with them, was written for lists that begin with the token after the start.
    """

    request: Request
    has_logprobs: bool
    has_texts: bool
    input_logprobs: InputLogprobs


async def asked(body: GenerateBody, service: Service) -> tuple[list[Asked], bool]:
    """Return what each prompt asks for, and whether the answer is a list. Long texts are read beside the event loop."""
    texts = [body.text] if isinstance(body.text, str) else body.text or []
    if sum(map(len, texts)) < LONG_TEXT:
        return _asked(body, service)
    return await asyncio.to_thread(_asked, body, service)


def _asked(body: GenerateBody, service: Service) -> tuple[list[Asked], bool]:
    for name in UNSUPPORTED_FIELDS:
        if getattr(body, name):
            raise UnsupportedError(f"{name} is not supported by this server")
    prompts, is_list = _prompts(body, service.backend.tokenizer)
    if len(prompts) > service.settings.max_rows:
        raise ParameterError(f"the request holds {len(prompts)} prompts; this server takes {service.settings.max_rows}")
    params = _spread(body.sampling_params or SamplingParams.model_validate({}), len(prompts), "sampling_params")
    rids = _spread(body.rid, len(prompts), "rid") if isinstance(body.rid, list) else [body.rid] * len(prompts)
    with_logprobs = _spread(body.return_logprob or False, len(prompts), "return_logprob")
    starts = _spread(body.logprob_start_len, len(prompts), "logprob_start_len")
    tops = _spread(body.top_logprobs_num or 0, len(prompts), "top_logprobs_num")
    hints = Hints(priority=body.priority or 0, cache_salt=(body.cache_salt or "") + (body.extra_key or ""))
    found = []
    for place, ids in enumerate(prompts):
        sampling, constraint = _sampling(params[place])
        mode: InputLogprobs = "none"
        if with_logprobs[place]:
            mode = _input_logprobs(body, sampling, starts[place], is_list=is_list)
            sampling = _with_logprobs(sampling, mode, starts[place] or 0, tops[place], len(ids))
        request = Request(
            prompt=(Tokens(tuple(ids), ""),),
            sampling=sampling,
            constraint=constraint,
            stream=bool(body.stream),
            id=rids[place] or new_id(),
            hints=hints,
        )
        found.append(Asked(request, with_logprobs[place], bool(body.return_text_in_logprobs), mode))
    return found, is_list


def _prompts(body: GenerateBody, tokenizer: Tokenizer) -> tuple[list[list[int]], bool]:
    """The prompts as ids. Text is the client's own rendering of a conversation, so special tokens in it count."""
    if (body.text is None) == (body.input_ids is None):
        raise ParameterError("either text or input_ids must be given")
    if body.text is not None:
        texts = body.text if isinstance(body.text, list) else [body.text]
        return [_encode(text, tokenizer) for text in texts], isinstance(body.text, list)
    ids: Any = body.input_ids
    is_list = bool(ids) and isinstance(ids[0], list)
    return (ids if is_list else [ids]), is_list


def _encode(text: str, tokenizer: Tokenizer) -> list[int]:
    ids = tokenizer.encode_prompt((Markup(text),))
    bos = list(tokenizer.bos_ids)
    return ids if ids[: len(bos)] == bos else bos + ids


def _spread(value: Any, num: int, name: str) -> list[Any]:
    """One value for each prompt, from one for all or a list of them."""
    if not isinstance(value, list):
        return [value] * num
    if len(value) != num:
        raise ParameterError(f"{name} has {len(value)} entries for {num} prompts")
    return value


def _sampling(params: SamplingParams) -> tuple[Sampling, Constraint | None]:
    for name in UNSUPPORTED_PARAMS:
        if getattr(params, name):
            raise UnsupportedError(f"sampling_params.{name} is not supported by this server")
    given: dict[str, Any] = {ours: getattr(params, theirs) for theirs, ours in _NAMES.items()}
    given["max_tokens"] = DEFAULT_MAX_NEW_TOKENS if params.max_new_tokens is None else params.max_new_tokens
    if params.logit_bias is not None:
        if not all(key.isdigit() for key in params.logit_bias):
            raise ParameterError("logit_bias maps token ids to numbers")
        given["logit_bias"] = {int(key): value for key, value in params.logit_bias.items()}
    kinds = [kind for kind in ("regex", "json_schema") if getattr(params, kind) is not None]
    if len(kinds) > 1:
        raise ParameterError("a request has one constraint at most; given are regex and json_schema")
    constraint = constraint_of(kinds[0], getattr(params, kinds[0])) if kinds else None
    return Sampling.of(**given), constraint


def _input_logprobs(body: GenerateBody, sampling: Sampling, start: int | None, *, is_list: bool) -> InputLogprobs:
    """Which convention the client expects: the pattern of its `select` is like no other request."""
    if start is not None and start >= 0:
        is_select = bool(body.return_text_in_logprobs) and sampling.max_tokens == 0 and is_list
        return "after-start" if is_select else "leading-null"
    return "leading-null" if start is None and sampling.max_tokens == 0 else "none"


def _with_logprobs(sampling: Sampling, mode: InputLogprobs, start: int, num_top: int, prompt_len: int) -> Sampling:
    if mode == "none":
        return sampling.with_(logprobs=num_top)
    if start >= prompt_len:
        raise ParameterError(f"logprob_start_len ({start}) lies beyond the prompt, which has {prompt_len} tokens")
    return sampling.with_(logprobs=num_top, prompt_logprobs=num_top, logprob_start=start)
