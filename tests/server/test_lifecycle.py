"""Clients that leave, engines that die, servers that are full or end: nobody hangs and no memory is lost."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

LONG = {"max_tokens": 3500, "ignore_eos": True, "temperature": 0}


def body(*, stream: bool, prompt: str = "Once") -> dict[str, Any]:
    return {"prompt": prompt, "sampling": LONG, "stream": stream}


def until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"did not come about within {seconds} s"
        time.sleep(0.02)


class Caller(threading.Thread):
    """Posts a body in the background and keeps the answer."""

    def __init__(self, url: str, sent: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self.url, self.sent = url, sent
        self.response: httpx.Response | None = None
        self.start()

    def run(self) -> None:
        self.response = httpx.post(self.url + "/v1/generate", json=self.sent, timeout=60)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_hangs_up_ends_its_request(server: Any, stream: bool) -> None:
    aborted = server.stats()["aborted"]
    with (
        pytest.raises(httpx.ReadTimeout),
        httpx.stream(
            "POST", server.url + "/v1/generate", json=body(stream=stream), timeout=httpx.Timeout(5, read=0.3)
        ) as response,
    ):
        for _ in response.iter_lines():
            raise httpx.ReadTimeout("enough")
    until(lambda: server.stats()["aborted"] == aborted + 1 and server.stats()["running"] == 0, 5)


def test_an_engine_that_dies_or_is_stuck_is_replaced_once(start_server: Callable[..., Any]) -> None:
    server = start_server("--watchdog", "4")
    plain, streaming = Caller(server.url, body(stream=False)), Caller(server.url, body(stream=True))
    until(lambda: server.stats().get("running") == 2, 20)
    os.kill(server.engine_pid(), signal.SIGKILL)
    for caller in (plain, streaming):
        caller.join(5)
        assert caller.response is not None, "a client waits although the engine is gone"
    assert plain.response is not None and plain.response.status_code == 503
    assert "ended unexpectedly (signal 9)" in plain.response.json()["error"]["message"]
    assert streaming.response is not None
    *_, failure, end = streaming.response.text.strip().split("\n\n")
    assert json.loads(failure.removeprefix("data: "))["error"]["type"] == "BackendError"
    assert end == "data: [DONE]"
    assert server.get("/health").status_code == 503
    until(lambda: server.get("/health").status_code == 200, 60)
    assert server.post("/v1/generate", {"prompt": "a", "sampling": {"max_tokens": 2}}).status_code == 200

    stuck = Caller(server.url, body(stream=False))
    until(lambda: server.stats().get("running") == 1, 20)
    os.kill(server.engine_pid(), signal.SIGSTOP)
    stuck.join(15)
    assert stuck.response is not None and stuck.response.status_code == 503
    assert "no step for 4 s" in stuck.response.json()["error"]["message"]
    until(lambda: server.engine_pids() == [], 10)  # it has been replaced once already
    assert server.get("/health").json()["status"] == "failed"
    assert server.post("/v1/generate", {"prompt": "a"}).status_code == 503


def test_sigterm_lets_open_requests_finish(start_server: Callable[..., Any]) -> None:
    server = start_server()
    callers = [Caller(server.url, {"prompt": f"Once {i}", "sampling": {**LONG, "max_tokens": 300}}) for i in range(8)]
    until(lambda: server.stats().get("running") == 8, 20)
    with httpx.Client(base_url=server.url) as client:
        server.process.send_signal(signal.SIGTERM)
        until(lambda: client.get("/ready").status_code == 503, 5)
        late = client.post("/v1/generate", json={"prompt": "a"})
        assert (late.status_code, late.headers["Retry-After"]) == (503, "5")
        assert "shutting down" in late.json()["error"]["message"]
        assert client.get("/health").status_code == 200  # it is well, it only ends
    for caller in callers:
        caller.join(30)
        assert caller.response is not None and caller.response.status_code == 200
    assert server.process.wait(10) == 0


def test_waiting_in_line_and_an_end_in_a_hurry(start_server: Callable[..., Any]) -> None:
    server = start_server("--max-running", "1", "--drain-timeout", "0.2")
    running = Caller(server.url, {**body(stream=False), "sampling": {**LONG, "n": 16}})  # one after the other
    until(lambda: server.stats().get("waiting") == 15, 20)
    for stream in (True, False):  # clients that leave while they wait leave the line
        aborted = server.stats()["aborted"]
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(server.url + "/v1/generate", json=body(stream=stream), timeout=0.5)
        until(lambda aborted=aborted: server.stats()["aborted"] == aborted + 1, 5)
    assert running.is_alive(), "the running request was to outlast those that wait"
    server.process.send_signal(signal.SIGTERM)
    running.join(10)
    assert running.response is not None and running.response.status_code == 499
    assert server.process.wait(10) == 0


def test_a_full_server_says_so_at_once(limited_server: Any) -> None:
    server = limited_server
    assert server.get("/health").status_code == 200  # needs no key
    assert server.get("/v1/models").status_code == 401
    assert server.get("/health/").status_code == 401  # an open path is exactly that path
    headers = {"Authorization": "Bearer secret"}

    def post(prompt: str) -> httpx.Response:
        sent = body(stream=False, prompt=prompt)
        return httpx.post(server.url + "/v1/generate", json=sent, headers=headers, timeout=60)

    @contextmanager
    def open_one() -> Iterator[None]:
        with httpx.stream("POST", server.url + "/v1/generate", json=body(stream=True), headers=headers) as response:
            lines = response.iter_lines()  # kept: the response closes with its iterator
            next(lines)
            yield

    with open_one():
        too_many_tokens = post("word " * 200)
        assert (too_many_tokens.status_code, too_many_tokens.headers["Retry-After"]) == (503, "1")
        with open_one():
            too_many = post("a")
            assert (too_many.status_code, too_many.headers["Retry-After"]) == (503, "1")
            assert too_many.json()["error"]["type"] == "OverloadedError"
