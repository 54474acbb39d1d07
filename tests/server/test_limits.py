"""What a client may send and how long it may take: bodies, headers, many requests in one; and what the server says."""

from __future__ import annotations

import json
import re
import socket
from typing import Any

import httpx
import pytest

GREEDY = {"temperature": 0, "max_tokens": 8}


def talk(server: Any, sent: bytes, seconds: float = 10) -> bytes:
    """Send bytes and return all that comes back until the server closes, or says no more."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=seconds) as connection:
        connection.sendall(sent)
        received = b""
        while b"\r\n\r\n" not in received and (data := connection.recv(65536)):
            received += data
    return received


def test_a_body_that_does_not_arrive(limited_server: Any) -> None:
    head = b"POST /v1/generate HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\nContent-Length: 100\r\n\r\n{"
    assert b" 408 " in talk(limited_server, head).splitlines()[0]


def test_a_large_body_is_refused(limited_server: Any) -> None:
    headers = {"Authorization": "Bearer secret"}
    told = httpx.post(limited_server.url + "/v1/generate", json={"prompt": "a" * 20_001}, headers=headers)
    untold = httpx.post(limited_server.url + "/v1/generate", content=iter([b"a" * 9000] * 3), headers=headers)
    assert (told.status_code, untold.status_code) == (413, 413)


def test_large_headers_are_refused(server: Any) -> None:
    assert b" 400 " in talk(server, b"GET /health HTTP/1.1\r\nX: " + b"a" * 100_000).splitlines()[0]


def test_what_is_no_http_is_refused(server: Any) -> None:
    assert b" 400 " in talk(server, b"\x16\x03\x01 nonsense\r\n\r\n").splitlines()[0]


def test_request_ids(server: Any) -> None:
    assert server.get("/health", headers={"X-Request-Id": "mine-1"}).headers["X-Request-Id"] == "mine-1"
    made = server.get("/health", headers={"X-Request-Id": "a b"}).headers["X-Request-Id"]
    assert re.fullmatch("[0-9a-f]{32}", made)


def test_batch(server: Any) -> None:
    body = {
        "requests": [
            {"generate": {"prompt": "The capital of France is", "sampling": {**GREEDY, "n": 2}, "stream": False}},
            {"score": {"prompt": "Is it?", "choices": [" yes", " no"]}},
            {"generate": {"prompt": "a", "sampling": {"temprature": 1}}},
            {"paint": {}},
        ]
    }
    *events, last, rest = server.post("/v1/batch", body).text.split("\n\n")
    assert (last, rest) == ("data: [DONE]", "")
    found: dict[int, list[Any]] = {number: [] for number in range(4)}
    for event in events:
        plain = json.loads(event.removeprefix("data: "))
        found[plain["request"]].append(plain)
    assert [["is_last" in event for event in own].count(True) for own in found.values()] == [1, 1, 1, 1]
    single = server.post("/v1/generate", body["requests"][0]["generate"]).json()["chunks"]
    assert [event["chunk"]["text"] for event in found[0]] == [chunk["text"] for chunk in single]
    assert [score["choice"] for score in found[1][0]["scores"]] == [" yes", " no"]
    assert "did you mean 'temperature'" in found[2][0]["error"]["message"]
    assert "either generate or score" in found[3][0]["error"]["message"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"requests": []}, "requests"),
        ({"requests": [{}] * 1025}, "1025 requests"),
        ({"request": []}, "requests"),
        ({"requests": [{}], "x": 1}, "unknown field 'x'"),
    ],
)
def test_batches_that_are_refused(server: Any, body: Any, message: str) -> None:
    answer = server.post("/v1/batch", body)
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]


def test_aborting_what_is_not_there(server: Any) -> None:
    assert server.post("/v1/abort", {"id": "nobody"}).json() == {"aborted": False}


def test_metrics(server: Any) -> None:
    script = "@program counted()\n@user\nHello\n@assistant\n{{gen a, max=3}}"
    assert server.post("/v1/graphs/run", {"script": script, "name": "counted", "inputs": {}}).status_code == 200
    server.post("/v1/generate", {"prompt": "a", "sampling": {"max_tokens": 3}, "constraint": {"regex": "[a-c]{2}"}})
    text = server.get("/metrics").text
    assert 'ramify_program_runs_total{outcome="done",program="counted"} ' in text
    assert 'ramify_program_tokens_total{kind="completion",program="counted"} ' in text
    for name in (
        *("time_to_first_token_seconds_count", "inter_token_seconds_count", "rejections_total", "engine_queue_seconds"),
        *("engine_grammar_compiles_total", "engine_cache_hit_rate", "engine_retractions_total", "engine_running"),
    ):
        assert f"\nramify_{name}" in text
    assert server.stats()["grammar_compiles"] >= 1
    assert any(program["requests"] for program in server.get("/debug/programs").json().values())


def test_errors_of_scripts_say_where(server: Any) -> None:
    answer = server.post("/v1/graphs/run", {"script": "@program x()\n@user\nHi\n@assistant\n{{gne a}}\n"})
    assert answer.status_code == 422
    (first, *_) = answer.json()["error"]["diagnostics"]
    assert (first["line"], first["severity"]) == (5, "error")
    assert {"code", "message", "column", "hint"} <= set(first)
