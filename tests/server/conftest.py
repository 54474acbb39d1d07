"""A real server process with the embedded model, shared by the tests of this folder, and ways to ask it."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

START_SECONDS = 60


@dataclass(slots=True)
class Server:
    """A running `ramify serve`."""

    process: subprocess.Popen[str]
    url: str
    client: httpx.Client

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.client.get(path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        return self.client.post(path, json=body, **options)

    def stats(self) -> dict[str, float]:
        """The engine's counts, read off /metrics."""
        found: dict[str, float] = {}
        for line in self.get("/metrics").text.splitlines():
            name, _, value = line.rpartition(" ")
            if name.startswith("ramify_engine_") and not name.endswith("_created"):
                found[name.removeprefix("ramify_engine_").removesuffix("_total")] = float(value)
        return found

    def engine_pids(self) -> list[int]:
        listed = subprocess.run(
            ["ps", "--ppid", str(self.process.pid), "-o", "pid=,args="], capture_output=True, text=True, check=False
        )
        return [int(line.split()[0]) for line in listed.stdout.splitlines() if "engine_process" in line]

    def engine_pid(self) -> int:
        (pid,) = self.engine_pids()
        return pid

    def wait_idle(self, seconds: float = 5.0) -> None:
        """Wait until nothing runs, and check that no memory is lost then."""
        until(lambda: self.stats()["running"] == self.stats()["waiting"] == 0, seconds)
        stats = self.stats()
        assert stats["available"] + stats["evictable"] == stats["total"]
        assert stats["protected"] == 0


def until(condition: Callable[[], bool], seconds: float) -> None:
    """Wait for a condition; fail when it does not come about."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"did not come about within {seconds} s"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def start_server() -> Iterator[Callable[..., Server]]:
    """Start servers with flags of one's own; they end with the tests."""
    processes: list[subprocess.Popen[str]] = []
    clients: list[httpx.Client] = []

    def start(*flags: str) -> Server:
        program = [sys.executable, "-m", "ramify", "serve", "--port", "0", "--log-level", "warning", *flags]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        process = subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env=environment)
        processes.append(process)
        assert process.stdout is not None
        readable, _, _ = select.select([process.stdout], [], [], START_SECONDS)
        line = process.stdout.readline() if readable else ""
        assert line.startswith("ramify serves"), f"the server did not start: {line!r}, status {process.poll()}"
        url = line.split()[-1]
        client = httpx.Client(base_url=url, timeout=60)
        clients.append(client)
        return Server(process, url, client)

    yield start
    for client in clients:
        client.close()
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture(scope="session")
def shared_server(start_server: Callable[..., Server]) -> Server:
    return start_server()


@pytest.fixture(scope="session")
def limited_server(start_server: Callable[..., Server]) -> Server:
    """A server that takes little, and asks for a key."""
    limits = ("--max-queued-requests", "2", "--max-queued-tokens", "100", "--max-body-bytes", "20000")
    return start_server(*limits, "--body-timeout", "0.5", "--api-key", "secret")


@pytest.fixture
def server(shared_server: Server) -> Iterator[Server]:
    """The shared server; after each test it must be idle, with no memory lost."""
    yield shared_server
    shared_server.wait_idle()
