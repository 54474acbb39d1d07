"""Many clients at once, and requests as no client would write them: nothing is lost or mixed up, no answer is a 5xx."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import ramify

CONSTRAINTS: list[Any] = [
    None,
    {"regex": "[0-9]{4}"},
    {"choices": ["yes", "no", "perhaps"]},
    {"json_schema": '{"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], '
     '"additionalProperties": false}'},
    {"grammar": 'start: "a"~1..3 "b"'},
]  # fmt: skip


def is_held(constraint: Any, text: str) -> bool:
    match constraint:
        case {"regex": pattern}:
            return re.fullmatch(pattern, text) is not None
        case {"choices": choices}:
            return text in choices
        case {"json_schema": _}:
            return json.loads(text)["n"] in (1, 2)
        case {"grammar": _}:
            return re.fullmatch("a{1,3}b", text) is not None
    return True


def test_64_clients_with_mixed_constraints(server: Any) -> None:
    with ramify.Engine() as engine:
        expected = [engine.generate(f"Row {i}:", seed=i, max_tokens=24).text for i in range(0, 64, 5)]

    def call(number: int) -> str:
        constraint = CONSTRAINTS[number % len(CONSTRAINTS)]
        body = {
            "prompt": f"Row {number}:",
            "sampling": {"seed": number, "max_tokens": 24},
            "stream": number % 2 == 0,
            **({} if constraint is None else {"constraint": constraint}),
        }
        answer = server.post("/v1/generate", body)
        assert answer.status_code == 200, answer.text
        if not body["stream"]:
            return "".join(chunk.get("text", "") for chunk in answer.json()["chunks"])
        events = answer.text.strip().split("\n\n")[:-1]
        return "".join(json.loads(event.removeprefix("data: ")).get("text", "") for event in events)

    with ThreadPoolExecutor(64) as pool:
        texts = list(pool.map(call, range(64)))
    for number, text in enumerate(texts):
        assert is_held(CONSTRAINTS[number % len(CONSTRAINTS)], text), text
    assert texts[::5] == expected  # alone or in company: the same tokens


@pytest.mark.timeout(240)
def test_no_request_makes_the_server_fail(start_server: Callable[..., Any], tmp_path: Path) -> None:
    """schemathesis makes requests from the API's own description, right ones and wrong ones."""
    server = start_server("--max-tokens-limit", "4")
    program = [sys.executable, "-m", "schemathesis.cli", "run", server.url + "/openapi.json"]
    flags = ["--checks", "not_a_server_error", "--phases", "fuzzing", "--max-examples", "6", "--seed", "1"]
    run = subprocess.run([*program, *flags], capture_output=True, text=True, timeout=200, check=False, cwd=tmp_path)
    assert run.returncode == 0, run.stdout[-5000:]
    server.wait_idle()
