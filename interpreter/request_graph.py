"""`RequestGraph` as users have it: the graph with the ways to run it. It adds no data to `lang.graph.RequestGraph`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..backend.api import Backend
from ..lang.graph import RequestGraph as GraphFacts
from .result import Result
from .streams import AsyncStream, Stream

if TYPE_CHECKING:
    from .batch import Row
    from .cost import BatchCost, Cost
    from .graph_program import GraphProgram


@dataclass(frozen=True, slots=True)
class RequestGraph(GraphFacts):
    """A program as data: made by `program.compile(...)` or `RequestGraph.from_json(...)`, run on any backend.

    It gives exactly what the program gives. Arguments that were left open are its `inputs`, given by name or in order.
    `str(graph)` prints it, a notebook draws it.

    >>> import ramify
    >>> @ramify.function
    ... def greet(s, name):
    ...     s += f"Dear {name}," + ramify.gen("letter", stop="Bye")
    >>> graph = ramify.RequestGraph.from_json(greet.compile().to_json())
    >>> graph.run(name="Ann", backend=ramify.FakeBackend([" hello."]))["letter"]
    ' hello.'
    """

    _made: dict[str, GraphProgram] = field(default_factory=dict, init=False, compare=False, repr=False)

    def run(self, *args: Any, backend: Backend | None = None, timeout: float | None = None, **inputs: Any) -> Result:
        """Run to the end and return the result; see `Program.run`."""
        return self.program().run(*args, backend=backend, timeout=timeout, **inputs)

    async def arun(
        self, *args: Any, backend: Backend | None = None, timeout: float | None = None, **inputs: Any
    ) -> Result:
        """The same on the caller's event loop."""
        return await self.program().arun(*args, backend=backend, timeout=timeout, **inputs)

    def stream(self, *args: Any, backend: Backend | None = None, timeout: float | None = None, **inputs: Any) -> Stream:
        """Start to run and return at once; the stream yields text as it is generated."""
        return self.program().stream(*args, backend=backend, timeout=timeout, **inputs)

    def astream(
        self, *args: Any, backend: Backend | None = None, timeout: float | None = None, **inputs: Any
    ) -> AsyncStream:
        """The same on the caller's event loop."""
        return self.program().astream(*args, backend=backend, timeout=timeout, **inputs)

    def run_batch(self, rows: Iterable[Mapping[str, Any]], **options: Any) -> list[Row[Result]]:
        """Run once for each mapping of inputs; options as for `Program.run_batch`."""
        return self.program().run_batch(rows, **options)

    async def arun_batch(self, rows: Iterable[Mapping[str, Any]], **options: Any) -> list[Row[Result]]:
        """The same on the caller's event loop."""
        return await self.program().arun_batch(rows, **options)

    def cost(self, tokenizer: Any, *, generated: int | None = None, passes: int = 1) -> Cost:
        """Return how many tokens a run prefills with and without sharing, and how many it generates, before it runs.

        `tokenizer`: an engine, a tokenizer (its own, or one of transformers, tokenizers or tiktoken), or a function
        from text to token ids; without a chat template roles count as plain paragraphs. `generated`: tokens that each
        gen is taken to generate, else its `max_tokens`. Loops whose items are not known go round `passes` times, and of
        several arms the longest is taken. Counts of prompts are exact where texts are known; bind arguments for that.

        >>> import ramify
        >>> @ramify.function
        ... def twice(s):
        ...     s += "1 2 3 4 "
        ...     for branch in s.fork(2):
        ...         branch += ramify.gen("x", max_tokens=5)
        >>> twice.compile().cost(str.split)
        Cost(requests=2, prompt_tokens=8, computed_tokens=5, generated_tokens=10, longest=9)
        """
        from .cost import cost_of

        return cost_of(self, tokenizer, generated=generated, passes=passes)

    def batch_cost(
        self, rows: Iterable[Mapping[str, Any]], tokenizer: Any, *, generated: int | None = None, passes: int = 1
    ) -> BatchCost:
        """Return what a batch costs, and with how many tokens all its prompts begin; parameters as for `cost`.

        >>> import ramify
        >>> @ramify.function
        ... def answer(s, question):
        ...     s += "Be brief. " + question + ramify.gen("answer", max_tokens=5)
        >>> answer.compile().batch_cost([{"question": "Why ?"}, {"question": "Why not ?"}], str.split).common_prefix
        3
        """
        from .cost import cost_of_batch

        return cost_of_batch(self, rows, tokenizer, generated=generated, passes=passes)

    def optimized(self) -> RequestGraph:
        """Return a graph that does the same with constants folded, dead nodes left out and branches in cache order."""
        from ..lang.passes import optimized

        return optimized(self)

    def levels(self) -> tuple[tuple[int, ...], ...]:
        """Return the gens and selects, by node, in steps that can run in parallel; their number is what a run waits."""
        from ..lang.passes import levels

        return levels(self)

    # ---- looking at it ---------------------------------------------------------------------------------------------

    def to_svg(self, tokenizer: Any = None) -> str:
        """Return a drawing: cards of text that requests share, with what is generated and what depends on it.

        With a `tokenizer` (see `cost`) the cards say how many tokens they hold, and the foot what a run costs.
        """
        from ..lang.graph.svg import draw_svg

        cost = None if tokenizer is None else self.cost(tokenizer)
        if cost is None:
            return draw_svg(self.nodes, self.inputs)
        return draw_svg(self.nodes, self.inputs, cost.of_nodes, str(cost))

    def to_html(self, tokenizer: Any = None, *, title: str = "Request graph") -> str:
        """Return a page of its own with the drawing, the cost if there is a `tokenizer`, and the nodes as text."""
        from ..lang.graph.page import page

        cost = None if tokenizer is None else self.cost(tokenizer)
        return page(title, self.to_svg(tokenizer), () if cost is None else cost.rows(), str(self))

    def _repr_html_(self) -> str:
        return self.to_svg()

    def program(self) -> GraphProgram:
        """Return the program that records this graph, to be used inside other programs or by the command line."""
        from .graph_program import GraphProgram  # it builds on programs, which make graphs

        if "program" not in self._made:  # planned once, run often
            self._made["program"] = GraphProgram(lambda parameters: self, "graph")
        return self._made["program"]
