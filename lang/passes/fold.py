"""Constants: what can be computed before a run is computed, and text that follows text becomes one piece of it."""

from __future__ import annotations

from ..errors import ProgramError
from ..evaluate import evaluate, text_of
from ..graph.values import Source, follow, map_values, substitute
from ..ir import Apply, Fill, Node, Reference, Set, Value, is_constant
from .rebuild import GraphT, rebuilt


def folded(graph: GraphT) -> GraphT:
    """Return the graph with functions of constants computed, known variables read, and adjacent text joined.

    What cannot be computed stays as it is and fails when, and if, it is reached.
    """
    known: dict[tuple[int, str], Value] = {}
    instead: dict[int, int | None] = {}
    kept: list[Node] = []
    texts: dict[int, int] = {}  # node that ends with known text -> its place in `kept`
    for node in graph.nodes:
        op = map_values(node.op, lambda value: _folded(value, known))
        if isinstance(op, Set) and is_constant(op.value) and not isinstance(op.value, tuple):
            known[node.id, op.name] = op.value
        if not isinstance(op, Fill):
            kept.append(Node(node.id, node.parent, op, node.location))
            continue
        op = Fill(_text(op.value))
        parent = node.parent
        while parent is not None and parent in instead:
            parent = instead[parent]
        if op.value == "":
            instead[node.id] = parent
        elif isinstance(op.value, str) and parent is not None and parent in texts:
            before = kept[texts[parent]]
            assert isinstance(before.op, Fill) and isinstance(before.op.value, str)
            kept[texts[parent]] = Node(before.id, before.parent, Fill(before.op.value + op.value), before.location)
            instead[node.id] = parent
        else:
            if isinstance(op.value, str):
                texts[node.id] = len(kept)
            kept.append(Node(node.id, node.parent, op, node.location))
    return rebuilt(graph, kept, instead)


def _text(value: Value) -> Value:
    """A constant as the text it is in a prompt."""
    if not is_constant(value) or isinstance(value, str):
        return value
    try:
        return text_of(value)
    except (TypeError, ValueError):
        return value  # no JSON: it fails where it is written


def _folded(value: Value, known: dict[tuple[int, str], Value]) -> Value:
    def change(source: Source) -> Value:
        found = known.get((source.node, source.name), source) if isinstance(source, Reference) else source
        return follow(found, source.path) if found is not source else source

    return _computed(substitute(value, change))


def _computed(value: Value) -> Value:
    match value:
        case Apply(function, arguments):
            value = Apply(function, tuple(_computed(argument) for argument in arguments))
            if not all(is_constant(argument) for argument in value.arguments):
                return value
            try:
                found: Value = evaluate(value, _nothing)
            except ProgramError:
                return value
            return found if isinstance(found, str | int | float | bool | None) else value
        case tuple():
            return tuple(_computed(item) for item in value)
        case _:
            return value


def _nothing(source: Source) -> Value:
    raise AssertionError(f"{source} is no constant")
