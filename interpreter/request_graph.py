"""`RequestGraph` as users have it: the graph with the ways to run it. It adds no data to `lang.graph.RequestGraph`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..backend.api import Backend
from ..lang.graph import RequestGraph as GraphFacts
from .result import Result
from .streams import AsyncStream, Stream

if TYPE_CHECKING:
    from .batch import Row
    from .graph_program import GraphProgram


@dataclass(frozen=True, slots=True)
class RequestGraph(GraphFacts):
    """A program as data: made by `program.compile(...)` or `RequestGraph.from_json(...)`, run on any backend.

    It gives exactly what the program gives. Arguments that were left open are its `inputs`; all of them are given by
    name. `str(graph)` prints it, a notebook draws it.

    >>> import ramify
    >>> @ramify.function
    ... def greet(s, name):
    ...     s += f"Dear {name}," + ramify.gen("letter", stop="Bye")
    >>> graph = ramify.RequestGraph.from_json(greet.compile().to_json())
    >>> graph.run(name="Ann", backend=ramify.FakeBackend([" hello."]))["letter"]
    ' hello.'
    """

    def run(self, *, backend: Backend | None = None, timeout: float | None = None, **inputs: Any) -> Result:
        """Run to the end and return the result; see `Program.run`."""
        return self.program().run(backend=backend, timeout=timeout, **inputs)

    async def arun(self, *, backend: Backend | None = None, timeout: float | None = None, **inputs: Any) -> Result:
        """The same on the caller's event loop."""
        return await self.program().arun(backend=backend, timeout=timeout, **inputs)

    def stream(self, *, backend: Backend | None = None, timeout: float | None = None, **inputs: Any) -> Stream:
        """Start to run and return at once; the stream yields text as it is generated."""
        return self.program().stream(backend=backend, timeout=timeout, **inputs)

    def astream(self, *, backend: Backend | None = None, timeout: float | None = None, **inputs: Any) -> AsyncStream:
        """The same on the caller's event loop."""
        return self.program().astream(backend=backend, timeout=timeout, **inputs)

    def run_batch(self, rows: Iterable[Mapping[str, Any]], **options: Any) -> list[Row[Result]]:
        """Run once for each mapping of inputs; options as for `Program.run_batch`."""
        return self.program().run_batch(rows, **options)

    async def arun_batch(self, rows: Iterable[Mapping[str, Any]], **options: Any) -> list[Row[Result]]:
        """The same on the caller's event loop."""
        return await self.program().arun_batch(rows, **options)

    def program(self) -> GraphProgram:
        """Return the program that records this graph, to be used inside other programs or by the command line."""
        from .graph_program import GraphProgram  # it builds on programs, which make graphs

        return GraphProgram(lambda parameters: self, "graph")
