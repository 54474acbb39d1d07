"""Control in a graph that runs: waits for the values that decide, then records the arm or the passes they call for.

Inside arms and loops variables are hidden: they belong to one pass. What closes a block makes them the branch's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ..lang.errors import ProgramError
from ..lang.graph.values import sources_of
from ..lang.ir import (
    Apply,
    Branch,
    Collect,
    Fork,
    ForkEach,
    Gather,
    Join,
    Loop,
    Merge,
    Node,
    Reference,
    Set,
    Value,
    is_constant,
)
from ..lang.location import at
from ..lang.recorder import Recorder, Sink
from .chain import Chain
from .replay import Pass, Replay
from .resolve import compute
from .run import Run


class HiddenSink:
    """The sink of an arm or of one pass of a loop: it appends to the branch and shows no variable."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain

    def append(self, node: Node) -> None:
        """Take a node."""
        self.chain.append(node, is_hidden=True)

    def fork(self, node: Node) -> Sequence[Sink]:
        """Take a fork; in branches of their own variables need not be hidden."""
        assert isinstance(node.op, Fork)
        return self.chain.fork(node)


class LiveControl:
    """Decides by the values of a run."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def value(self, replay: Replay, value: Value, location: str | None) -> Value:
        """Return what can be computed without waiting; the chain computes the rest."""
        if is_constant(value) or any(True for _ in sources_of(value)):
            return value
        found: Value = compute(self._run, value, location)
        return found

    def open(self, replay: Replay, place: Pass, node: Node, recorder: Recorder) -> None:
        """Wait for what decides, then record what it calls for."""
        place.inner[node.id] = {}
        match node.op:
            case Branch(conditions):
                self._decide(replay, place, node, conditions)
            case Loop(items):
                self._when_known(replay, place, node, items, lambda found: self._loop(replay, place, node, found))
            case ForkEach(items):
                self._when_known(replay, place, node, items, lambda found: self._fork(replay, place, node, found))

    def close(self, replay: Replay, place: Pass, node: Node, recorder: Recorder) -> None:
        """Define what the block gathers."""
        assert node.parent is not None
        inner = place.inner[node.parent]
        match node.op:
            case Merge(names, sources):
                for name, row in zip(names, sources, strict=True):
                    source = next((row[arm] for arm in inner), None)  # of the only arm that was taken, if any
                    value = None if source is None else inner[next(iter(inner))].values[source, name]
                    _merge(place, node, recorder, name, value)
            case Collect(names, sources):
                for name, source in zip(names, sources, strict=True):
                    values = tuple(inner[number].values[source, name] for number in sorted(inner))
                    _collect(place, node, recorder, name, values)
            case Gather(name, names, sources):
                records = tuple(_record(inner[number], names, sources) for number in sorted(inner))
                recorder.replay(Set(name, records), node.location)

    # ---- opening ---------------------------------------------------------------------------------------------------

    def _decide(self, replay: Replay, place: Pass, node: Node, conditions: Sequence[Value], arm: int = 0) -> None:
        """Take the first arm, from `arm` on, whose condition holds; conditions after it are not looked at."""
        if arm == len(conditions):
            replay.finish(place, node)
            return

        def look(holds: Any) -> None:
            if holds:
                self._begin(replay, place, node, arm, partial(replay.finish, place, node))
            else:
                self._decide(replay, place, node, conditions, arm + 1)

        self._when_known(replay, place, node, conditions[arm], look)

    def _loop(self, replay: Replay, place: Pass, node: Node, items: Sequence[Any], number: int = 0) -> None:
        """Record pass after pass on the same prompt."""
        if number == len(items):
            replay.finish(place, node)
        else:
            after = partial(self._loop, replay, place, node, items, number + 1)
            self._begin(replay, place, node, number, after, item=items[number])

    def _fork(self, replay: Replay, place: Pass, node: Node, items: Sequence[Any]) -> None:
        """Record a branch for each item."""
        left = len(items)

        def after() -> None:
            nonlocal left
            left -= 1
            if not left:
                replay.finish(place, node)

        branches = place.recorders[node.id].fork(left, node.location) if left else []
        for number, branch in enumerate(branches):
            self._begin(replay, place, node, number, after, item=items[number], branch=branch)
        if not left:
            replay.finish(place, node)

    def _begin(
        self,
        replay: Replay,
        place: Pass,
        node: Node,
        number: int,
        after: Callable[[], None],
        *,
        item: Any = None,
        branch: Recorder | None = None,
    ) -> None:
        """Record an arm or a pass, on a branch of its own or on the prompt that the opener is on."""
        recorder = place.recorders[node.id]
        start = replay.plan.inside[node.id][number if isinstance(node.op, Branch) else 0]
        inner = Pass(
            replay.plan.regions[start],
            start,
            branch or recorder.inner(HiddenSink(_chain(recorder))),
            key=(*place.key, node.id, number),
            outer=place,
            values={(start, name): item for name in replay.plan.nodes[start].defines},
        )
        place.inner[node.id][number] = inner

        def done() -> None:
            if branch is None:
                recorder.adopt(inner.recorder)
            after()

        replay.begin(inner, done)

    # ---- values ----------------------------------------------------------------------------------------------------

    def _when_known(self, replay: Replay, place: Pass, node: Node, value: Value, then: Callable[[Any], None]) -> None:
        """Call `then` with what `value` is, as soon as it is known; for loops, with its items."""
        wanted = replay.value(place, value, node.location)
        references = [source for source in sources_of(wanted) if isinstance(source, Reference)]
        slots = [self._run.slots[reference.node, reference.name] for reference in references]
        for slot in slots:
            slot.chain.wake()

        def look() -> None:
            for slot, reference in zip(slots, references, strict=True):
                slot.chain.read(reference)  # raises what went wrong there
            found = compute(self._run, wanted, node.location)
            then(found if isinstance(node.op, Branch) else _items(node, found))

        replay.when_done([slot.future for slot in slots], (*place.key, node.id), look)


def _merge(place: Pass, node: Node, recorder: Recorder, name: str, value: Value) -> None:
    """Let a variable of the arm that was taken be the branch's; without one it is None."""
    if isinstance(value, Reference):
        recorder.define(name, value.node, node.location)
        if isinstance(recorder.sink, Chain):
            recorder.sink.declare(name, value.node)
        place.values[node.id, name] = value
    else:
        recorder.replay(Set(name, value), node.location)
        place.values[node.id, name] = _last(recorder, name)


def _collect(place: Pass, node: Node, recorder: Recorder, name: str, values: tuple[Value, ...]) -> None:
    """Gather a variable of all passes."""
    nodes = tuple(value.node for value in values if isinstance(value, Reference))
    if len(nodes) == len(values):
        recorder.replay(Join((), (name,), (nodes,)), node.location)
    else:
        recorder.replay(Set(name, values), node.location)
    place.values[node.id, name] = _last(recorder, name)


def _last(recorder: Recorder, name: str) -> Reference:
    assert recorder.last is not None
    return Reference(recorder.last, name)


def _record(inner: Pass, names: Sequence[str], sources: Sequence[int]) -> Apply:
    pairs = ((name, inner.values[source, name]) for name, source in zip(names, sources, strict=True))
    return Apply("record", tuple(item for pair in pairs for item in pair))


def _chain(recorder: Recorder) -> Chain:
    sink = recorder.sink
    assert isinstance(sink, Chain | HiddenSink)
    return sink if isinstance(sink, Chain) else sink.chain


def _items(node: Node, found: Any) -> Sequence[Any]:
    """Return what a loop goes through, or raise `ProgramError`."""
    assert isinstance(node.op, Loop | ForkEach)
    if not isinstance(found, list | tuple):
        kind = type(found).__name__
        raise ProgramError(f"a loop{at(node.location)} goes through a list, got a value of type {kind}")
    if len(found) > node.op.limit:
        raise ProgramError(f"a loop{at(node.location)} has {len(found)} items; at most {node.op.limit} are allowed")
    return found
