"""From our answers to OpenAI's objects: choices, chunks, log-probabilities, usage, errors.

Pure functions over gathered answers. Called by the OpenAI routes.
"""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...lang.errors import DeadlineError, ParameterError, RamifyError
from ..api import Finish, TokenLogprob, Usage
from .errors import status_of
from .gathered import Answer
from .openai_bodies import Tool
from .service import OverloadedError
from .tools import find_calls

Plain = dict[str, Any]
TokenText = Callable[[int], str]


@dataclass(frozen=True, slots=True)
class Envelope:
    """What all objects of one completion share."""

    kind: str  # "chat.completion" or "text_completion"
    model: str
    id: str = field(default_factory=lambda: f"cmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, choices: Sequence[Plain], usage: Plain) -> Plain:
        """Return the object of an answer that was not streamed."""
        return {**self._head(self.kind), "choices": list(choices), "usage": usage}

    def part(self, choices: Sequence[Plain], usage: Plain | None = None) -> Plain:
        """Return one event of a stream."""
        kind = f"{self.kind}.chunk" if self.kind == "chat.completion" else self.kind
        plain = {**self._head(kind), "choices": list(choices)}
        return plain if usage is None else {**plain, "usage": usage}

    def _head(self, kind: str) -> Plain:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def usage_of(groups: Iterable[Sequence[Usage]]) -> Plain:
    """Return OpenAI's usage; a group holds the samples of one prompt, whose tokens count once."""
    prompt = cached = completion = 0
    for group in groups:
        prompt += group[0].prompt_tokens
        cached += group[0].cached_tokens
        completion += sum(usage.completion_tokens for usage in group)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def ending(finish: Finish | None) -> Plain:
    """Return the fields that say why a choice ended, with the stop that matched (an extra of local servers)."""
    if finish is None:
        return {"finish_reason": None}
    return {"finish_reason": finish.reason, "matched_stop": finish.matched}


def chat_choice(index: int, answer: Answer, tools: Sequence[Tool], text_of: TokenText | None) -> Plain:
    """Return a choice of a chat completion; calls of tools are taken out of the text.

    `text_of`: the texts of tokens, where log-probabilities were asked for.
    """
    message: Plain = {"role": "assistant", "content": answer.text, "refusal": None}
    end = ending(answer.finish)
    if tools:
        rest, calls = find_calls(answer.text, tools)
        if calls:
            message["content"] = rest or None
            message["tool_calls"] = [
                {
                    "id": f"call_{uuid.uuid4().hex[:24]}",
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in calls
            ]
            end["finish_reason"] = "tool_calls"
    logprobs = None if text_of is None else chat_logprobs(answer.logprobs, text_of)
    return {"index": index, "message": message, "logprobs": logprobs, **end}


def chat_logprobs(entries: Iterable[TokenLogprob], text_of: TokenText) -> Plain:
    """Return log-probabilities in the form of chat completions."""
    return {
        "content": [
            {
                **_token(entry.text, entry.logprob),
                "top_logprobs": [_token(text_of(token_id), logprob) for token_id, logprob in entry.top],
            }
            for entry in entries
        ]
    }


def text_logprobs(entries: Sequence[TokenLogprob], text_of: TokenText, *, offset: int) -> Plain:
    """Return log-probabilities in the form of completions; `offset`: characters before the first token."""
    offsets = itertools.accumulate((len(entry.text) for entry in entries[:-1]), initial=offset)
    tops = [None if entry.logprob is None else {text_of(t): logprob for t, logprob in entry.top} for entry in entries]
    return {
        "tokens": [entry.text for entry in entries],
        "token_logprobs": [entry.logprob for entry in entries],
        "top_logprobs": tops,
        "text_offset": list(offsets) if entries else [],
    }


def error_body(error: RamifyError) -> Plain:
    """Return an error in OpenAI's shape."""
    kinds: Mapping[type[RamifyError], str] = {
        ParameterError: "invalid_request_error",
        OverloadedError: "overloaded_error",
        DeadlineError: "timeout_error",
    }
    status = status_of(error)
    default = "invalid_request_error" if status < 500 else "server_error"
    kind = next((name for base, name in kinds.items() if isinstance(error, base)), default)
    return {"error": {"message": str(error), "type": kind, "param": None, "code": type(error).__name__}}


def _token(text: str, logprob: float | None) -> Plain:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}
