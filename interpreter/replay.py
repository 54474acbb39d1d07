"""Recording a graph as a body would have recorded it: node by node, as soon as what a node needs is recorded.

A straight graph is recorded at once, references included. What `Branch`, `Loop` and `ForkEach` do is the business of a
`Control`: live it waits for values, each on its own prompt, so that other branches go on meanwhile; while tracing they
become nodes again. Knows no event loop: `advance` says what has to be waited for.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from itertools import count
from typing import Any, Protocol

from ..lang.errors import ProgramError
from ..lang.graph.plan import Plan, Region
from ..lang.graph.values import Source, follow, map_values, substitute
from ..lang.ir import (
    Argument,
    Branch,
    Child,
    Collect,
    Fork,
    ForkEach,
    Gather,
    Join,
    Keep,
    Loop,
    Merge,
    Node,
    Op,
    Reference,
    Value,
)
from ..lang.recorder import Recorder

Key = tuple[int, ...]

MAX_OPERATIONS = 250_000  # that one run may record: loops in loops are bounded as a whole too
SLICE = 1_000  # operations recorded before the event loop gets its turn


class Pass:
    """One region being recorded once: the whole graph, an arm, or one pass through a body.

    `values` are its variables in terms of the recording, `ids` its nodes' new ids, `recorders` where each node's prompt
    goes on. `inner`: what was recorded inside each of its blocks, by number of the arm or pass.
    """

    def __init__(
        self,
        region: Region,
        start: int | None,
        recorder: Recorder,
        key: Key = (),
        outer: Pass | None = None,
        values: Mapping[tuple[int, str], Value] | None = None,
    ) -> None:
        self.region = region
        self.key = key
        self.outer = outer
        self.recorder = recorder
        self.values: dict[tuple[int, str], Value] = dict(values or {})
        self.ids: dict[int, int] = {}
        self.recorders: dict[int | None, Recorder] = {start: recorder}
        self.forks: dict[int, list[Recorder]] = {}
        self.inner: dict[int, dict[int, Pass]] = {}
        self.missing = dict(region.needs)
        self.left = len(region.nodes)
        self.done: Callable[[], None] = lambda: None

    def value_of(self, node: int, name: str) -> Value:
        """Return what a variable of the graph is in the recording."""
        holder: Pass | None = self
        while holder is not None:
            if (node, name) in holder.values:
                return holder.values[node, name]
            holder = holder.outer
        raise AssertionError(f"{name!r} of node {node} was to be recorded before its reader")


class Control(Protocol):
    """What becomes of arms and loops, and of values."""

    def value(self, replay: Replay, value: Value, location: str | None) -> Value:
        """Return a value of the graph, which is in terms of the recording by now, as it is recorded."""
        ...

    def open(self, replay: Replay, place: Pass, node: Node, recorder: Recorder) -> None:
        """Begin what is inside an opener; `replay.finish(place, node)` follows when all of it is recorded."""
        ...

    def close(self, replay: Replay, place: Pass, node: Node, recorder: Recorder) -> None:
        """Give the variables of a closer their values in `place.values`."""
        ...


class Replay:
    """Records a graph on `recorder`, with `arguments` for its inputs."""

    def __init__(self, plan: Plan, arguments: Mapping[str, Value], recorder: Recorder, control: Control) -> None:
        self.plan = plan
        self._arguments = arguments
        self._control = control
        self._order = count()
        self._left = MAX_OPERATIONS
        self._ready: list[tuple[Key, int, Callable[[], None]]] = []
        self._waiting: list[tuple[set[Future[Any]], Key, Callable[[], None]]] = []
        self.main = Pass(plan.regions[None], None, recorder)
        self.begin(self.main, lambda: None)

    @property
    def is_done(self) -> bool:
        """True when the whole graph is recorded."""
        return not self._ready and not self._waiting

    def advance(self) -> set[Future[Any]]:
        """Record what can be recorded now, a slice of it; return what to wait for, nothing while there is more."""
        waiting, self._waiting = self._waiting, []
        for futures, key, action in waiting:
            self.when_done(futures, key, action)
        for _ in range(SLICE):
            if not self._ready:
                return {future for futures, _, _ in self._waiting for future in futures if not future.done()}
            heapq.heappop(self._ready)[2]()
        return set()

    def begin(self, place: Pass, done: Callable[[], None]) -> None:
        """Start to record a region; `done` is called when all of it is recorded."""
        self._left -= 1 + place.left
        if self._left < 0:
            raise ProgramError(f"the graph's loops make more than {MAX_OPERATIONS} operations in one run")
        place.done = done
        if not place.left:
            self.later(place.key, done)
        for node_id in place.region.nodes:
            if not place.missing[node_id]:
                self._make_ready(place, node_id)

    def when_done(self, futures: Iterable[Future[Any]], key: Key, action: Callable[[], None]) -> None:
        """Call `action` once all `futures` are done."""
        futures = set(futures)
        if not all(future.done() for future in futures):
            self._waiting.append((futures, key, action))
        else:
            self.later(key, action)

    def later(self, key: Key, action: Callable[[], None]) -> None:
        """Call `action` soon, in the order of keys: that of the nodes in the graph."""
        heapq.heappush(self._ready, (key, next(self._order), action))

    def finish(self, place: Pass, node: Node) -> None:
        """Note that a node is recorded, with all that is inside it; what waited for it may follow."""
        for follower in place.region.followers.get(node.id, ()):
            place.missing[follower] -= 1
            if not place.missing[follower]:
                self._make_ready(place, follower)
        place.left -= 1
        if not place.left:
            self.later(place.key, place.done)

    def value(self, place: Pass, value: Value, location: str | None) -> Value:
        """Return a value of the graph in terms of the recording."""

        def change(source: Source) -> Value:
            if isinstance(source, Argument):
                return follow(self._arguments[source.name], source.path)
            return follow(place.value_of(source.node, source.name), source.path)

        return self._control.value(self, substitute(value, change), location)

    def _make_ready(self, place: Pass, node_id: int) -> None:
        node = self.plan.nodes[node_id]
        self.later((*place.key, node_id), lambda: self._record(place, node))

    def _record(self, place: Pass, node: Node) -> None:
        recorder = place.recorders[node.parent]
        match node.op:
            case Child(index):
                assert node.parent is not None
                recorder = place.forks[node.parent][index]
            case Fork(num):
                place.forks[node.id] = recorder.fork(num, node.location)
            case Branch() | Loop() | ForkEach():
                place.recorders[node.id] = recorder
                self._control.open(self, place, node, recorder)
                return
            case Merge() | Collect() | Gather():
                self._control.close(self, place, node, recorder)
            case _:
                recorder.replay(self._op(place, node), node.location)
        place.recorders[node.id] = recorder
        if recorder.last is not None:  # a block that begins a prompt may have recorded nothing
            place.ids[node.id] = recorder.last
            for name in node.defines:
                place.values.setdefault((node.id, name), Reference(recorder.last, name))
        self.finish(place, node)

    def _op(self, place: Pass, node: Node) -> Op:
        """Return the operation of a node in terms of the recording."""
        match node.op:
            case Join(ends, names, sources):
                rows = tuple(
                    tuple(None if source is None else self.node_of(place, source, name) for source in row)
                    for name, row in zip(names, sources, strict=True)
                )
                return Join(tuple(place.ids[end] for end in ends if end in place.ids), names, rows)
            case Keep(source, index):
                return Keep(Reference(self.node_of(place, source.node, source.name), source.name), index)
            case op:
                return map_values(op, lambda value: self.value(place, value, node.location))

    def node_of(self, place: Pass, node: int, name: str) -> int:
        """Return the recorded node that defines a variable of the graph."""
        value = place.value_of(node, name)
        assert isinstance(value, Reference)
        return value.node
