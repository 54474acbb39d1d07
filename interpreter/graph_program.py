"""`GraphProgram`: a program whose body is a graph: compiled, decoded, or made from a script. It runs like any other.

The graph is made by a function of the sampling defaults, so that `with_sampling` and a program around it have their
say. Made by `RequestGraph` and by the loader of scripts.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..lang.errors import ProgramError
from ..lang.expressions import CallExpression, Expression
from ..lang.graph import RequestGraph as GraphFacts
from ..lang.graph.inputs import check_input
from ..lang.graph.plan import Plan, make_plan
from ..lang.graph.values import sources_of
from ..lang.ir import Input, Reference
from ..lang.location import at, caller_location
from ..lang.passes import optimized, row_order
from ..lang.tracer import GraphSink
from .chain import Chain
from .program import Program
from .replay import Replay
from .replay_live import LiveControl
from .replay_traced import TracedControl
from .request_graph import RequestGraph
from .resolve import compute
from .state import AsyncState, Writer
from .waiting import watched

if TYPE_CHECKING:
    from .batch import BatchOptions

MakeGraph = Callable[[Mapping[str, Any]], GraphFacts]
ANNOTATIONS = {"string": str, "integer": int, "number": float, "boolean": bool, "array": list, "object": dict}


class GraphProgram(Program):
    """A program that records a graph. Its parameters are the graph's inputs, checked against their schemas.

    `make_graph` gets the sampling defaults and returns the graph, the same one for the same defaults; it has the same
    inputs for all.
    """

    def __init__(
        self,
        make_graph: MakeGraph,
        name: str,
        parameters: Mapping[str, Any] | None = None,
        bound: Mapping[str, Any] | None = None,
    ) -> None:
        self.make_graph = make_graph
        self._name = name
        self.inputs = make_graph(parameters or {}).inputs
        self._planned: tuple[GraphFacts, GraphFacts, Plan] | None = None
        super().__init__(_body(self, name), parameters, bound)

    @property
    def is_async(self) -> bool:
        """True: a graph is recorded on the event loop, so that many of them need no threads."""
        return True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Use the graph inside another program: `other(s, ...)`, `await other(s, ...)`, or `s += other(...)`."""
        if args and isinstance(args[0], Writer):
            return super().__call__(*args, **kwargs)
        call = self._call(args, kwargs)
        return CallExpression(self._label, lambda state: self._inline_here(state, call))

    def _inline(self, state: Writer, call: Callable[[Any], Any]) -> Any:
        return self._inline_async(state, call) if isinstance(state, AsyncState) else self._inline_sync(state, call)

    def _inline_here(self, state: Writer, call: Callable[[Any], Any]) -> None:
        """Record the graph on a state without waiting where the state is one of an async program."""
        if isinstance(state, AsyncState):
            raise ProgramError(
                f"{self._label} may have to wait: write await {self._label}(s, ...){at(caller_location())}"
            )
        self._inline_sync(state, call)

    def _with(self, body: Callable[..., Any], **changes: Any) -> GraphProgram:
        return GraphProgram(
            self.make_graph, self._name, **{"parameters": self.parameters, "bound": self.bound, **changes}
        )

    def _check_arguments(self, arguments: Mapping[str, Any]) -> None:
        for given in self.inputs:
            if given.name in arguments and not isinstance(arguments[given.name], Expression):
                check_input(given, arguments[given.name])

    def trace(self, *args: Any, **kwargs: Any) -> RequestGraph:
        """Return the graph with these arguments bound; the others, defaults included, stay open."""
        given = self.__signature__.bind_partial(*args, **self._bind(args, kwargs)).arguments
        bound = self.make_graph(self.parameters).bind(**given)
        bound.verify()
        return RequestGraph(bound.nodes, bound.end, bound.inputs, bound.result)

    def _batch_options(self, **options: Any) -> BatchOptions:
        """Rows with the same beginning are run side by side: a cache that cannot hold them all computes it once."""
        graph = self.make_graph(self.parameters)
        order = partial(row_order, graph.bind(**self.bound))
        return super()._batch_options(order=order, **options)

    def plan(self, parameters: Mapping[str, Any]) -> tuple[GraphFacts, Plan]:
        """Return the graph under these sampling defaults, optimised, and in which order its nodes are recorded."""
        graph, planned = self.make_graph(parameters), self._planned
        if planned is None or planned[0] is not graph:
            better = optimized(graph)
            self._planned = planned = (graph, better, make_plan(better.nodes))
        return planned[1:]


def _body(program: GraphProgram, name: str) -> Callable[..., Any]:
    """Return the function that records the graph on a state; a coroutine function's where the state is async."""

    def body(state: Writer, /, *values: Any, **arguments: Any) -> Any:
        graph, plan = program.plan(state.recorder.parameters)
        arguments |= {item.name: value for item, value in zip(graph.inputs, values, strict=False)}
        given = {item.name: arguments.get(item.name, item.default) for item in graph.inputs}
        sink = state.sink
        if isinstance(sink, GraphSink):
            traced = {key: sink.value(value) for key, value in given.items()}
            replay = Replay(plan, traced, state.recorder, TracedControl())
            while not replay.is_done:
                replay.advance()
            returned = sink.refer(replay.value(replay.main, graph.result, None))
            return _awaitable(returned) if isinstance(state, AsyncState) else returned
        replay = Replay(plan, given, state.recorder, LiveControl(sink.run))
        if isinstance(state, AsyncState):
            return _record_async(graph, replay, sink)
        return _record(graph, replay, sink)

    body.__name__ = body.__qualname__ = name
    body.__signature__ = _signature_of(program.inputs)  # type: ignore[attr-defined]  # what inspect.signature looks for
    body.__annotations__ = {item.name: _annotation(item) for item in program.inputs}
    return body


def _record(graph: GraphFacts, replay: Replay, chain: Chain) -> Any:
    """Record the graph from the body's thread and return its result."""
    while not replay.is_done:
        waiting = replay.advance()
        concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
    result = replay.value(replay.main, graph.result, None)
    for source in sources_of(result):
        assert isinstance(source, Reference)
        chain.read(source)
    return compute(chain.run, result, None)


async def _record_async(graph: GraphFacts, replay: Replay, chain: Chain) -> Any:
    """Do the same without blocking the event loop."""
    while not replay.is_done:
        waiting = [watched(future) for future in replay.advance()]
        if waiting:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(0)
    result = replay.value(replay.main, graph.result, None)
    for source in sources_of(result):
        assert isinstance(source, Reference)
        await chain.aread(source)
    return compute(chain.run, result, None)


async def _awaitable(value: Any) -> Any:
    return value


def _signature_of(inputs: Sequence[Input]) -> inspect.Signature:
    """Return the signature of a graph's body; inputs are given by name, those without a default by position too."""
    names = {item.name for item in inputs}
    first = next(name for name in ("s", "state", "graph_state") if name not in names)
    parameters = [inspect.Parameter(first, inspect.Parameter.POSITIONAL_ONLY)]
    num_positional = next((place for place, item in enumerate(inputs) if not item.required), len(inputs))
    for place, item in enumerate(inputs):
        is_positional = place < num_positional
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD if is_positional else inspect.Parameter.KEYWORD_ONLY
        default = inspect.Parameter.empty if item.required else item.default
        parameters.append(inspect.Parameter(item.name, kind, default=default, annotation=_annotation(item)))
    return inspect.Signature(parameters)


def _annotation(item: Input) -> Any:
    """The Python type that a schema's values have, as far as the command line needs it to read one."""
    schema = None if item.schema is None else json.loads(item.schema)
    kind = schema.get("type") if isinstance(schema, dict) else None
    return ANNOTATIONS.get(kind, Any) if isinstance(kind, str) else Any
