"""`EngineClient`: the engine process as a `Backend`, and its supervisor.

When the process dies or its loop stands still, everything open fails with a clear error
and the process is started again, once. Used on one event loop, by the server.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...lang.errors import BackendError, ClosedError, RamifyError
from .. import wire
from ..api import Capabilities, ChoiceScore, Chunk, Request, ScoreRequest
from .messages import Abort, Ask, Beat, Channel, End, Generate, Outbox, Piece, Ready, Refused, Score

if TYPE_CHECKING:
    from ..engine.tokenizer import Tokenizer

STOP_SECONDS = 5.0  # for the process to end by itself before it is killed


class EngineClient:
    """Runs an `Engine(**options)` in a process of its own.

    `watchdog_s`: seconds without a sign of the engine's loop after which it counts as stuck (a long forward is no
    sign). `restarts`: how often a process that died is replaced; after that every call raises `BackendError`.
    """

    def __init__(self, options: Mapping[str, Any], *, watchdog_s: float = 60.0, restarts: int = 1) -> None:
        self._options = dict(options)
        self._watchdog_s = watchdog_s
        self._restarts_left = restarts
        self._keys = itertools.count(1)
        self._open: dict[int, asyncio.Queue[Piece | End]] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._outbox: Outbox | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._failure: RamifyError | None = BackendError("the engine is loading its model; try again soon")
        self._last_beat = 0.0
        self._capabilities: Capabilities | None = None
        self._tokenizer: Tokenizer | None = None

    async def start(self) -> None:
        """Start the process and wait until its model is loaded; raises what keeps it from starting."""
        channel = await self._launch()
        self._supervisor = asyncio.create_task(self._supervise(channel))

    @property
    def capabilities(self) -> Capabilities:
        """What the engine can do; a `BackendError` until its model is loaded for the first time."""
        if self._capabilities is None:
            raise self._failure or BackendError("the engine has not been started")
        return self._capabilities

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer, in this process; as `capabilities`."""
        if self._tokenizer is None:
            raise self._failure or BackendError("the engine has not been started")
        return self._tokenizer

    @property
    def vocab_size(self) -> int:
        """How many token ids there are."""
        return self.tokenizer.vocabulary.size

    @property
    def failure(self) -> RamifyError | None:
        """Why the engine does not answer now; None while it does."""
        return self._failure

    @property
    def num_open(self) -> int:
        """Requests that have not ended."""
        return len(self._open)

    async def generate(self, request: Request) -> AsyncIterator[Chunk]:
        """See `Backend`."""
        key = next(self._keys)
        queue = self._send(key, Generate(key, wire.encode_request(request)))
        try:
            while isinstance(message := await queue.get(), Piece):
                yield wire.decode_chunk(message.chunk)
            _result(message)
        finally:
            self._forget(key)

    async def score(self, request: ScoreRequest) -> list[ChoiceScore]:
        """See `Backend`."""
        key = next(self._keys)
        result = await self._call(key, Score(key, wire.encode_score_request(request)))
        return [wire.decode_score(score) for score in result]

    async def ask(self, what: str) -> Any:
        """Return the engine's `stats`, those of its `programs`, its cache's `snapshot`, or `flush` the cache."""
        key = next(self._keys)
        return await self._call(key, Ask(key, what))

    async def close(self) -> None:
        """End the process; what is open fails with `ClosedError`."""
        self._restarts_left = 0
        self._fail_open(ClosedError("the server is shutting down"))
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
        await self._end_process()

    async def _call(self, key: int, message: Score | Ask) -> Any:
        queue = self._send(key, message)
        try:
            answer = await queue.get()
            assert isinstance(answer, End)
            return _result(answer)
        finally:
            self._forget(key)

    def _send(self, key: int, message: Generate | Score | Ask) -> asyncio.Queue[Piece | End]:
        if self._failure is not None:
            raise self._failure
        assert self._outbox is not None
        queue: asyncio.Queue[Piece | End] = asyncio.Queue()
        self._outbox.put(message)
        self._open[key] = queue
        return queue

    def _forget(self, key: int) -> None:
        """Tell the engine that nobody waits for `key`, if it has not ended."""
        if self._open.pop(key, None) is not None and self._failure is None and self._outbox is not None:
            self._outbox.put(Abort(key))

    async def _launch(self) -> Channel:
        """Start a process and wait for its first word."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    f"{__package__}.engine_process",
                    str(theirs.fileno()),
                    json.dumps(self._options),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        channel = Channel(*await asyncio.open_connection(sock=ours))
        match await channel.receive_from_engine():
            case Ready(capabilities, folder, vocab_size):
                self._capabilities = wire.decode_capabilities(capabilities)
                if self._tokenizer is None:
                    from ..engine.tokenizer import load_tokenizer

                    self._tokenizer = load_tokenizer(Path(folder), vocab_size=vocab_size)
            case Refused(error):
                await self._end_process()
                raise wire.decode_error(error)
            case _:
                status = await asyncio.to_thread(self._process.wait)
                raise BackendError(f"the engine process ended with status {status} before it was ready")
        self._channel, self._outbox = channel, Outbox(channel)
        self._failure, self._last_beat = None, time.monotonic()
        return channel

    async def _supervise(self, channel: Channel) -> None:
        """Read answers; when they end, fail what is open, and start again as often as allowed."""
        while True:
            error = await self._read(channel)
            self._fail_open(error)
            await channel.close()
            await self._end_process()
            if self._restarts_left == 0:
                return
            self._restarts_left -= 1
            try:
                channel = await self._launch()
            except RamifyError as refusal:
                self._failure = refusal
                return

    async def _read(self, channel: Channel) -> BackendError:
        """Hand out messages until the process is gone or stuck; return what to tell those who wait."""
        watchdog = asyncio.create_task(self._watch(channel))
        try:
            while (message := await channel.receive_from_engine()) is not None:
                self._take(message)
        finally:
            watchdog.cancel()
        if time.monotonic() - self._last_beat > self._watchdog_s:
            return BackendError(f"the engine made no step for {self._watchdog_s:g} s and was ended; try again")
        return BackendError(f"the engine process ended unexpectedly{await asyncio.to_thread(self._status)}; try again")

    async def _watch(self, channel: Channel) -> None:
        """Kill a process that no longer beats; the reader then meets its end."""
        while time.monotonic() - self._last_beat <= self._watchdog_s:
            await asyncio.sleep(min(1.0, self._watchdog_s / 4))
        assert self._process is not None
        self._process.kill()

    def _take(self, message: Any) -> None:
        match message:
            case Piece(key):
                if key in self._open:
                    self._open[key].put_nowait(message)
            case End(key):
                if key in self._open:
                    self._open.pop(key).put_nowait(message)
            case Beat():
                self._last_beat = time.monotonic()

    def _fail_open(self, error: RamifyError) -> None:
        self._failure = error
        for key, queue in self._open.items():
            queue.put_nowait(End(key, None, wire.encode_error(error)))
        self._open.clear()

    def _status(self) -> str:
        assert self._process is not None
        try:
            status = self._process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            return ""
        return f" (signal {-status})" if status < 0 else f" (status {status})"

    async def _end_process(self) -> None:
        """End the process: its channel is closed, which it takes as its end; else it is killed."""
        if self._channel is not None:
            await self._channel.close()
            self._channel = None
        process = self._process
        if process is None:
            return
        try:
            await asyncio.to_thread(process.wait, STOP_SECONDS if self._last_beat else 0.0)
        except subprocess.TimeoutExpired:
            process.kill()
            await asyncio.to_thread(process.wait)
        self._process = None


def _result(message: End) -> Any:
    if message.error is not None:
        raise wire.decode_error(message.error)
    return message.result
