"""What streams by sample, gathered; and several requests' chunks merged into one stream.

Used by the protocols that answer several prompts or samples in one response. Knows no protocol.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from ...lang.errors import RamifyError
from ..api import Chunk, Finish, Request, TokenLogprob, Usage
from .service import Service


@dataclass(slots=True)
class Answer:
    """One sample, as far as it has come."""

    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    prompt_logprobs: tuple[TokenLogprob, ...] = ()
    finish: Finish | None = None
    usage: Usage = field(default_factory=Usage)

    def add(self, chunk: Chunk) -> None:
        """Take the next chunk."""
        self.text += chunk.text
        self.token_ids += chunk.token_ids
        self.logprobs += chunk.logprobs
        self.prompt_logprobs = self.prompt_logprobs or chunk.prompt_logprobs
        self.finish = chunk.finish or self.finish
        self.usage = chunk.usage or self.usage


async def merged(service: Service, requests: Sequence[Request]) -> AsyncGenerator[tuple[int, Chunk]]:
    """Yield (place of the request, chunk) as they come; the first failure ends all. Closing it aborts what is open."""
    queue: asyncio.Queue[tuple[int, Chunk] | RamifyError | None] = asyncio.Queue()

    async def pump(place: int) -> None:
        try:
            async with aclosing(service.generate(requests[place])) as chunks:  # type: ignore[type-var]
                async for chunk in chunks:
                    queue.put_nowait((place, chunk))
            queue.put_nowait(None)
        except RamifyError as error:
            queue.put_nowait(error)

    tasks = [asyncio.create_task(pump(place)) for place in range(len(requests))]
    try:
        num_open = len(tasks)
        while num_open:
            match await queue.get():
                case None:
                    num_open -= 1
                case (place, chunk):
                    yield place, chunk
                case error:
                    raise error
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
