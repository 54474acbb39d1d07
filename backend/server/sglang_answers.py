"""From our answers to SGLang's objects: cumulative text and `meta_info`.

Pure functions over gathered answers. Called by the SGLang routes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...lang.errors import RamifyError
from ..api import Finish, TokenLogprob
from .errors import status_of
from .gathered import Answer
from .sglang_requests import Asked

Plain = dict[str, Any]


def generation(asked: Asked, answer: Answer, rid: str, seconds: float, text_of: Callable[[int], str]) -> Plain:
    """Return the object of one sample as far as it has come; `seconds`: since the request came in."""
    meta: Plain = {
        "id": rid,
        "finish_reason": _finish_reason(answer.finish, answer.usage.completion_tokens),
        "prompt_tokens": answer.usage.prompt_tokens,
        "completion_tokens": answer.usage.completion_tokens or len(answer.token_ids),
        "cached_tokens": answer.usage.cached_tokens,
        "weight_version": "default",
        "e2e_latency": seconds,
    }
    if asked.has_logprobs:
        meta |= _logprobs(asked, answer, text_of)
    return {"text": answer.text, "output_ids": list(answer.token_ids), "meta_info": meta}


def error_body(error: RamifyError) -> Plain:
    """Return an error in SGLang's shape."""
    return {"error": {"message": str(error), "type": type(error).__name__, "code": status_of(error)}}


def _finish_reason(finish: Finish | None, num_tokens: int) -> Plain | None:
    match finish:
        case None:
            return None
        case Finish("stop", matched):
            return {"type": "stop"} if matched is None else {"type": "stop", "matched": matched}
        case Finish(reason):
            return {"type": reason, "length": num_tokens}


def _logprobs(asked: Asked, answer: Answer, text_of: Callable[[int], str]) -> Plain:
    inputs: list[TokenLogprob | None] = list(answer.prompt_logprobs)
    entries = [_entry(entry, asked) for entry in answer.prompt_logprobs]
    tops = [_top(entry, asked, text_of) for entry in answer.prompt_logprobs]
    if inputs and asked.input_logprobs == "after-start":
        entries, tops = entries[1:], tops[1:]
    elif inputs:
        entries[0][0], tops[0] = None, None
    return {
        "input_token_logprobs": entries,
        "output_token_logprobs": [_entry(entry, asked) for entry in answer.logprobs],
        "output_token_logprobs_length": len(answer.logprobs),
        "input_top_logprobs": tops,
        "output_top_logprobs": [_top(entry, asked, text_of) for entry in answer.logprobs],
    }


def _entry(entry: TokenLogprob, asked: Asked) -> list[Any]:
    return [entry.logprob, entry.token_id, entry.text if asked.has_texts else None]


def _top(entry: TokenLogprob, asked: Asked, text_of: Callable[[int], str]) -> Sequence[Any] | None:
    if not entry.top:
        return None
    return [[logprob, token_id, text_of(token_id) if asked.has_texts else None] for token_id, logprob in entry.top]
