"""Where settings come from, and what a server says before and without its engine. No server process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import ramify
from ramify.backend.server.app import create_app
from ramify.backend.server.engine_client import EngineClient
from ramify.backend.server.serve import _address, _is_loopback, _listen
from ramify.backend.server.service import Service
from ramify.backend.server.settings import Settings, load_settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "server.toml"
    path.write_text("port = 1\nmax_running = 2\nseed = 3\n")
    return path


def test_flags_go_before_the_environment_before_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAMIFY_PORT", "10")
    monkeypatch.setenv("RAMIFY_MAX_RUNNING", "20")
    settings = load_settings({"port": 100}, file)
    assert (settings.port, settings.max_running, settings.seed, settings.host) == (100, 20, 3, "127.0.0.1")


@pytest.mark.parametrize(
    ("flags", "text", "message"),
    [
        ({"port": 99999}, "", "port"),
        ({}, "prot = 1", "prot"),
        ({}, "port = ", "server.toml"),
        ({"dtype": "int8"}, "", "dtype"),
    ],
)
def test_settings_that_cannot_be(flags: Any, text: str, message: str, file: Path) -> None:
    file.write_text(text)
    with pytest.raises(ramify.ParameterError, match=message):
        load_settings(flags, file)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ramify.ParameterError, match="no config file"):
        load_settings({}, tmp_path / "none.toml")


def test_config_shows_where_values_come_from_and_no_secrets(file: Path) -> None:
    command = [sys.executable, "-m", "ramify", "config", "--show", "--config", str(file), "--api-key", "hush"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    lines = {line.split()[0]: line for line in shown.splitlines()}
    assert lines["port"].split() == ["port", "=", "1", "#", "file"]
    assert lines["host"].endswith("# default") and lines["api_key"].endswith("# flag")
    assert "hush" not in shown


def test_addresses() -> None:
    with _listen(Settings(host="127.0.0.1", port=0)) as listener:
        taken = listener.getsockname()[1]
        assert _address(listener) == f"http://127.0.0.1:{taken}"
    assert _is_loopback("::1") and _is_loopback("127.0.0.2") and _is_loopback("localhost")
    assert not _is_loopback("0.0.0.0") and not _is_loopback("::") and not _is_loopback("example.org")
    try:
        listener = _listen(Settings(host="::1", port=0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    with listener:
        assert _address(listener).startswith("http://[::1]:")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """The application in front of an engine that has not been started."""
    app = create_app(Service(EngineClient({}), Settings()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/ready", None),
        ("GET", "/v1/models", None),
        ("GET", "/get_model_info", None),
        ("GET", "/debug/radix", None),
        ("POST", "/v1/generate", {"prompt": "a"}),
        ("POST", "/v1/generate", {"prompt": "a", "stream": True}),
        ("POST", "/v1/score", {"prompt": "a", "choices": ["b"]}),
        ("POST", "/v1/batch", {"requests": [{"generate": {"prompt": "a"}}]}),
        ("POST", "/v1/tokenize", {"prompt": "a"}),
        ("POST", "/v1/completions", {"prompt": "a"}),
        ("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]}),
        ("POST", "/generate", {"text": "a"}),
        ("POST", "/v1/graphs/run", {"script": "@program p()\n@user\nHi\n"}),
        ("POST", "/flush_cache", None),
    ],
)
async def test_everything_says_that_the_model_is_loading(
    client: httpx.AsyncClient, method: str, path: str, body: Any
) -> None:
    answer = await client.request(method, path, json=body)
    assert answer.status_code == 503, answer.text
    assert "loading" in answer.text


async def test_health_says_so_too_and_metrics_still_answer(client: httpx.AsyncClient) -> None:
    health = await client.get("/health")
    assert (health.status_code, health.json()["status"]) == (503, "loading")
    assert (await client.get("/metrics")).status_code == 200
    assert "/v1/generate" in (await client.get("/openapi.json")).json()["paths"]
