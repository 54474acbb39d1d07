"""`Stream` and `AsyncStream`: a run whose text can be read while it is generated.

Both wrap an `Execution` that has been started; reading never polls. Made by `Program.stream` and `Program.astream`.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Iterable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

from ..lang.errors import AbortError, VariableError, did_you_mean
from .execution import Execution
from .result import Result
from .run import Delta, Run
from .values import Meta, Slot
from .waiting import value_of

T = TypeVar("T")


class Stream:
    """A program that is running in the background; iterating over it yields every `Delta` of generated text.

    `text_iter()` yields the whole text of the main branch, constants included, `text_iter("x")` that of one variable.
    `stream["x"]` waits for one variable, `result()` for the end. Leaving a `with` block aborts what is still running,
    and so does letting go of the stream and of its iterators.

    >>> import ramify
    >>> @ramify.function
    ... def count(s):
    ...     s += "1, 2," + ramify.gen("rest", stop=".")
    >>> "".join(count.stream(backend=ramify.FakeBackend([" 3, 4."])).text_iter("rest"))
    ' 3, 4'
    """

    def __init__(self, execution: Execution) -> None:
        self._run, self._chain = execution.run, execution.chain
        self._future = asyncio.run_coroutine_threadsafe(execution.complete(), self._run.loop)
        _abort_with(self, self._run)

    def __iter__(self) -> Iterator[Delta]:
        yield from self._read(self._run.events)

    def text_iter(self, name: str | None = None, *, sample: int = 0) -> Iterator[str]:
        """Yield text as it comes; the pieces add up to `result().text()` or to the variable's text.

        Raises what the run raises, and `VariableError` if the program ends without defining `name`.
        """
        yield from self._read(self._chain.texts if name is None else self._slot(name).texts(sample))

    def value_iter(self, name: str, *, sample: int = 0, open_strings: bool = False) -> Iterator[Any]:
        """Yield the value of a variable as far as it is there, each time a part of it is complete, and last the value.

        What is complete has its type. An object or array that is still open is a dict (by field name) or a list of its
        complete parts, yours to keep. `open_strings`: also show a string whose end has not come yet. Raises what
        `text_iter` raises; the last value is the only one that was validated as a whole.

        >>> import ramify
        >>> @ramify.function
        ... def person(s):
        ...     s += "Person: " + ramify.gen("person", type=dict[str, int])
        >>> backend = ramify.FakeBackend(['{"age": 36, "height": 170}'])
        >>> list(person.stream(backend=backend).value_iter("person"))[-1]
        {'age': 36, 'height': 170}
        """
        yield from self._read(self._slot(name).values(sample, open_strings=open_strings))

    def __getitem__(self, name: str) -> Any:
        return self._slot(name).future.result().value

    def meta(self, name: str) -> Meta:
        """The meta data of a variable, as soon as it is there."""
        return self._slot(name).future.result().meta

    def text(self) -> str:
        """The whole text, at the end."""
        return self.result().text()

    def messages(self) -> list[dict[str, str]]:
        """The messages, at the end."""
        return self.result().messages()

    def result(self) -> Result:
        """Wait for the end and return the result, or raise what went wrong."""
        return self._future.result()

    def close(self) -> None:
        """Abort what is still running."""
        self._run.cancel(AbortError("the stream was closed"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, items: Iterable[T]) -> Iterator[T]:
        try:
            yield from items
        except KeyboardInterrupt:  # its traceback may keep this stream for long, in a notebook say
            self.close()
            raise

    def _slot(self, name: str) -> Slot:
        for declared in self._chain.declared:
            if declared == name:
                return self._chain.slots[name]
        self.result()
        raise _never_defined(name, self._chain.slots)


class AsyncStream:
    """The same on the caller's event loop: `async for delta in stream`, `async for text in stream.text_iter("x")`."""

    def __init__(self, execution: Execution) -> None:
        self._run, self._chain = execution.run, execution.chain
        self._task = self._run.loop.create_task(execution.complete())
        self._task.add_done_callback(_retrieve)
        _abort_with(self, self._run)

    async def __aiter__(self) -> AsyncIterator[Delta]:
        async for delta in self._run.events:
            yield delta

    async def text_iter(self, name: str | None = None, *, sample: int = 0) -> AsyncIterator[str]:
        """Yield text as it comes; see `Stream.text_iter`."""
        texts = self._chain.texts if name is None else (await self._slot(name)).atexts(sample)
        async for text in texts:
            yield text

    async def value_iter(self, name: str, *, sample: int = 0, open_strings: bool = False) -> AsyncIterator[Any]:
        """Yield the value of a variable as far as it is there; see `Stream.value_iter`."""
        async for value in (await self._slot(name)).avalues(sample, open_strings=open_strings):
            yield value

    async def get(self, name: str) -> Any:
        """The value of a variable, as soon as it is there."""
        slot = await self._slot(name)
        return (await value_of(slot.future)).value

    async def meta(self, name: str) -> Meta:
        """The meta data of a variable, as soon as it is there."""
        slot = await self._slot(name)
        return (await value_of(slot.future)).meta

    async def text(self) -> str:
        """The whole text, at the end."""
        return (await self.result()).text()

    async def messages(self) -> list[dict[str, str]]:
        """The messages, at the end."""
        return (await self.result()).messages()

    async def result(self) -> Result:
        """Wait for the end and return the result, or raise what went wrong."""
        return await asyncio.shield(self._task)

    async def close(self) -> None:
        """Abort what is still running."""
        self._run.cancel(AbortError("the stream was closed"))
        await asyncio.wait({self._task})

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _slot(self, name: str) -> Slot:
        async for declared in self._chain.declared:
            if declared == name:
                return self._chain.slots[name]
        await self.result()
        raise _never_defined(name, self._chain.slots)


def _abort_with(stream: object, run: Run) -> None:
    """Abort the run when the stream is let go, since nobody can read it any more; its iterators hold it."""
    weakref.finalize(stream, run.cancel, AbortError("the stream was let go before its end")).atexit = False


def _never_defined(name: str, known: dict[str, Slot]) -> VariableError:
    hint = did_you_mean(name, known) or f"; it defined: {', '.join(known) or 'nothing'}"
    return VariableError(f"the program ended without defining {name!r}{hint}")


def _retrieve(task: asyncio.Task[Result]) -> None:
    """Mark a failure as seen: readers of the text have it, whether or not they ask for the result."""
    if not task.cancelled():
        task.exception()
