"""`Together`: requests that are ready at about the same time travel in one body and are answered by one stream.

A branch of a fork or a row of a batch then costs no round trip and no connection of its own. Knows the server's
`/v1/batch`. Called by `RemoteBackend`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import weakref
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from ...lang.errors import BackendError, ClosedError, RamifyError
from .transport import Transport

GATHER_SECONDS = 0.002  # what comes within this time of the last sending waits for company
MAX_TOGETHER = 128
MAX_BYTES = 1 << 20  # of a body; a single larger request travels by itself
ABORT_SECONDS = 5.0

Event = dict[str, Any]


class Alone(Exception):
    """A request has to be sent by itself: it had no company, or its server was too busy for all of them."""


@dataclass(slots=True, eq=False)
class _Item:
    """One request on its way. `kind`: "generate" or "score"."""

    kind: str
    body: Event
    size: int
    events: asyncio.Queue[Event | RamifyError | Alone] = field(default_factory=asyncio.Queue)


class Together:
    """Gathers the requests of each event loop."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._gatherings: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Gathering] = weakref.WeakKeyDictionary()

    async def events(self, kind: str, body: Event, size: int) -> AsyncIterator[Event]:
        """Yield the events that answer a request, without end; closing it before the last of them aborts it.

        `size`: about how many bytes it has. Raises `Alone`, before anything else, when it has to be sent by itself.
        """
        loop = asyncio.get_running_loop()
        gathering = self._gatherings.get(loop)
        if gathering is None:
            gathering = self._gatherings[loop] = _Gathering(self._transport, loop)
        item = _Item(kind, body, size)
        gathering.add(item)
        try:
            while True:
                event = await item.events.get()
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            await gathering.leave(item)


class _Gathering:
    """What one event loop sends together."""

    def __init__(self, transport: Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._waiting: list[_Item] = []
        self._timer: asyncio.Handle | None = None
        self._sent_at = -GATHER_SECONDS
        self._streams: dict[_Item, _Stream] = {}

    def add(self, item: _Item) -> None:
        """Send a request soon: at once after a pause, else together with what comes shortly after the last ones."""
        self._waiting.append(item)
        if self._timer is None:
            now = self._loop.time()
            delay = max(0.0, self._sent_at + GATHER_SECONDS - now)
            self._timer = self._loop.call_later(delay, self._send) if delay else self._loop.call_soon(self._send)

    async def leave(self, item: _Item) -> None:
        """Forget a request; one that has not been answered is aborted."""
        if item in self._waiting:
            self._waiting.remove(item)
        stream = self._streams.pop(item, None)
        if stream is not None:
            await stream.leave(item)

    def _send(self) -> None:
        self._timer, self._sent_at = None, self._loop.time()
        waiting, self._waiting = self._waiting, []
        while waiting:
            num, size = 0, 0
            while num < min(len(waiting), MAX_TOGETHER) and (not num or size + waiting[num].size <= MAX_BYTES):
                size += waiting[num].size
                num += 1
            group, waiting = waiting[:num], waiting[num:]
            if num == 1:
                group[0].events.put_nowait(Alone())
                continue
            stream = _Stream(self._transport, group)
            self._streams.update((item, stream) for item in group)


class _Stream:
    """One body with several requests, and the stream that answers them."""

    def __init__(self, transport: Transport, items: list[_Item]) -> None:
        self._transport = transport
        self._items = items
        self._open = set(items)
        self._task = asyncio.create_task(self._read())

    async def leave(self, item: _Item) -> None:
        """Nobody reads the answers to `item` any more; with the last one the whole stream ends."""
        if item not in self._open:
            return
        self._open.discard(item)
        if not self._open:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            return
        with contextlib.suppress(RamifyError, TimeoutError):
            aborting = self._transport.post("/v1/abort", {"id": item.body["id"]})
            await asyncio.wait_for(aborting, ABORT_SECONDS)

    async def _read(self) -> None:
        body = {"requests": [{item.kind: item.body} for item in self._items]}
        end: RamifyError = BackendError("the server's answer ended in the middle")
        try:
            async with aclosing(self._transport.events("/v1/batch", body)) as events:  # type: ignore[type-var]
                async for data in events:
                    self._take(json.loads(data))
        except RamifyError as error:
            end = error
        except asyncio.CancelledError:
            end = ClosedError("the connection is closed")
            raise
        finally:
            for item in self._open:
                item.events.put_nowait(end)

    def _take(self, event: Event) -> None:
        item = self._items[event["request"]]
        if event.get("is_busy"):
            self._open.discard(item)
            item.events.put_nowait(Alone())
            return
        if event.get("is_last"):
            self._open.discard(item)
        item.events.put_nowait(event)
