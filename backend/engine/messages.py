"""What crosses the border of the engine thread: messages in (`Inbox`), one list of `StepOutput` a step out.

No torch, no asyncio. The front puts messages from any thread; the scheduler's loop is the only reader.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Condition
from typing import Any, NamedTuple

from ...lang.errors import ClosedError, RamifyError
from ..api import Finish, TokenLogprob, Usage
from .req import Req


@dataclass(frozen=True, slots=True)
class Submit:
    """Run these sequences; those of one call are planned together. Each gets exactly one final `StepOutput`."""

    reqs: tuple[Req, ...]


@dataclass(frozen=True, slots=True)
class Abort:
    """End every open sequence with exactly this `rid` with `AbortError`; unknown or finished ids are ignored."""

    rid: str


@dataclass(frozen=True, slots=True)
class Flush:
    """Forget every cached prefix that no running request uses."""


@dataclass(frozen=True, slots=True)
class Call:
    """Run `function` on the engine thread between two steps; its result or exception goes to `future`."""

    function: Callable[[], Any]
    future: Future[Any] = field(default_factory=Future)

    def run(self) -> None:
        """Run it, unless the caller has given up."""
        if self.future.set_running_or_notify_cancel():
            try:
                self.future.set_result(self.function())
            except BaseException as error:  # noqa: BLE001 - the caller gets whatever it was, as from an executor
                self.future.set_exception(error)


@dataclass(frozen=True, slots=True)
class Close:
    """End the loop: everything still open fails with `ClosedError`."""


Message = Submit | Abort | Flush | Call | Close


class StepOutput(NamedTuple):
    """What one step produced for one sequence: new text and tokens, and at the end `finish` or `error`, never both.

    `usage` and (if asked for) all `input_logprobs` come with the last output; with `req.stream` the prompt's logprobs
    come with the first. A tuple, because one is made per running sequence and step.
    """

    req: Req
    text: str = ""
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    input_logprobs: tuple[TokenLogprob, ...] = ()
    finish: Finish | None = None
    error: RamifyError | None = None
    usage: Usage | None = None

    @property
    def is_final(self) -> bool:
        """True for the last output of its sequence."""
        return self.usage is not None


class Inbox:
    """A queue from any thread to the engine thread; after `close` nothing can be put, so nothing is ever lost.

    >>> inbox = Inbox()
    >>> inbox.put(Abort("a"))
    >>> inbox.take(wait=False)
    [Abort(rid='a')]
    """

    def __init__(self) -> None:
        self._messages: deque[Message] = deque()
        self._changed = Condition()
        self._closed = False

    def put(self, message: Message) -> None:
        """Add a message; `ClosedError` once the engine has ended."""
        with self._changed:
            if self._closed:
                raise ClosedError("the engine is closed")
            self._messages.append(message)
            self._changed.notify()

    def call(self, function: Callable[[], Any]) -> Future[Any]:
        """Run `function` on the engine thread; returns the future of its result."""
        message = Call(function)
        self.put(message)
        return message.future

    def take(self, *, wait: bool) -> list[Message]:
        """Return all messages so far, in order; `wait` blocks until there is one."""
        if not wait and not self._messages:  # the common case in a busy loop costs no lock
            return []
        with self._changed:
            while wait and not self._messages and not self._closed:
                self._changed.wait()
            messages = list(self._messages)
            self._messages.clear()
        return messages

    def close(self) -> list[Message]:
        """Refuse further messages; returns those that nobody took."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            messages = list(self._messages)
            self._messages.clear()
        return messages
