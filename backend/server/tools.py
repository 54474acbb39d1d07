"""Tool calls: the schema that holds an answer to a call, and finding calls in what a model wrote.

The forms are those of Hermes and Qwen (`<tool_call>{...}</tool_call>`) and Llama 3 (bare JSON); pure functions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .openai_bodies import Tool

_TAGGED = re.compile(r"<tool_call>\s*(\{.*?\})\s*</tool_call>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Call:
    """A call: the function's name and its arguments as JSON text."""

    name: str
    arguments: str


def call_schema(tools: Sequence[Tool]) -> dict[str, Any]:
    """Return the JSON schema of one call of one of `tools`: `{"name": ..., "arguments": {...}}`."""
    calls = [
        {
            "type": "object",
            "properties": {
                "name": {"const": tool.function.name},
                "arguments": tool.function.parameters or {"type": "object", "properties": {}},
            },
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for tool in tools
    ]
    return calls[0] if len(calls) == 1 else {"anyOf": calls}


def find_calls(text: str, tools: Sequence[Tool]) -> tuple[str, list[Call]]:
    """Return the text outside calls, and the calls of `tools` in it, in order.

    What looks like a call but names no tool, or is no JSON, stays text.

    >>> find_calls("Hello", [])
    ('Hello', [])
    """
    names = {tool.function.name for tool in tools}
    whole = _call(text.strip(), names)
    if whole is not None:
        return "", [whole]
    calls: list[Call] = []

    def take(match: re.Match[str]) -> str:
        call = _call(match.group(1), names)
        if call is None:
            return match.group(0)
        calls.append(call)
        return ""

    rest = _TAGGED.sub(take, text)
    return (rest.strip() if calls else text), calls


def _call(text: str, names: set[str]) -> Call | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    if not isinstance(value, dict) or value.get("name") not in names:
        return None
    arguments = value.get("arguments", value.get("parameters", {}))
    return Call(value["name"], arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False))
