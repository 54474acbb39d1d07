"""`TimedH11`: uvicorn's HTTP/1.1 connection with a limit to the time that a request's headers may take.

Without it a client that sends a header a minute keeps a connection for ever. Called by `serve`.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 10.0
MAX_HEADER_BYTES = 64 << 10


def timed_h11(seconds: float = HEADER_SECONDS) -> type[asyncio.Protocol]:
    """Return the kind of connection that closes when headers take longer than `seconds`."""

    class TimedH11(H11Protocol):
        header_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._watch_headers()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch_headers()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_watching()
            super().connection_lost(exc)

        def _watch_headers(self) -> None:
            is_waiting = self.conn.their_state is h11.IDLE
            has_begun = self.cycle is None or bool(self.conn.trailing_data[0])  # kept alive and silent is no request
            if not (is_waiting and has_begun):
                self._stop_watching()
            elif self.header_timer is None:
                self.header_timer = self.loop.call_later(seconds, self.transport.close)

        def _stop_watching(self) -> None:
            if self.header_timer is not None:
                self.header_timer.cancel()
                self.header_timer = None

    return TimedH11
