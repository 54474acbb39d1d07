"""`Service`: what every protocol of the server stands on: a backend behind limits, deadlines, counts and a drain.

Speaks requests and chunks, never HTTP. The routes call it; it calls the engine client (or any other `Backend`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any, Protocol

from ...lang.constraints import check_characters
from ...lang.errors import AbortError, DeadlineError, ParameterError, RamifyError
from ..api import Backend, Capabilities, ChoiceScore, Chunk, Piece, Request, ScoreRequest, Tokens
from ..engine.tokenizer import Tokenizer
from .metrics import Metrics
from .settings import Settings

LONG_TEXT = 50_000  # characters; about 10 ms of tokenising


class OverloadedError(RamifyError):
    """The server has as much to do as it takes; try again after `retry_after` seconds."""

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Served(Backend, Protocol):
    """A backend that a server can run."""

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        ...

    @property
    def vocab_size(self) -> int:
        """How many token ids there are."""
        ...

    @property
    def failure(self) -> RamifyError | None:
        """Why it does not answer now, if so."""
        ...

    async def ask(self, what: str) -> Any:
        """`stats`, `programs`, `snapshot` or `flush`."""
        ...


class Service:
    """Runs requests of all protocols on one backend."""

    def __init__(self, backend: Served, settings: Settings) -> None:
        self.backend = backend
        self.settings = settings
        self.metrics = Metrics()
        self.is_draining = False
        self.has_started = False  # the backend has answered at least once; set by whoever starts it
        self._num_requests = 0
        self._num_tokens = 0
        self._open: dict[str, set[asyncio.Task[Any]]] = {}
        self._aborted: set[asyncio.Task[Any]] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._hurried = asyncio.Event()

    @property
    def capabilities(self) -> Capabilities:
        """What the backend can do, under the name that clients see."""
        capabilities = self.backend.capabilities
        return replace(capabilities, model=self.settings.served_model_name or capabilities.model, graphs=True)

    @property
    def vocab_size(self) -> int:
        """How many token ids there are."""
        return self.backend.vocab_size

    async def generate(self, request: Request) -> AsyncIterator[Chunk]:
        """Answer a request within the server's limits; closing the iterator aborts it."""
        limit = self.settings.max_tokens_limit
        if request.sampling.max_tokens > limit:
            raise ParameterError(f"max_tokens ({request.sampling.max_tokens}) is more than this server's {limit}")
        self.check_ready()
        ids = await self.encode(request.prompt)
        hints = replace(request.hints, timeout=self._timeout(request.hints.timeout))
        request = replace(request, prompt=(Tokens(tuple(ids), ""),), hints=hints)
        num_tokens = len(ids) * request.sampling.n
        with self._admitted(request.id, num_tokens), self.metrics.generation(request) as observe:
            async with contextlib.aclosing(self.backend.generate(request)) as chunks:  # type: ignore[type-var]
                async for chunk in chunks:
                    observe(chunk)
                    yield chunk

    async def score(self, request: ScoreRequest) -> list[ChoiceScore]:
        """Score choices within the server's limits."""
        timeout = self._timeout(request.hints.timeout)
        request = replace(request, hints=replace(request.hints, timeout=timeout))
        self.check_ready()
        num_tokens = len(await self.encode(request.prompt)) * len(request.choices)
        with self._admitted(request.id, num_tokens):
            try:
                return await asyncio.wait_for(self.backend.score(request), timeout)
            except TimeoutError as error:
                raise DeadlineError(f"scoring did not finish within {timeout:g} s") from error

    async def encode(self, prompt: tuple[Piece, ...]) -> list[int]:
        """Return the tokens of a prompt; a long one is tokenised beside the event loop."""
        for piece in prompt:
            check_characters(piece.text)
        if sum(len(piece.text) for piece in prompt) < LONG_TEXT:
            return self.backend.tokenizer.encode_prompt(prompt)
        return await asyncio.to_thread(self.backend.tokenizer.encode_prompt, prompt)

    def abort(self, request_id: str) -> bool:
        """End the open requests with exactly this id; False when there is none."""
        tasks = self._open.get(request_id, set())
        for task in tasks:
            self._aborted.add(task)
            task.cancel()
        return bool(tasks)

    def abort_all(self) -> None:
        """End every open request."""
        for request_id in tuple(self._open):
            self.abort(request_id)

    async def drain(self) -> None:
        """Refuse what is new, wait for what is open, up to the drain timeout, and end the rest."""
        self.is_draining = True
        waits = [asyncio.ensure_future(event.wait()) for event in (self._idle, self._hurried)]
        await asyncio.wait(waits, timeout=self.settings.drain_timeout, return_when=asyncio.FIRST_COMPLETED)
        for waiting in waits:
            waiting.cancel()
        self.abort_all()

    def hurry(self) -> None:
        """Let a drain end at once."""
        self._hurried.set()

    def check_ready(self) -> None:
        """Raise what keeps the server from answering now."""
        if self.is_draining:
            raise OverloadedError("the server is shutting down", retry_after=5)
        if self.backend.failure is not None:
            raise self.backend.failure

    def _timeout(self, wanted: float | None) -> float:
        limit = self.settings.request_timeout
        return limit if wanted is None else min(wanted, limit)

    @contextlib.contextmanager
    def _admitted(self, request_id: str, num_tokens: int) -> Iterator[None]:
        """Count a request while it is open, or refuse it at once."""
        settings = self.settings
        if self._num_requests >= settings.max_queued_requests:
            self.metrics.rejected.inc()
            raise OverloadedError(f"{self._num_requests} requests are open, as many as this server takes; try again")
        if self._num_requests and self._num_tokens + num_tokens > settings.max_queued_tokens:
            self.metrics.rejected.inc()
            raise OverloadedError(f"the open requests hold {self._num_tokens} prompt tokens; try again")
        task = asyncio.current_task()
        assert task is not None
        self._num_requests += 1
        self._num_tokens += num_tokens
        self._idle.clear()
        self._open.setdefault(request_id, set()).add(task)
        try:
            yield
        except asyncio.CancelledError as error:
            if task not in self._aborted:
                raise
            task.uncancel()  # the cancellation was `abort`'s and ends here, as an error that the client is told
            raise AbortError("the request was aborted") from error
        finally:
            self._aborted.discard(task)
            self._num_requests -= 1
            self._num_tokens -= num_tokens
            self._open[request_id].discard(task)
            if not self._open[request_id]:
                del self._open[request_id]
            if not self._num_requests:
                self._idle.set()
