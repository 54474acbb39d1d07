"""`serve`: an engine process and an HTTP server in front of it, until SIGTERM or Ctrl-C; then a drain.

The composition root of the server. Called by the command line and by tests.
"""

from __future__ import annotations

import asyncio
import socket

import uvicorn

from .app import create_app
from .engine_client import EngineClient
from .service import Service
from .settings import Settings


class _Server(uvicorn.Server):
    """Drains the service before uvicorn ends its connections."""

    def __init__(self, config: uvicorn.Config, service: Service, address: str) -> None:
        super().__init__(config)
        self._service = service
        self._address = address

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer, and say so on stdout: scripts and tests wait for this line."""
        await super().startup(sockets)
        if self.started:
            print(f"ramify serves {self._service.capabilities.model} at {self._address}", flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Wait for what is open, then close."""
        await self._service.drain()
        await super().shutdown(sockets)


def serve(settings: Settings) -> None:
    """Run until a signal ends it. Raises what keeps the engine from starting, and `OSError` for a port in use."""
    asyncio.run(aserve(settings))


async def aserve(settings: Settings) -> None:
    """`serve` on the running event loop."""
    with _listen(settings) as listener:
        client = EngineClient(settings.engine_options, watchdog_s=settings.watchdog)
        await client.start()
        service = Service(client, settings)

        async def nothing() -> None:
            pass

        config = uvicorn.Config(
            create_app(service, nothing, client.close),
            http="h11",
            ws="none",
            lifespan="on",
            log_level=settings.log_level,
            timeout_graceful_shutdown=5,
            server_header=False,
        )
        await _Server(config, service, _address(listener)).serve(sockets=[listener])


def _listen(settings: Settings) -> socket.socket:
    """Open the port before the model is loaded, so that a port in use is told at once."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError:
        listener.close()
        raise
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
