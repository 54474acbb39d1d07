"""Control in a graph that is recorded into another one, while the program around it is traced: it stays control."""

from __future__ import annotations

from dataclasses import replace

from ..lang.ir import Arm, Body, Branch, Collect, ForkEach, Gather, Loop, Merge, Node, Op, Reference, Value
from ..lang.recorder import Recorder
from .replay import Pass, Replay


class TracedControl:
    """Copies arms and bodies once, as nodes."""

    def value(self, replay: Replay, value: Value, location: str | None) -> Value:
        """Return the value as it is; nothing is computed while tracing."""
        return value

    def open(self, replay: Replay, place: Pass, node: Node, recorder: Recorder) -> None:
        """Record the opener, and each arm or the body as a prompt of its own that starts there."""
        opener = _opener(replay, place, node)
        recorder.replay(opener, node.location)
        starts = replay.plan.inside[node.id]
        place.inner[node.id] = {}
        left = len(starts)

        def done() -> None:
            nonlocal left
            left -= 1
            if not left:
                replay.finish(place, node)

        for number, start in enumerate(starts):
            inner = recorder.inner(recorder.sink)
            first = replay.plan.nodes[start]
            inner.replay(Arm(number) if isinstance(opener, Branch) else Body(*first.defines), first.location)
            values = {(start, name): Reference(inner.last or 0, name) for name in first.defines}
            place.inner[node.id][number] = Pass(
                replay.plan.regions[start], start, inner, (*place.key, node.id, number), place, values
            )
            replay.begin(place.inner[node.id][number], done)
        if not starts:
            replay.finish(place, node)

    def close(self, replay: Replay, place: Pass, node: Node, recorder: Recorder) -> None:
        """Record the closer behind its opener, in the role that the arms leave."""
        assert node.parent is not None
        inner = place.inner[node.parent]
        opener = recorder.last
        if isinstance(node.op, Merge | Collect) and inner:
            recorder.adopt(inner[0].recorder)
            recorder.last = opener
        recorder.replay(_closer(replay, inner, node), node.location)


def _opener(replay: Replay, place: Pass, node: Node) -> Branch | Loop | ForkEach:
    match node.op:
        case Branch(conditions):
            return Branch(tuple(replay.value(place, condition, node.location) for condition in conditions))
        case Loop(items) | ForkEach(items):
            return replace(node.op, items=replay.value(place, items, node.location))
        case op:
            raise AssertionError(f"{op!r} opens nothing")


def _closer(replay: Replay, inner: dict[int, Pass], node: Node) -> Op:
    match node.op:
        case Merge(names, sources):
            rows = tuple(
                tuple(
                    None if source is None else replay.node_of(inner[arm], source, name)
                    for arm, source in enumerate(row)
                )
                for name, row in zip(names, sources, strict=True)
            )
            return Merge(names, rows)
        case Collect(names, sources):
            return Collect(names, _nodes(replay, inner[0], names, sources))
        case Gather(name, names, sources):
            return Gather(name, names, _nodes(replay, inner[0], names, sources))
        case op:
            raise AssertionError(f"{op!r} closes nothing")


def _nodes(replay: Replay, body: Pass, names: tuple[str, ...], sources: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(replay.node_of(body, source, name) for name, source in zip(names, sources, strict=True))
