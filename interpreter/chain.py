"""The evaluator of one branch: takes nodes from the body's thread and executes them in order on the run's event loop.

It talks to the backend through `generation.py` and to other branches through slots and snapshots. Called by the
recorder (as its `Sink`) and by states.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from ..backend.api import Hints, new_id
from ..lang.errors import AbortError, DeadlineError, GenError, ProgramError, RoleError
from ..lang.evaluate import text_of
from ..lang.ir import (
    Child,
    Fill,
    Fork,
    Gen,
    Join,
    Keep,
    Node,
    Reference,
    RoleBegin,
    RoleEnd,
    ScopeBegin,
    ScopeEnd,
    Select,
    Set,
)
from ..lang.location import at
from .conversation import Conversation
from .feed import Feed
from .generation import Answer, run_gen, run_select
from .resolve import gather, resolve
from .run import Delta, Run
from .values import Meta, Slot, Variable
from .waiting import value_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A request for a copy of the conversation at this point of the chain, for a fork or a reader of the text."""

    is_fork: bool = False
    future: Future[Conversation] = field(default_factory=Future)


class Chain:
    """Executes one branch. The body's thread calls `append`, `fork`, `read`, `aread`, `snapshot`; the loop the rest."""

    def __init__(self, run: Run, origin: Snapshot | None = None, path: tuple[int, ...] = ()) -> None:
        self.run = run
        self.path = path
        self.group: str | None = None
        self.siblings: Sequence[Chain] = ()
        self.branches: list[Chain] = []
        self.slots: dict[str, Slot] = {}
        self.declared: Feed[str] = Feed()
        self.texts: Feed[str] = Feed()
        self._own: list[Slot] = []  # of every variable that is computed here
        self._origin = origin
        self._conversation = Conversation(run.chat)
        self._pending: deque[Node | Snapshot] = deque()
        self._task: asyncio.Task[None] | None = None
        self._is_woken = False  # a call of `start` is on its way to the loop
        self._error: BaseException | None = None
        self._scopes: dict[str, int] = {}
        self._emitted = 0
        self._place = ""  # the branch's own name in its run, as `Hints.place` has it
        self._num_requests = 0
        run.chains.append(self)

    # ---- the body's side -------------------------------------------------------------------------------------------

    def append(self, node: Node, *, is_hidden: bool = False) -> None:
        """Take a node; requests start at once, text waits until somebody needs it.

        `is_hidden`: its variables are those of one pass of a loop or of an arm, and not (yet) of the whole branch.
        """
        self._check()
        for name in node.defines:
            slot = self.run.slots[node.id, name] = Slot(self, node.op.parse if isinstance(node.op, Gen) else None)
            self._own.append(slot)
            if not is_hidden:
                self.declare(name, node.id)
        self._pending.append(node)
        if isinstance(node.op, Gen | Select | Join):
            self.wake()

    def declare(self, name: str, node_id: int) -> None:
        """From here on, variable `name` of this branch is that of the node."""
        self.slots[name] = self.run.slots[node_id, name]
        self.declared.put(name)

    def fork(self, node: Node) -> list[Chain]:
        """Take a fork; its branches start from a copy of the prompt at this point."""
        assert isinstance(node.op, Fork)
        self._check()
        snapshot = Snapshot(is_fork=True)
        self._pending.append(snapshot)
        branches = [Chain(self.run, snapshot, (*self.path, index)) for index in range(node.op.num)]
        group = new_id()
        for number, branch in enumerate(branches, len(self.branches)):
            branch.group, branch.siblings, branch.slots = group, branches, dict(self.slots)
            branch._place = f"{self._place}.{number}".removeprefix(".")
        self.branches.extend(branches)
        self.wake()
        return branches

    def read(self, reference: Reference) -> Variable:
        """Wait for a variable."""
        return self._wait(self._request(reference))

    async def aread(self, reference: Reference) -> Variable:
        """Wait for a variable without blocking the event loop."""
        return await self._await(self._request(reference))

    def snapshot(self) -> Conversation:
        """Wait until everything appended so far is done and return a copy of the conversation."""
        return self._wait(self._request_snapshot())

    async def asnapshot(self) -> Conversation:
        """Return the copy without blocking the event loop."""
        return await self._await(self._request_snapshot())

    def wake(self) -> None:
        """Let the loop execute what is pending."""
        if self._pending and not self._is_woken:
            self._is_woken = True
            self.run.submit(self.start)

    def _request(self, reference: Reference) -> Future[Variable]:
        slot = self.run.slots[reference.node, reference.name]
        if not slot.future.done():
            slot.chain.wake()
        return slot.future

    def _request_snapshot(self) -> Future[Conversation]:
        self._check()
        snapshot = Snapshot()
        self._pending.append(snapshot)
        self.wake()
        return snapshot.future

    def _wait(self, future: Future[T]) -> T:
        error = future.exception()
        if error is not None:
            self.run.deliver(error)
            raise error.with_traceback(None)  # where the loop raised it says nothing, and every read would add to it
        return future.result()

    async def _await(self, future: Future[T]) -> T:
        try:
            return await value_of(future)
        finally:
            self._deliver(future)

    def _deliver(self, future: Future[Any]) -> None:
        error = future.exception() if future.done() and not future.cancelled() else None
        if error is not None:
            self.run.deliver(error)

    def _check(self) -> None:
        """Refuse to go on after a failure or the end of the run."""
        if self._error is not None:
            self.run.deliver(self._error)
            raise self._error
        if self.run.ended:
            raise ProgramError("this run has ended; its states cannot be used any more")

    # ---- the loop's side -------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Execute what is pending, unless that is going on already."""
        self._is_woken = False  # before looking: what is appended from here on wakes the loop again
        error = self._error or self.run.error
        if error is not None:
            self.fail(error)
        elif self._pending and (self._task is None or self._task.done()):
            self._task = self.run.spawn(self._drain())
            self._task.add_done_callback(self._drained)

    def fail(self, error: BaseException) -> None:
        """Give every reader of this branch the error; nothing pending is executed any more."""
        self._error = self._error or error
        while self._pending:
            item = self._pending.popleft()
            if isinstance(item, Snapshot):
                item.future.set_exception(self._error)
        for slot in tuple(self._own):
            slot.fail(self._error)

    def close(self, error: BaseException | None) -> None:
        """End the feeds with the run; without an error the whole text is complete now."""
        if error is None and self._error is None:
            self._emit(self._conversation.text())
        self.declared.close()
        self.texts.close(error or self._error)

    @property
    def conversation(self) -> Conversation:
        """The conversation; complete once the run has finished."""
        return self._conversation

    def _drained(self, task: asyncio.Task[None]) -> None:
        error = AbortError("the branch was cancelled") if task.cancelled() else task.exception()
        if error is None:
            return
        if self.run.error is None and self._error is None:
            self.run.fail(error)
        self.fail(error)
        for sibling in self.siblings:
            if sibling is not self and sibling._error is None:
                sibling._abort(self._error or error)

    def _abort(self, error: BaseException) -> None:
        """End this branch because a sibling failed; its readers get the sibling's error."""
        self.fail(error)
        if self._task is not None and not self._task.done():
            self._task.cancel()
        for branch in self.branches:
            branch._abort(error)

    async def _drain(self) -> None:
        if self._origin is not None:
            origin = await value_of(self._origin.future)
            self._conversation, self._origin = origin.copy(), None
        while self._pending:
            item = self._pending.popleft()
            if isinstance(item, Snapshot):
                item.future.set_result(self._conversation.copy())
            else:
                await self._execute(item)

    async def _execute(self, node: Node) -> None:
        conversation = self._conversation
        match node.op:
            case Fill(value):
                text = text_of(await resolve(self.run, value, node.location))
                if text:
                    conversation.write(text)
            case RoleBegin(role):
                conversation.begin(role)
            case RoleEnd():
                conversation.end()
            case Gen() as op:
                await self._answer(node, op)
            case Select(choices=choices) as op:
                await self._answer(node, replace(op, choices=await resolve(self.run, choices, node.location)))
            case Join(names=names, sources=sources):
                for name, nodes in zip(names, sources, strict=True):
                    self._define(node, name, await gather(self.run, name, nodes))
            case Keep(source, index):
                samples = self.run.slots[source.node, source.name].future.result().samples  # its gen is in this chain
                conversation.write_answer(samples[index].pieces)
                self._emit(conversation.sent_text)
            case Set(name, value):
                self._define(node, name, Variable(await resolve(self.run, value, node.location)))
            case ScopeBegin(name):
                self._scopes[name] = conversation.mark
            case ScopeEnd(name):
                text = conversation.since(self._scopes.pop(name))
                self._define(node, name, Variable(text, text, Meta(text=text)))
            case Child() | Fork():
                pass  # branches exist from the moment they are recorded
            case control:
                raise AssertionError(f"{control} was to be decided when it was recorded")

    async def _answer(self, node: Node, op: Gen | Select) -> None:
        """Send the request of a node, pass its text on as it comes, and continue the prompt with it."""
        answers: list[Answer] = []
        backend, hints = self.run.backend, self._hints(op)
        try:
            prompt = self._conversation.send()
            self._emit(self._conversation.sent_text)
            if isinstance(op, Gen):
                on_text, is_streamed = partial(self._stream, node, op), self.run.is_streamed
                variable = await run_gen(backend, op, prompt, hints, on_text, answers, stream=is_streamed)
            else:
                variable = await run_select(backend, op, prompt, hints)
        except RoleError as error:
            raise RoleError(f"{error}{at(node.location)}") from error
        except Exception as error:
            if isinstance(error, DeadlineError) and self.run.deadline is not None:
                self.run.expire()
            raise _gen_error(node, op, error, answers) from error
        self.run.usage += variable.meta.usage
        if isinstance(op, Select):
            self._conversation.write(variable.value)
            self.run.events.put(Delta(op.name, variable.value, self.path))
        elif op.sampling.n == 1:
            self._conversation.write_answer(variable.samples[0].pieces)
        if op.name is not None:
            self._define(node, op.name, variable)

    def _hints(self, op: Gen | Select) -> Hints:
        ahead = self._pending.copy()  # in one step: the body's thread appends meanwhile
        is_extended = any(
            item.is_fork if isinstance(item, Snapshot) else isinstance(item.op, Gen | Select) for item in ahead
        )
        place = f"{self._place}:{self._num_requests}:{op.name or ''}"
        self._num_requests += 1
        return replace(
            self.run.hints,
            program=self.run.id,
            group=self.group,
            keep_prefix=is_extended,
            timeout=self.run.remaining,
            place=place,
        )

    def _stream(self, node: Node, op: Gen, sample: int, text: str) -> None:
        if op.name is not None:
            self.run.slots[node.id, op.name].feed.put((sample, text))
        self.run.events.put(Delta(op.name, text, self.path, sample))
        if op.sampling.n == 1:
            self.texts.put(text)
            self._emitted += len(text)

    def _emit(self, text: str) -> None:
        """Pass on what readers of the whole text have not seen yet; `text` starts with what they have."""
        if len(text) > self._emitted:
            self.texts.put(text[self._emitted :])
            self._emitted = len(text)

    def _define(self, node: Node, name: str, variable: Variable) -> None:
        slot = self.run.slots[node.id, name]
        if isinstance(variable.text, str) and (not variable.samples or variable.meta.scores):
            slot.feed.put((0, variable.text))  # a gen's text went there as it came
        slot.set(variable)


def _gen_error(node: Node, op: Gen | Select, error: Exception, answers: list[Answer]) -> GenError:
    """Wrap what went wrong at a node."""
    what = "gen" if isinstance(op, Gen) else "select"
    name = f" {op.name!r}" if op.name is not None else ""
    partial_text = getattr(error, "partial", "") or (answers[0].text if answers else "")
    shown = f"; text so far: {partial_text!r}" if partial_text and partial_text not in str(error) else ""
    message = f"{what}{name}{at(node.location)} failed: {type(error).__name__}: {error}{shown}"
    return GenError(message, node=op.name, location=node.location, partial=partial_text)
