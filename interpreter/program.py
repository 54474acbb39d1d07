"""`Program`: a decorated function and all the ways to run it. `function` is the decorator.

A program is immutable: `bind` and `with_sampling` return new ones. It finds the backend and hands over to `Execution`.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MethodType
from typing import TYPE_CHECKING, Any, NoReturn, Unpack, overload

from ..backend.api import Backend
from ..lang.errors import ParameterError, ProgramError, did_you_mean
from ..lang.expressions import CallExpression, check_parameters
from ..lang.location import at, caller_location
from ..lang.sampling import PARAMETERS, SamplingArguments
from .background import background
from .bodies import check_body, signature_of
from .default_backend import resolve_backend
from .request_graph import RequestGraph
from .result import Result
from .starting import RowStarter, start, start_beside
from .state import AsyncState, Writer
from .streams import AsyncStream, Stream

if TYPE_CHECKING:
    from . import batch
    from .batch import Row
    from .progress import Report

BoundBody = partial[Any]
"""`Program._run_body` with its arguments, which lacks only the state."""


class Program:
    """A function whose first parameter is the state; made by `@ramify.function`.

    >>> import ramify
    >>> @ramify.function
    ... def capital(s, country):
    ...     s += "The capital of " + country + " is" + ramify.gen("city", max_tokens=8)
    >>> capital.run("France", backend=ramify.FakeBackend([" Paris"]))["city"]
    ' Paris'
    """

    def __init__(
        self,
        body: Callable[..., Any],
        parameters: Mapping[str, Any] | None = None,
        bound: Mapping[str, Any] | None = None,
    ) -> None:
        self.body = body
        self.parameters = {name: value for name, value in (parameters or {}).items() if value is not None}
        self.bound = dict(bound or {})
        self._is_method = False
        check_body(body, Program)
        check_parameters(self.parameters)
        functools.update_wrapper(self, body)
        self.__signature__ = signature_of(body)

    @property
    def is_async(self) -> bool:
        """True when the body is an `async def`."""
        return inspect.iscoroutinefunction(self.body)

    # ---- running ---------------------------------------------------------------------------------------------------

    def run(self, *args: Any, backend: Backend | None = None, timeout: float | None = None, **kwargs: Any) -> Result:
        """Run to the end and return the result; works inside a running event loop too (it blocks that loop).

        `timeout`: seconds, after which everything that was started is aborted and `DeadlineError` is raised. Raises
        `GenError` when a gen or select failed, and whatever the body raises.
        """
        call = self._call(args, kwargs)
        self._check_may_block("run", "await arun")
        found = resolve_backend(backend)
        if self.is_async or timeout is not None:
            return background().call(self._complete(call, found, timeout))
        return start(self, call, found, None, background().loop, is_streamed=False).complete_here()

    async def arun(
        self, *args: Any, backend: Backend | None = None, timeout: float | None = None, **kwargs: Any
    ) -> Result:
        """The same on the caller's event loop; a plain `def` body runs in a thread of its own."""
        return await self._complete(self._call(args, kwargs), resolve_backend(backend), timeout)

    def stream(self, *args: Any, backend: Backend | None = None, timeout: float | None = None, **kwargs: Any) -> Stream:
        """Start to run and return at once; the stream yields text as it is generated."""
        self._check_may_block("stream", "astream")
        call, found = self._call(args, kwargs), resolve_backend(backend)
        return Stream(start(self, call, found, _checked(timeout), background().loop))

    def astream(
        self, *args: Any, backend: Backend | None = None, timeout: float | None = None, **kwargs: Any
    ) -> AsyncStream:
        """The same on the caller's event loop."""
        call, found = self._call(args, kwargs), resolve_backend(backend)
        return AsyncStream(start(self, call, found, _checked(timeout), asyncio.get_running_loop()))

    def run_batch(
        self,
        rows: Iterable[Mapping[str, Any]],
        *,
        backend: Backend | None = None,
        timeout: float | None = None,
        concurrency: int | None = None,
        progress: bool | Report | None = None,
        on_error: str = "return",
    ) -> list[Row[Result]]:
        """Run once for each mapping of arguments and return one `Ok` or `Failed` per row, in order.

        `timeout` is for each row; `concurrency` rows run at once. `progress`: True, False, a callable, or None for a
        bar on terminals. `on_error="raise"` raises the first failure. Ctrl-C raises `BatchInterrupted` with the rows.
        """
        from . import batch

        options = self._batch_options(concurrency=concurrency, progress=progress, on_error=on_error)
        run = self._row_runner(resolve_backend(backend), _checked(timeout))
        return batch.run_batch(run, batch.check_rows(rows, self.check_row), options)

    async def arun_batch(
        self,
        rows: Iterable[Mapping[str, Any]],
        *,
        backend: Backend | None = None,
        timeout: float | None = None,
        concurrency: int | None = None,
        progress: bool | Report | None = None,
        on_error: str = "return",
    ) -> list[Row[Result]]:
        """The same on the caller's event loop."""
        from . import batch

        options = self._batch_options(concurrency=concurrency, progress=progress, on_error=on_error)
        run = self._row_runner(resolve_backend(backend), _checked(timeout))
        return await batch.arun_batch(run, batch.check_rows(rows, self.check_row), options)

    # ---- looking at it without running -----------------------------------------------------------------------------

    def trace(self, *args: Any, **kwargs: Any) -> RequestGraph:
        """Record the body without running it and return the verified graph.

        Parameters that are left out, and have no default, become open arguments of the graph. Raises `TraceError`, with
        the line, when the body's control flow depends on a value that only a run can know.
        """
        from .tracing import trace

        return trace(self, args, kwargs)

    def compile(self, *args: Any, **kwargs: Any) -> RequestGraph:
        """Return the program as a graph that can be run, drawn, saved as JSON and shipped.

        Arguments given here are bound for good; those left out, and without a default, become the graph's `inputs`.
        Raises `TraceError` as `trace` does.

        >>> import ramify
        >>> @ramify.function
        ... def add(s, a, b):
        ...     s += f"{a} + {b} = " + ramify.gen("sum", type=int)
        ...     return s["sum"]
        >>> graph = add.compile(a=2)
        >>> graph.run(b=2, backend=ramify.FakeBackend(["4"])).value
        4
        """
        return self.trace(*args, **kwargs)

    def render(self, *args: Any, backend: Backend | None = None, **kwargs: Any) -> str:
        """Return the text the main branch would have, with `{{name}}` for what is not known yet.

        Roles are shown in the markup of `backend`'s chat template, or as plain text without a backend.
        """
        from .tracing import render

        return render(self.trace(*args, **kwargs), None if backend is None else backend.capabilities.chat_template)

    # ---- making new ones -------------------------------------------------------------------------------------------

    def bind(self, **arguments: Any) -> Program:
        """Return a program with these arguments as defaults; arguments of a call go before them."""
        self._check_names(arguments)
        return self._with(self.body, bound={**self.bound, **arguments})

    def with_sampling(self, **parameters: Unpack[SamplingArguments]) -> Program:
        """Return a program whose gens have these sampling parameters unless they say otherwise.

        >>> import ramify
        >>> ramify.Program(lambda s: None).with_sampling(temperature=0).parameters
        {'temperature': 0}
        """
        return self._with(self.body, parameters={**self.parameters, **parameters})

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Use the program inside another one.

        `other(s, ...)` runs it on the state `s` and returns what its body returns (to be awaited for an async body);
        `s += other(...)` does the same and drops the return value. Its text and variables become those of `s`.
        """
        if args and isinstance(args[0], Writer):
            return self._inline(args[0], self._call(args[1:], kwargs))
        if self.is_async:
            raise ProgramError(f"{self._label} is async: write await {self._label}(s, ...){at(caller_location())}")
        return CallExpression(self._label, partial(self._inline, call=self._call(args, kwargs)))

    def __set_name__(self, owner: type, name: str) -> None:
        # A program written in the class is a method of it; one that is only stored there stays what it is.
        defined_in = str(getattr(self.body, "__qualname__", "")).rpartition(".")[0]
        self._is_method = self._is_method or defined_in == owner.__qualname__

    def __get__(self, instance: object, owner: type | None = None) -> Program:
        if instance is owner is not None or (instance is not None and self._is_method):  # classmethod gives the class
            return self._with(MethodType(self.body, instance))
        return self

    def __repr__(self) -> str:
        return f"<Program {self._label}{inspect.signature(self)}>"

    @property
    def _label(self) -> str:
        return str(getattr(self, "__name__", "program"))

    def _with(self, body: Callable[..., Any], **changes: Any) -> Program:
        made = Program(body, **{"parameters": self.parameters, "bound": self.bound, **changes})
        made._is_method = self._is_method and body is self.body
        return made

    async def _complete(self, call: BoundBody, backend: Backend, timeout: float | None) -> Result:
        return await (await start_beside(self, call, backend, _checked(timeout))).complete()

    def _row_runner(self, backend: Backend, timeout: float | None) -> Callable[[dict[str, Any]], Any]:
        starter = RowStarter(self, backend, timeout)

        async def run(row: dict[str, Any]) -> Result:
            return await (await starter.start(self._call((), row))).complete()

        return run

    def _check_may_block(self, method: str, instead: str) -> None:
        if background().is_current:
            raise ProgramError(f"{self._label}.{method}() would block the event loop it needs; use {instead}(...)")

    def _batch_options(self, **options: Any) -> batch.BatchOptions:
        from .batch import BatchOptions

        return BatchOptions(**options)

    def check_row(self, row: Mapping[str, Any]) -> None:
        """Raise `ParameterError` if the program cannot be called with these arguments; runs nothing."""
        self._call((), row)

    def _inline(self, state: Writer, call: Callable[[Any], Any]) -> Any:
        """Run the body on a state of the caller's; this program's sampling defaults hold meanwhile."""
        if self.is_async:
            if not isinstance(state, AsyncState):
                raise ProgramError(
                    f"{self._label} is async and cannot run inside a sync program{at(caller_location())}"
                )
            return self._inline_async(state, call)
        return self._inline_sync(state, call)

    def _inline_sync(self, state: Writer, call: Callable[[Any], Any]) -> Any:
        outer = state.recorder.parameters
        state.recorder.parameters = {**outer, **self.parameters}
        try:
            return call(state)
        finally:
            state.recorder.parameters = outer

    async def _inline_async(self, state: Writer, call: Callable[[Any], Any]) -> Any:
        outer = state.recorder.parameters
        state.recorder.parameters = {**outer, **self.parameters}
        try:
            return await call(state)
        finally:
            state.recorder.parameters = outer

    # ---- arguments -------------------------------------------------------------------------------------------------

    def _call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> BoundBody:
        """Return the body with its arguments, lacking only the state; `ParameterError` when they do not fit."""
        if self._is_method:
            name = self._label
            raise ProgramError(f"{name} is a method: call it on an instance, as in MyClass().{name}.run(...)")
        arguments = self._bind(args, kwargs)
        try:
            bound = self.__signature__.bind(*args, **arguments)
        except TypeError as error:
            raise ParameterError(f"{self._label}{self.__signature__}: {error}") from error
        self._check_arguments(bound.arguments)
        return partial(self._run_body, bound)

    def _check_arguments(self, arguments: Mapping[str, Any]) -> None:
        """Refuse values that the program cannot take; Python's own parameters take any."""

    def _run_body(self, bound: inspect.BoundArguments, state: Writer) -> Any:
        value = self.body(state, *bound.args, **bound.kwargs)
        if inspect.iscoroutine(value) and not self.is_async:  # of an `async def` under a decorator that hides it
            value.close()
            raise ProgramError(f"{self._label} returned a coroutine; put @ramify.function on the async def itself")
        return value

    def call_with_open_arguments(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], stand_in: Callable[[str], Any]
    ) -> Callable[[Any], Any]:
        """Return the body with its arguments; what is missing is made by `stand_in(name)`. For tracing."""
        given = self._bind(args, kwargs)
        explicit = self.__signature__.bind_partial(*args, **given).arguments
        variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        for name, parameter in self.__signature__.parameters.items():
            if name not in explicit and parameter.default is parameter.empty and parameter.kind not in variadic:
                given[name] = stand_in(name)
        return self._call(args, given)

    def _bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the keyword arguments with the bound ones added where the call gives nothing."""
        self._check_names(kwargs)
        try:
            explicit = self.__signature__.bind_partial(*args, **kwargs).arguments
        except TypeError as error:
            raise ParameterError(f"{self._label}{self.__signature__}: {error}") from error
        return {**{name: value for name, value in self.bound.items() if name not in explicit}, **kwargs}

    def _check_names(self, names: Iterable[str]) -> None:
        known = self.__signature__.parameters
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
            return
        for name in names:
            if name not in known:
                hint = did_you_mean(name, known) or f"; it takes {', '.join(known) or 'none'}"
                if name in PARAMETERS:
                    hint = f"; for sampling parameters write {self._label}.with_sampling({name}=...)"
                raise ParameterError(f"{self._label} has no parameter {name!r}{hint}")


@overload
def function(body: Callable[..., Any], /) -> Program: ...
@overload
def function(**sampling: Unpack[SamplingArguments]) -> Callable[[Callable[..., Any]], Program]: ...
def function(body: Callable[..., Any] | None = None, /, **sampling: Unpack[SamplingArguments]) -> Any:
    """Make a program of a function whose first parameter is the state.

    `@ramify.function`, or `@ramify.function(temperature=0, ...)` with sampling defaults. In a class it makes a method:
    `def f(self, s, ...)`. The function may be `async def`; it then gets an `AsyncState`, whose reads are awaited.
    """
    if body is None:
        return partial(Program, parameters=sampling)
    return Program(body)


def _checked(timeout: float | None) -> float | None:
    if timeout is None or (isinstance(timeout, int | float) and not isinstance(timeout, bool) and timeout > 0):
        return timeout
    _refuse_timeout(timeout)


def _refuse_timeout(timeout: object) -> NoReturn:
    raise ParameterError(f"timeout must be a positive number of seconds or None, got {timeout!r}")
