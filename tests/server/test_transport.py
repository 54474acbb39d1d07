"""What the clients send, and when: retries, company for requests that are ready together, aborts. No server process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

import ramify
from ramify.backend.api import Request, Text
from ramify.backend.remote import transport as transport_module
from ramify.backend.wire import encode_capabilities

FINISHED = {"text": "hi", "token_ids": [1], "finish": {"reason": "stop"}, "usage": {}}
CARD = encode_capabilities(ramify.FakeBackend().capabilities)


class Answers:
    """Answers as a server would, and notes what it was asked."""

    def __init__(self, busy: Callable[[str], bool] = lambda path: False) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.busy = busy

    def backend(self, **options: Any) -> ramify.RemoteBackend:
        client = httpx.AsyncClient(transport=httpx.MockTransport(self.answer))
        return ramify.RemoteBackend("http://there", client=client, **options)

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]

    def answer(self, request: httpx.Request) -> httpx.Response:
        path, body = request.url.path, json.loads(request.content or b"null")
        self.asked.append((path, body))
        if self.busy(path):
            error = {"type": "OverloadedError", "message": "busy"}
            return httpx.Response(503, headers={"Retry-After": "7"}, json={"error": error})
        match path:
            case "/v1/models":
                return httpx.Response(200, json={"data": [{"capabilities": {**CARD, "graphs": True}}]})
            case "/v1/generate" if body.get("stream"):
                return httpx.Response(200, text=f"data: {json.dumps(FINISHED)}\n\ndata: [DONE]\n\n")
            case "/v1/generate":
                return httpx.Response(200, json={"chunks": [FINISHED]})
            case "/v1/batch":
                events = [{"request": n, "chunk": FINISHED, "is_last": True} for n in range(len(body["requests"]))]
                events[-1] = {
                    "request": len(events) - 1,
                    "error": {"message": "full"},
                    "is_last": True,
                    "is_busy": True,
                }
                lines = [f"data: {json.dumps(event)}\n\n" for event in events]
                return httpx.Response(200, text="".join([*lines, "data: [DONE]\n\n"]))
        return httpx.Response(404)


@ramify.function
def question(s: Any, number: int) -> None:
    s += f"Question {number}:" + ramify.gen("answer")


@pytest.fixture(autouse=True)
def never_blocking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Async programs must not wait for a server on the event loop."""

    def blocking(self: Any, path: str) -> Any:
        raise AssertionError("the event loop was blocked")

    monkeypatch.setattr(transport_module.Transport, "get_blocking", blocking)


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The times that a transport slept; it does not really."""
    taken: list[float] = []

    async def sleep(seconds: float) -> None:
        taken.append(seconds)

    monkeypatch.setattr(transport_module.asyncio, "sleep", sleep)
    return taken


async def test_a_busy_server_is_asked_again_when_it_says(naps: list[float]) -> None:
    server = Answers(busy=lambda path: path == "/v1/generate" and len(naps) < 2)
    (row,) = await question.arun_batch([{"number": 1}], backend=server.backend())
    assert row.unwrap()["answer"] == "hi"
    assert len(naps) == 2 and all(7 <= seconds <= 10.5 for seconds in naps)


async def test_patience_ends(naps: list[float]) -> None:
    server = Answers(busy=lambda path: path == "/v1/generate")
    (row,) = await question.arun_batch([{"number": 1}], backend=server.backend())
    assert isinstance(row, ramify.Failed) and "busy" in str(row.error)
    assert server.paths().count("/v1/generate") == 3


async def test_rows_travel_together_and_the_refused_one_by_itself() -> None:
    server = Answers()
    rows = await question.arun_batch([{"number": n} for n in range(20)], backend=server.backend(ship="never"))
    assert [row.unwrap()["answer"] for row in rows] == ["hi"] * 20
    sent = sum(len(body["requests"]) for path, body in server.asked if path == "/v1/batch")
    alone = server.paths().count("/v1/generate")
    assert sent >= 15 and alone == 20 - sent + server.paths().count("/v1/batch")


async def test_only_the_first_row_is_traced_where_shipping_does_not_pay() -> None:
    calls = []

    @ramify.function
    def counted(s: Any, number: int) -> None:
        calls.append(number)
        s += f"Question {number}:" + ramify.gen("answer")

    server = Answers()
    await counted.arun_batch([{"number": n} for n in range(10)], backend=server.backend())
    assert len(calls) == 11 and sorted(calls)[:2] == [0, 0]


async def test_one_run() -> None:
    server = Answers()
    assert (await question.bind(number=1).arun(backend=server.backend()))["answer"] == "hi"
    assert server.paths() == ["/v1/models", "/v1/generate"]


async def test_a_request_that_is_given_up_is_aborted_alone() -> None:
    begun, aborted = asyncio.Event(), asyncio.Event()
    asked: list[tuple[str, Any]] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content or b"null")
        asked.append((request.url.path, body))
        if request.url.path == "/v1/abort":
            aborted.set()
            return httpx.Response(200, json={"aborted": True})

        async def events() -> Any:
            begun.set()
            await aborted.wait()
            for n in range(len(body["requests"])):
                yield f"data: {json.dumps({'request': n, 'chunk': FINISHED, 'is_last': True})}\n\n".encode()
            yield b"data: [DONE]\n\n"

        return httpx.Response(200, content=events())

    backend = ramify.RemoteBackend("http://there", client=httpx.AsyncClient(transport=httpx.MockTransport(answer)))
    requests = [Request(prompt=(Text(f"{n}"),), id=f"r{n}") for n in range(3)]

    async def run(request: Any) -> str:
        return "".join([chunk.text async for chunk in backend.generate(request)])

    tasks = [asyncio.create_task(run(request)) for request in requests]
    await begun.wait()
    tasks[1].cancel()
    first, cancelled, last = await asyncio.gather(*tasks, return_exceptions=True)
    assert first == last == "hi" and isinstance(cancelled, asyncio.CancelledError)
    assert [body for path, body in asked if path == "/v1/abort"] == [{"id": "r1"}]
