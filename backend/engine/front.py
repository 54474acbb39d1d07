"""`Front`: requests in, answers out, for tasks of any event loop and for threads that wait.

Joins the builder, the grammar compiler and the engine thread; knows no tensors. Called by `Engine`.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncIterator, Iterable, Sequence
from concurrent.futures import Future

from ...lang.constraints import Constraint
from ...lang.errors import DeadlineError, RamifyError
from ..api import ChoiceScore, Chunk, Request, ScoreRequest
from .engine_thread import BlockingRoute, EngineThread, LoopRoute
from .generation import Generation, to_chunk, to_generation, with_partial
from .grammar.api import CompiledGrammar
from .grammar.service import GrammarService
from .messages import StepOutput
from .req import Req
from .request_builder import RequestBuilder, deadline_of
from .scoring import collect_scores, plan_scores

_Wanted = tuple[Constraint, str | None]  # what to compile, and the plugin that was asked for by name


class Front:
    """Answers requests through `thread`. When nobody holds it any more, the thread ends."""

    def __init__(self, thread: EngineThread, builder: RequestBuilder, grammars: GrammarService) -> None:
        self.thread = thread
        self.builder = builder
        self.grammars = grammars
        self._finalizer = weakref.finalize(self, _forget, thread, grammars)
        self._finalizer.atexit = False  # the thread sees to the interpreter's exit itself

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """Answer one request; closing the iterator or cancelling its task aborts it."""
        deadline = deadline_of(request.hints)
        grammar = await self._compile(request)
        reqs = self.builder.build(request, grammar, stream=request.stream, deadline=deadline)
        route = LoopRoute(asyncio.get_running_loop())
        texts = [""] * len(reqs)
        num_open = len(reqs)
        self.thread.submit(reqs, route)
        try:
            while num_open:
                for output in await route.take():
                    num_open -= output.is_final
                    texts[output.req.index] += output.text
                    if output.error is not None:
                        raise with_partial(output.error, texts[output.req.index])
                    yield to_chunk(output)
        finally:
            if num_open:
                self.thread.abort(reqs[0].rid)

    async def score(self, request: ScoreRequest) -> list[ChoiceScore]:
        """Score the choices of one request in one submission."""
        plan = plan_scores(request, self.builder)
        return collect_scores(plan, await self._gather(plan.reqs))

    async def generate(self, requests: Sequence[Request]) -> list[list[Generation]]:
        """Answer all requests, each with its samples; the first that fails ends the others."""
        grammars = {key: await asyncio.wrap_future(future) for key, future in self._compile_all(requests).items()}
        batches = self._build_all(requests, grammars)
        finals = await self._gather([req for reqs in batches for req in reqs])
        return [[to_generation(finals[req]) for req in reqs] for reqs in batches]

    def generate_blocking(self, requests: Sequence[Request]) -> list[list[Generation]]:
        """`generate` for a thread that waits."""
        grammars = {key: future.result() for key, future in self._compile_all(requests).items()}
        batches = self._build_all(requests, grammars)
        finals = self._gather_blocking([req for reqs in batches for req in reqs])
        return [[to_generation(finals[req]) for req in reqs] for reqs in batches]

    def score_blocking(self, request: ScoreRequest) -> list[ChoiceScore]:
        """`score` for a thread that waits."""
        plan = plan_scores(request, self.builder)
        return collect_scores(plan, self._gather_blocking(plan.reqs))

    def close(self) -> None:
        """End the thread and everything that is open; again: nothing."""
        self.thread.close()
        self.grammars.close()
        self._finalizer.detach()

    async def _compile(self, request: Request) -> CompiledGrammar | None:
        """Compile the constraint of a request, within its own timeout too."""
        if request.constraint is None:
            return None
        compiling = asyncio.wrap_future(self.grammars.compile(request.constraint, request.sampling.backend_hint))
        try:
            return await asyncio.wait_for(compiling, request.hints.timeout)
        except TimeoutError as error:
            raise DeadlineError(f"the deadline of request {request.id} passed while its constraint compiled") from error

    def _compile_all(self, requests: Sequence[Request]) -> dict[_Wanted, Future[CompiledGrammar]]:
        wanted = {_wanted(request) for request in requests}
        return {key: self.grammars.compile(*key) for key in wanted if key is not None}

    def _build_all(
        self, requests: Sequence[Request], grammars: dict[_Wanted, CompiledGrammar]
    ) -> list[tuple[Req, ...]]:
        batches = []
        for request in requests:
            key = _wanted(request)
            grammar = None if key is None else grammars[key]
            deadline = deadline_of(request.hints)
            batches.append(self.builder.build(request, grammar, stream=False, deadline=deadline))
        return batches

    async def _gather(self, reqs: Sequence[Req]) -> dict[Req, StepOutput]:
        if not reqs:
            return {}
        route = LoopRoute(asyncio.get_running_loop())
        finals: dict[Req, StepOutput] = {}
        self.thread.submit(reqs, route)
        try:
            while len(finals) < len(reqs):
                for output in await route.take():
                    finals[output.req] = output
                    _raise_error(output)
        finally:
            self._abort_rest(reqs, finals)
        return finals

    def _gather_blocking(self, reqs: Sequence[Req]) -> dict[Req, StepOutput]:
        if not reqs:
            return {}
        route = BlockingRoute(len(reqs))
        finals: dict[Req, StepOutput] = {}
        self.thread.submit(reqs, route)
        try:
            for output in route.wait():
                finals[output.req] = output
                _raise_error(output)
        finally:
            self._abort_rest(reqs, finals)
        return finals

    def _abort_rest(self, reqs: Iterable[Req], finals: dict[Req, StepOutput]) -> None:
        for rid in {req.rid for req in reqs if req not in finals}:
            self.thread.abort(rid)


def _wanted(request: Request) -> _Wanted | None:
    return None if request.constraint is None else (request.constraint, request.sampling.backend_hint)


def _raise_error(output: StepOutput) -> None:
    error: RamifyError | None = output.error
    if error is not None:
        raise with_partial(error, output.text)


def _forget(thread: EngineThread, grammars: GrammarService) -> None:
    thread.request_close()
    # a collection may run anywhere, even in a thread that holds the service's locks
    threading.Thread(target=grammars.close, name="ramify-forget", daemon=True).start()
