"""What crosses the border between the server and its engine process, as typed msgpack messages, and `Channel`.

Requests and answers inside them are in the plain values of `wire.py`. Knows neither engines nor HTTP; never pickle.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import msgspec

from ...lang.errors import ParameterError

MAX_FRAME = 1 << 30  # bytes; a snapshot of a large cache is the largest message there is

_LENGTH = struct.Struct("<I")


class Generate(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """To the engine: answer a request; its answer comes as `Piece`s and one `End` with the same key."""

    key: int
    request: dict[str, Any]


class Score(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """To the engine: score choices; answered by one `End`."""

    key: int
    request: dict[str, Any]


class Abort(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """To the engine: nobody waits for this key any more; no answer."""

    key: int


class Ask(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """To the engine: one of `stats`, `programs`, `snapshot`, `flush`; answered by one `End`."""

    key: int
    what: str


class Ready(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """From the engine, first of all: what it can do, and where its tokenizer lies."""

    capabilities: dict[str, Any]
    folder: str
    vocab_size: int


class Refused(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """From the engine, instead of `Ready`: it could not start."""

    error: dict[str, Any]


class Piece(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """From the engine: a chunk of the answer to `key`."""

    key: int
    chunk: dict[str, Any]


class End(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """From the engine: the last word on `key`: a result, nothing (an answer is complete), or an error."""

    key: int
    result: Any = None
    error: dict[str, Any] | None = None


class Beat(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """From the engine, regularly: its loop answered just now, `age` seconds after it was asked."""

    age: float


ToEngine = Generate | Score | Abort | Ask
FromEngine = Ready | Refused | Piece | End | Beat

_ENCODER = msgspec.msgpack.Encoder()
_DECODE_TO_ENGINE = msgspec.msgpack.Decoder(ToEngine)
_DECODE_FROM_ENGINE = msgspec.msgpack.Decoder(FromEngine)


def frame(message: ToEngine | FromEngine) -> bytes:
    """Return a message as it travels. Raises `ParameterError` for a value that msgpack has no form for."""
    try:
        body = _ENCODER.encode(message)
    except (OverflowError, ValueError, TypeError) as error:
        raise ParameterError(f"a value cannot be sent to the engine: {error}") from error
    return _LENGTH.pack(len(body)) + body


class Channel:
    """Messages over one connected stream socket, length-prefixed. Used on one event loop.

    `send` never blocks: what the peer has not read waits in memory, bounded by what the server lets in.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, *messages: ToEngine | FromEngine) -> None:
        """Send messages in one write."""
        self.write(b"".join(map(frame, messages)))

    def write(self, frames: bytes) -> None:
        """Send frames; without effect once the peer is gone (its end is noticed by the reader)."""
        if not self._writer.is_closing():
            self._writer.write(frames)

    async def receive_from_engine(self) -> FromEngine | None:
        """Return the next message of the engine process, or None at its end."""
        body = await self._receive()
        return None if body is None else _DECODE_FROM_ENGINE.decode(body)

    async def receive_from_server(self) -> ToEngine | None:
        """Return the next message of the server, or None at its end."""
        body = await self._receive()
        return None if body is None else _DECODE_TO_ENGINE.decode(body)

    async def close(self) -> None:
        """Send what is waiting and close the connection."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            return  # the peer was faster

    async def _receive(self) -> bytes | None:
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            if length > MAX_FRAME:
                raise ConnectionError(f"a message of {length} bytes")
            return await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None


class Outbox:
    """Collects the messages of one turn of the event loop and sends them in one write."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._frames: list[bytes] = []

    def put(self, message: ToEngine | FromEngine) -> None:
        """Send a message at the end of this turn. Raises `ParameterError` as `frame` does."""
        encoded = frame(message)
        if not self._frames:
            asyncio.get_running_loop().call_soon(self._flush)
        self._frames.append(encoded)

    def _flush(self) -> None:
        frames, self._frames = self._frames, []
        self._channel.write(b"".join(frames))
