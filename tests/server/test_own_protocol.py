"""Our own protocol, as curl would speak it to a real server process."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

import ramify

GREEDY = {"temperature": 0, "max_tokens": 8}
LONG = {"max_tokens": 2000, "ignore_eos": True, "temperature": 0}


@pytest.fixture(scope="module")
def engine() -> Any:
    with ramify.Engine() as engine:
        yield engine


def text_of(chunks: list[dict[str, Any]]) -> str:
    return "".join(chunk.get("text", "") for chunk in chunks)


def events_of(response: httpx.Response) -> list[str]:
    lines = response.text.split("\n\n")
    assert lines[-1] == ""
    assert all(line.startswith("data: ") for line in lines[:-1])
    return [line.removeprefix("data: ") for line in lines[:-1]]


def test_generate(server: Any, engine: ramify.Engine) -> None:
    body = {"prompt": "The capital of France is", "sampling": GREEDY}
    chunks = server.post("/v1/generate", body).json()["chunks"]
    expected = engine.generate(body["prompt"], **GREEDY)
    assert text_of(chunks) == expected.text
    assert chunks[-1]["finish"]["reason"] == expected.finish.reason
    assert chunks[-1]["usage"]["prompt_tokens"] == expected.prompt_tokens


def test_generate_streams(server: Any, engine: ramify.Engine) -> None:
    body = {"prompt": "The capital of France is", "sampling": GREEDY, "stream": True}
    *events, last = events_of(server.post("/v1/generate", body))
    assert last == "[DONE]"
    assert len(events) > 2
    assert text_of([json.loads(event) for event in events]) == engine.generate(body["prompt"], **GREEDY).text


@pytest.mark.parametrize(
    ("constraint", "allowed"),
    [
        ({"regex": "[0-9]{3}"}, lambda text: len(text) == 3 and text.isdigit()),
        ({"choices": ["yes", "no"]}, lambda text: text in ("yes", "no")),
        ({"json_schema": '{"type": "array", "items": {"enum": [1, 2]}, "maxItems": 2}'}, json.loads),
    ],
)
def test_constraints(server: Any, constraint: Any, allowed: Any) -> None:
    body = {"prompt": "Say:", "sampling": {"max_tokens": 60, "seed": 1}, "constraint": constraint}
    text = text_of(server.post("/v1/generate", body).json()["chunks"])
    assert allowed(text) is not False


def test_score(server: Any, engine: ramify.Engine) -> None:
    answer = server.post("/v1/score", {"prompt": "Is it hot?", "choices": [" yes", " no"]}).json()["scores"]
    expected = engine.score("Is it hot?", [" yes", " no"])
    assert [score["choice"] for score in answer] == [" yes", " no"]
    assert [score["logprobs"] for score in answer] == [pytest.approx(list(score.logprobs)) for score in expected]


def test_tokenize_and_back(server: Any, engine: ramify.Engine) -> None:
    ids = server.post("/v1/tokenize", {"prompt": "Grüße, 世界"}).json()["ids"]
    assert server.post("/v1/detokenize", {"ids": ids}).json() == {"text": "Grüße, 世界"}


def test_user_text_is_no_markup(server: Any, engine: ramify.Engine) -> None:
    special = max((text for text in engine.tokenizer._special), key=len)
    as_text = server.post("/v1/tokenize", {"prompt": special}).json()["ids"]
    as_markup = server.post("/v1/tokenize", {"prompt": [{"markup": special}]}).json()["ids"]
    assert len(as_markup) == 1
    assert as_markup[0] not in as_text


def test_models_and_health(server: Any) -> None:
    (card,) = server.get("/v1/models").json()["data"]
    assert card["id"] == "ramify-embedded"
    assert set(card["capabilities"]["constraints"]) >= {"regex", "choices", "json_schema"}
    assert server.get("/health").json() == {"status": "ok"}
    assert server.get("/ready").status_code == 200


def test_the_cache_can_be_seen_and_flushed(server: Any) -> None:
    server.post("/v1/generate", {"prompt": "A prompt that is remembered", "sampling": GREEDY})
    assert server.stats()["evictable"] > 0
    assert server.get("/debug/radix").json()
    assert server.post("/flush_cache").status_code == 200
    assert server.stats()["evictable"] == 0


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/v1/generate", {"prompt": "a", "smapling": {}}, 400, "did you mean 'sampling'"),
        ("/v1/generate", {"prompt": "a", "sampling": {"temprature": 1}}, 400, "did you mean 'temperature'"),
        ("/v1/generate", {"prompt": "a", "hints": {"prio": 1}}, 400, "unknown field 'hints.prio'"),
        ("/v1/generate", {"prompt": ["a", {"markup": "b", "x": 1}]}, 400, "prompt"),
        ("/v1/generate", {"prompt": "a", "sampling": {"temperature": -1}}, 400, "temperature must be"),
        ("/v1/generate", {"prompt": "a", "sampling": {"max_tokens": 40_000}}, 400, "max_tokens"),
        ("/v1/generate", {"prompt": ""}, 400, "prompt is empty"),
        ("/v1/generate", {"prompt": "a " * 5000}, 400, "context"),
        ("/v1/generate", {"prompt": 3}, 400, "prompt"),
        ("/v1/generate", {"prompt": "a", "constraint": {"regex": "("}}, 400, "regex '(' is not"),
        ("/v1/generate", {"prompt": "a", "constraint": {"regex": "a", "choices": ["b"]}}, 400, "one of"),
        ("/v1/generate", {}, 400, "prompt"),
        ("/v1/score", {"prompt": "a", "choices": []}, 400, "choices"),
        ("/v1/detokenize", {"ids": [10**9]}, 400, "vocabulary"),
        ("/v1/detokenize", {"ids": [-1]}, 400, "ids"),
        ("/v1/nothing", {}, 404, "Not Found"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_wrong_is_refused(server: Any, path: str, body: Any, status: int, message: str, stream: bool) -> None:
    if stream and path == "/v1/generate":
        body = {**body, "stream": True}
    answer = server.post(path, body)
    assert answer.status_code == status, answer.text
    assert message in answer.json()["error"]["message"]


def test_a_body_that_is_no_json(server: Any) -> None:
    answer = httpx.post(server.url + "/v1/generate", content=b"{", headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert "JSON" in answer.json()["error"]["message"]


def test_a_large_body_is_refused(server: Any) -> None:
    answer = server.post("/v1/generate", {"prompt": "a" * (9 << 20)})
    assert answer.status_code == 413


def test_a_deadline_ends_a_request(server: Any) -> None:
    body = {"prompt": "a", "sampling": LONG, "hints": {"timeout": 0.05}}
    answer = server.post("/v1/generate", body)
    assert answer.status_code == 408
    assert answer.json()["error"]["type"] == "DeadlineError"
