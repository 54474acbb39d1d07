"""`serve`: an engine process and an HTTP server in front of it, until SIGTERM or Ctrl-C; then a drain.

The composition root of the server. Called by the command line and by tests.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import logging.config
import signal
import socket
from types import FrameType

import uvicorn

from .app import create_app
from .connections import MAX_HEADER_BYTES, timed_h11
from .engine_client import EngineClient
from .service import Service
from .settings import Settings

KEEP_ALIVE_SECONDS = 30

log = logging.getLogger("ramify.server")


class _Server(uvicorn.Server):
    """Drains the service before uvicorn ends its connections."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End with a drain; a second signal ends at once. SIGTERM that was obeyed is a success: exit status 0."""
        if sig != signal.SIGTERM:
            self._captured_signals.append(sig)
        if self.should_exit:
            self.force_exit = True
            self._service.hurry()
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Wait for what is open, then close."""
        await self._service.drain()
        await super().shutdown(sockets)


def serve(settings: Settings) -> None:
    """Run until a signal ends it. Raises what keeps the engine from starting, and `OSError` for a port in use."""
    asyncio.run(aserve(settings))


async def aserve(settings: Settings) -> None:
    """`serve` on the running event loop. Answers from the beginning: `/health` says that the model is loading."""
    logging.config.dictConfig(_logging(settings.log_level))
    if settings.api_key is None and not _is_loopback(settings.host):
        log.warning("listening on %s without an API key: whoever reaches this port can use it", settings.host)
    with _listen(settings) as listener:
        client = EngineClient(settings.engine_options, watchdog_s=settings.watchdog)
        service = Service(client, settings)
        server = _Server(_config(service), service)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        starting = asyncio.create_task(client.start())
        try:
            await asyncio.wait({serving, starting}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()  # raises what keeps the engine from starting
                service.has_started = True
                # scripts and tests wait for this line
                print(f"ramify serves {service.capabilities.model} at {_address(listener)}", flush=True)
            await serving
        finally:
            starting.cancel()
            server.should_exit = True
            await asyncio.gather(starting, return_exceptions=True)
            await serving
            await client.close()


def _config(service: Service) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(service),
        http=timed_h11(),
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=5,
        server_header=False,
    )


def _logging(level: str) -> dict[str, object]:
    """One line for each thing, on stderr, of this server and of uvicorn."""
    name = level.upper()
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "loggers": {
            logger: {"handlers": ["stderr"], "level": name, "propagate": False} for logger in ("ramify", "uvicorn")
        },
    }


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


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
