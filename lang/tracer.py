"""Recording a body without running it: a sink that collects nodes, and the `Ref`s that stand for values.

A `Ref` may be appended, indexed and given as a choice; anything that needs the value itself raises `TraceError`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from .errors import TraceError
from .expressions import Expression
from .graph import RequestGraph
from .ir import Argument, Fork, Node, Reference
from .location import at, caller_location


class Ref(Expression):
    """A value that is known only when the program runs: a variable, or a parameter that was left open."""

    __slots__ = ("value",)

    def __init__(self, value: Reference | Argument) -> None:
        self.value = value

    def __getitem__(self, key: str | int) -> Ref:
        match self.value:
            case Reference(node, name, path):
                return Ref(Reference(node, name, (*path, key)))
            case Argument(name, path):
                return Ref(Argument(name, (*path, key)))

    def __repr__(self) -> str:
        return f"<Ref {self.value.name}>"

    def _refuse(self, what: str) -> NoReturn:
        kind = "a generated value" if isinstance(self.value, Reference) else "an argument that was left open"
        raise TraceError(
            f"{what} needs {self.value.name!r}{at(caller_location())}, which is {kind} and not known while tracing; "
            "append it with +, move the decision into a select, or run the program instead of tracing it"
        )

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):  # protocols (copy, numpy, ...) ask for what is not there and must hear AttributeError
            raise AttributeError(name)
        self._refuse(f"the attribute .{name}")

    def __call__(self, *args: object, **kwargs: object) -> NoReturn:
        """Refuse: a call needs the value."""
        self._refuse("a call")


def _refusing(what: str) -> Callable[..., NoReturn]:
    def refuse(self: Ref, *args: object) -> NoReturn:
        self._refuse(what)

    return refuse


# Python asks the class, not the instance, for these; each would need the value.
for _names, _what in (
    (("__bool__",), "a condition"),
    (("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"), "a comparison"),
    (("__hash__",), "a set or dictionary key"),
    (("__contains__",), "'in'"),
    (("__iter__",), "a loop"),
    (("__len__",), "len()"),
    (("__int__", "__float__", "__index__"), "a number"),
    (("__str__", "__format__"), "an f-string or str()"),
):
    for _name in _names:
        setattr(Ref, _name, _refusing(_what))


class GraphSink:
    """Collects the nodes of all branches, and answers reads with `Ref`s. Sink of every recorder of one trace."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def append(self, node: Node) -> None:
        """Take a node."""
        self.nodes.append(node)

    def fork(self, node: Node) -> Sequence[GraphSink]:
        """Take a fork; every branch collects into the same list."""
        assert isinstance(node.op, Fork)
        self.nodes.append(node)
        return (self,) * node.op.num

    def read(self, reference: Reference) -> Any:
        """Stand in for the value of a variable."""
        return Ref(reference)

    async def aread(self, reference: Reference) -> Any:
        """Stand in for the value of a variable in an async body."""
        return Ref(reference)

    def graph(self, end: int | None) -> RequestGraph:
        """Return what was recorded, checked; `end` is the last node of the main branch."""
        graph = RequestGraph(tuple(self.nodes), end)
        graph.verify()
        return graph
