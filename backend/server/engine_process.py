"""The engine process: an `Engine` at the far end of a channel. Run as `python -m ramify.backend.server.engine_process`.

Answers messages until the server closes the channel or dies. Knows nothing of HTTP. Started by `EngineClient`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from ...lang.errors import BackendError, ParameterError, RamifyError
from .. import wire
from .messages import Abort, Ask, Beat, Channel, End, Generate, Outbox, Piece, Ready, Refused, Score

if TYPE_CHECKING:
    from ..engine.engine import Engine

BEAT_SECONDS = 1.0


class EngineHost:
    """Answers the server's messages with an engine."""

    def __init__(self, engine: Engine, channel: Channel) -> None:
        self._engine = engine
        self._channel = channel
        self._outbox = Outbox(channel)
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Answer until the server is gone; what is still open then is aborted."""
        beats = asyncio.create_task(self._beat())
        try:
            while (message := await self._channel.receive_from_server()) is not None:
                match message:
                    case Generate(key, request):
                        self._start(key, self._generate(key, request))
                    case Score(key, request):
                        self._start(key, self._answer(key, partial(self._score, request)))
                    case Ask(key, what):
                        self._start(key, self._answer(key, partial(self._ask, what)))
                    case Abort(key):
                        if key in self._tasks:
                            self._tasks[key].cancel()
        finally:
            open_tasks = [beats, *self._tasks.values()]
            for task in open_tasks:
                task.cancel()
            await asyncio.gather(*open_tasks, return_exceptions=True)

    def _start(self, key: int, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._tasks.pop(key, None))

    async def _generate(self, key: int, plain: dict[str, Any]) -> None:
        async def answer() -> None:
            request = wire.decode_request(plain)
            async with contextlib.aclosing(self._engine.generate(request)) as chunks:  # type: ignore[type-var]
                async for chunk in chunks:
                    self._outbox.put(Piece(key, wire.encode_chunk(chunk)))

        await self._answer(key, answer)

    async def _answer(self, key: int, work: Callable[[], Awaitable[Any]]) -> None:
        """Send one `End` for `key`: the result of `work`, or its error; none when it was aborted."""
        try:
            self._outbox.put(End(key, await work()))
        except RamifyError as error:
            self._outbox.put(End(key, None, wire.encode_error(error)))
        # A defect of ours must reach the one who waits, not end the process for everybody else.
        except Exception as error:  # noqa: BLE001
            wrapped = BackendError(f"the engine failed: {type(error).__name__}: {error}")
            self._outbox.put(End(key, None, wire.encode_error(wrapped)))

    async def _score(self, plain: dict[str, Any]) -> list[Any]:
        scores = await self._engine.score(wire.decode_score_request(plain))
        return [wire.encode_score(score) for score in scores]

    async def _ask(self, what: str) -> Any:
        match what:
            case "stats":
                return {**await asyncio.to_thread(self._engine.stats), **self._engine.grammar_stats()}
            case "programs":
                programs = await asyncio.to_thread(self._engine.program_stats)
                return {program: asdict(stats) for program, stats in programs.items()}
            case "snapshot":
                return await asyncio.to_thread(self._engine.cache_snapshot)
            case "flush":
                return await asyncio.to_thread(self._engine.flush_cache)
        raise ParameterError(f"the engine process cannot be asked for {what!r}")

    async def _beat(self) -> None:
        """Tell the server that the engine's loop gets round; a stuck forward stops the beats."""
        while True:
            asked = time.monotonic()
            await asyncio.to_thread(self._engine.stats)
            self._outbox.put(Beat(time.monotonic() - asked))
            await asyncio.sleep(BEAT_SECONDS)


async def main(connection: socket.socket, options: dict[str, Any]) -> None:
    """Make the engine, say that it is ready, and answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C in the terminal is the server's to handle
    reader, writer = await asyncio.open_connection(sock=connection)
    channel = Channel(reader, writer)
    from ..engine.engine import Engine

    try:
        engine = Engine(**options)
    except RamifyError as error:
        channel.send(Refused(wire.encode_error(error)))
        await channel.close()
        return
    with engine:
        channel.send(
            Ready(wire.encode_capabilities(engine.capabilities), str(engine.folder), engine.tokenizer.vocabulary.size)
        )
        await EngineHost(engine, channel).run()
        await channel.close()


if __name__ == "__main__":
    asyncio.run(main(socket.socket(fileno=int(sys.argv[1])), json.loads(sys.argv[2])))
