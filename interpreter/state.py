"""`State`: what a program's body writes to and reads from; `AsyncState` is its twin for `async def` bodies.

A thin face over a recorder and its sink: live, the sink is a `Chain`; tracing, a `GraphSink`. Made by `Execution` and
by forks; knows no backend.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, overload

from ..lang.errors import ParameterError, ProgramError, RamifyError, TraceError, VariableError
from ..lang.expressions import (
    CallExpression,
    Concat,
    Expression,
    GenExpression,
    RoleExpression,
    RoleMark,
    SelectExpression,
    as_part,
)
from ..lang.ir import Value
from ..lang.location import at, caller_location
from ..lang.recorder import Recorder
from ..lang.tracer import GraphSink, Ref
from .chain import Chain
from .values import Meta


class Writer:
    """What sync and async states share: everything that appends and nothing that waits."""

    def __init__(self, recorder: Recorder) -> None:
        assert isinstance(recorder.sink, Chain | GraphSink)
        self.recorder = recorder
        self.sink: Chain | GraphSink = recorder.sink

    def __iadd__(self, other: object) -> Self:
        self._append(as_part(other))
        return self

    def __contains__(self, name: object) -> bool:
        return name in self.recorder.names

    def __iter__(self) -> Iterator[str]:
        raise ProgramError(f"a state cannot be looped over{at(caller_location())}; read variables with state[name]")

    def system(self) -> Block:
        """`with s.system():` what is appended inside is a system message."""
        return self._role("system")

    def user(self) -> Block:
        """`with s.user():` what is appended inside is a user message."""
        return self._role("user")

    def assistant(self) -> Block:
        """`with s.assistant():` what is appended inside is a message of the model."""
        return self._role("assistant")

    def var_scope(self, name: str) -> Block:
        """`with s.var_scope("x"):` variable `x` is the text appended inside, without markup."""
        return Block(name, self.recorder.begin_scope, self.recorder.end_scope)

    def set(self, name: str, value: Any) -> None:
        """Define variable `name` without touching the text."""
        if isinstance(value, Expression) and not isinstance(self.sink, GraphSink):
            raise ParameterError(f"set takes a value{at(caller_location())}, got {value!r}; append that instead")
        self.recorder.set(name, self.sink.value(value) if isinstance(self.sink, GraphSink) else value)

    def keep(self, name: str, index: int) -> None:
        """After `gen(name, n=...)`: go on with sample `index`."""
        self.recorder.keep(name, index)

    def fork(self, num: int) -> Branches[Self]:
        """Return `num` states that go on from here independently and in parallel; this one can go on too."""
        return Branches(self, [type(self)(recorder) for recorder in self.recorder.fork(num)])

    def copy(self) -> Self:
        """Return one state that goes on from here independently."""
        return self.fork(1)[0]

    def join(self, branches: Sequence[Writer]) -> None:
        """Gather what the branches defined since their fork.

        Each name becomes a variable here whose value is the tuple of the branches' values, in the order given; a branch
        without the name gives None. The text of the branches is not taken over.
        """
        states = list(branches)
        if not states or not all(isinstance(state, Writer) for state in states):
            raise ParameterError("join needs the states of a fork: s.join(branches)")
        self.recorder.join([state.recorder for state in states])

    def _role(self, role: str) -> Block:
        return Block(role, self.recorder.begin_role, self.recorder.end_role)

    def _append(self, part: str | Expression) -> None:
        recorder = self.recorder
        match part:
            case str() if isinstance(self.sink, GraphSink):
                for value in self.sink.parts(part):
                    recorder.fill(value)
            case str():
                recorder.fill(part)
            case Ref() if isinstance(self.sink, GraphSink):
                recorder.fill(self.sink.value(part))
            case Concat(parts):
                for item in parts:
                    self._append(item)
            case GenExpression():
                recorder.gen(part)
            case SelectExpression(choices=choices):
                recorder.select(part, tuple(self._choice(choice) for choice in choices))
            case RoleExpression(role, content, location):
                recorder.begin_role(role, location)
                try:
                    self._append(content)
                except BaseException:
                    with suppress(RamifyError):  # the failure on its way matters more
                        recorder.end_role(role, location)
                    raise
                recorder.end_role(role, location)
            case RoleMark(role, is_begin, location):
                (recorder.begin_role if is_begin else recorder.end_role)(role, location)
            case CallExpression(inline=inline):
                inline(self)
            case _:
                raise ProgramError(f"cannot append {part!r}{at(caller_location())}")

    def _choice(self, choice: object) -> Value:
        if isinstance(choice, Ref | str) and isinstance(self.sink, GraphSink):
            value: Value = self.sink.value(choice)
            return value
        if isinstance(choice, str):
            return choice
        raise ParameterError(f"a choice must be a string, got {choice!r}")

    def _read_growing(self, what: str, name: str) -> Chain:
        """Return the chain for a reader of text as it grows; from now on the run's requests stream theirs."""
        chain = self._live(what)
        self.recorder.reference(name)
        chain.run.is_streamed = True
        chain.wake()
        return chain

    def _live(self, what: str) -> Chain:
        if isinstance(self.sink, Chain):
            return self.sink
        raise TraceError(f"{what}{at(caller_location())} is not known while tracing; only variables can be read")


class State(Writer):
    """The state of a running program, for plain `def` bodies.

    `s += x` appends without waiting; reading (`s["v"]`, `s.text()`, ...) waits until the value is there. A read of
    something that failed raises its `GenError`.
    """

    def __getitem__(self, name: str) -> Any:
        reference = self.recorder.reference(name)
        return self.sink.read(reference).value if isinstance(self.sink, Chain) else self.sink.read(reference)

    def get(self, name: str) -> Any:
        """The same as `s[name]`."""
        return self[name]

    def text(self) -> str:
        """The whole text so far, markup included; waits for everything appended."""
        return self._live("text()").snapshot().text()

    def messages(self) -> list[dict[str, str]]:
        """The messages so far, as `{"role": ..., "content": ...}`."""
        return self._live("messages()").snapshot().messages()

    def meta(self, name: str) -> Meta:
        """The meta data of a variable."""
        return self._live("meta()").read(self.recorder.reference(name)).meta

    def text_of(self, name: str) -> str | tuple[str, ...] | None:
        """The raw text of a variable."""
        return self._live("text_of()").read(self.recorder.reference(name)).text

    def text_iter(self, name: str, *, sample: int = 0) -> Iterator[str]:
        """Yield the text of a variable as it is generated."""
        chain = self._read_growing("text_iter()", name)
        return chain.slots[name].texts(sample)

    def value_iter(self, name: str, *, sample: int = 0, open_strings: bool = False) -> Iterator[Any]:
        """Yield the value of a variable as far as it is there; see `Stream.value_iter`."""
        chain = self._read_growing("value_iter()", name)
        return chain.slots[name].values(sample, open_strings=open_strings)


class AsyncState(Writer):
    """The state of a running program, for `async def` bodies: the same, but every read is awaited."""

    def __getitem__(self, name: str) -> Any:
        self.recorder.reference(name)
        raise VariableError(
            f"s[{name!r}]{at(caller_location())} would block the event loop; in an async program write "
            f"await s.get({name!r})"
        )

    async def get(self, name: str) -> Any:
        """The value of a variable, as soon as it is there."""
        reference = self.recorder.reference(name)
        if isinstance(self.sink, Chain):
            return (await self.sink.aread(reference)).value
        return self.sink.read(reference)

    async def text(self) -> str:
        """The whole text so far, markup included."""
        return (await self._live("text()").asnapshot()).text()

    async def messages(self) -> list[dict[str, str]]:
        """The messages so far, as `{"role": ..., "content": ...}`."""
        return (await self._live("messages()").asnapshot()).messages()

    async def meta(self, name: str) -> Meta:
        """The meta data of a variable."""
        return (await self._live("meta()").aread(self.recorder.reference(name))).meta

    async def text_of(self, name: str) -> str | tuple[str, ...] | None:
        """The raw text of a variable."""
        return (await self._live("text_of()").aread(self.recorder.reference(name))).text

    async def text_iter(self, name: str, *, sample: int = 0) -> AsyncIterator[str]:
        """Yield the text of a variable as it is generated."""
        chain = self._read_growing("text_iter()", name)
        async for text in chain.slots[name].atexts(sample):
            yield text

    async def value_iter(self, name: str, *, sample: int = 0, open_strings: bool = False) -> AsyncIterator[Any]:
        """Yield the value of a variable as far as it is there; see `Stream.value_iter`."""
        chain = self._read_growing("value_iter()", name)
        async for value in chain.slots[name].avalues(sample, open_strings=open_strings):
            yield value


StateT = TypeVar("StateT", bound=Writer)


class Branches(Sequence[StateT], Generic[StateT]):
    """The states of one fork, in order; `branches["x"]` is the tuple of their values of `x`."""

    def __init__(self, parent: StateT, states: list[StateT]) -> None:
        self._parent = parent
        self._states = states

    @overload
    def __getitem__(self, key: int) -> StateT: ...
    @overload
    def __getitem__(self, key: slice) -> list[StateT]: ...
    @overload
    def __getitem__(self, key: str) -> tuple[Any, ...]: ...
    def __getitem__(self, key: int | slice | str) -> Any:
        if isinstance(key, str):
            return tuple(state[key] for state in self._states)  # type: ignore[index]  # both kinds of state have it
        return self._states[key]

    def __setitem__(self, key: int, state: StateT) -> None:
        """Take the same state again: what Python does last in `branches[0] += ...`."""
        if self._states[key] is not state:
            raise ProgramError(f"a branch cannot be replaced{at(caller_location())}; append to it with +=")

    def __len__(self) -> int:
        return len(self._states)

    def __iadd__(self, other: object) -> Self:
        for state in self._states:
            state.__iadd__(other)
        return self

    def join(self) -> None:
        """Gather the branches' variables in the state they were forked from; see `State.join`."""
        self._parent.join(self._states)


class Block:
    """The context manager of a role, or of a variable that collects text; closes it whatever happens inside."""

    def __init__(self, name: str, begin: Callable[[str], None], end: Callable[[str], None]) -> None:
        self._name = name
        self._begin = begin
        self._end = end

    def __enter__(self) -> None:
        self._begin(self._name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._end(self._name)
            return
        with suppress(RamifyError):  # the failure on its way matters more
            self._end(self._name)
