"""Recording a body without running it: a sink that collects nodes, and the `Ref`s that stand for values.

A `Ref` may be appended, formatted, indexed, returned and given as a choice; what needs the value itself raises
`TraceError`. Text made of Refs is found again by its marks (`marks.py`).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from .errors import TraceError
from .expressions import Concat, Expression
from .graph import RequestGraph
from .graph.values import follow, sources_of
from .ir import Apply, Argument, Fork, Gen, Input, Join, Node, Reference, Set, Value, is_constant
from .location import at, caller_location, raised_at
from .marks import MarkedText, Marks

ADVICE = {
    "a condition": "decide with a select, write the program as a script with @if",
    "a comparison": "decide with a select, write the program as a script with @if",
    "a loop": "loop over something whose length is known, write the program as a script with @for",
    "len()": "use something whose length is known, write the program as a script with @for",
}


class Ref(Expression):
    """A value that is known only when the program runs: a variable, or a parameter that was left open.

    `_length` is known for what a join or `n > 1` gathered, so that such tuples can be looped over.
    """

    __slots__ = ("_length", "_marks", "_value")  # private: a body may ask for any attribute

    def __init__(self, value: Value, marks: Marks, length: int | None = None) -> None:
        self._value = value
        self._marks = marks
        self._length = length

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            return tuple(self)[key]
        if isinstance(key, Ref):
            key._refuse("an index")
        if self._length is not None and isinstance(key, int) and not -self._length <= key < self._length:
            raise IndexError(f"{self._name!r} has {self._length} items, there is no item {key}")
        return Ref(follow(self._value, (key,)), self._marks)

    def __iter__(self) -> Iterator[Ref]:
        if self._length is None:
            self._refuse("a loop")
        return iter([self[index] for index in range(self._length)])

    def __len__(self) -> int:
        if self._length is None:
            self._refuse("len()")
        return self._length

    def __bool__(self) -> bool:
        if self._length is None:
            self._refuse("a condition")
        return self._length > 0

    def __format__(self, spec: str) -> str:  # type: ignore[override]  # any other expression refuses
        return self._marks.mark(Apply("format", (self._value, spec)))

    def __str__(self) -> str:
        return self._marks.mark(Apply("format", (self._value, "")))

    def __repr__(self) -> str:  # debuggers and messages ask for it too, so it may go nowhere
        return self._marks.mark(Apply("repr", (self._value,)), must_be_used=False)

    @property
    def _name(self) -> str:
        """The variable or parameter whose value this is."""
        sources = sources_of(self._value)
        return next((source.name for source in sources), "a value")

    def _refuse(self, what: str) -> NoReturn:
        name = self._name
        if isinstance(self._value, Argument):
            kind, advice = "an argument that was left open", f"give {name}=... when tracing"
        else:
            kind, advice = "a generated value", ADVICE.get(what, "move the decision into a select")
        raise TraceError(
            f"{what} needs {name!r}{at(caller_location())}, which is {kind} and not known while tracing; "
            f"{advice}, or run the program instead of tracing it"
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
    ("eq ne lt le gt ge", "a comparison"),
    ("hash", "a set or dictionary key"),
    ("contains", "'in'"),
    ("int float complex index round trunc floor ceil", "a number"),
    ("sub rsub mul rmul truediv rtruediv floordiv rfloordiv mod rmod pow rpow neg pos abs invert", "arithmetic"),
    ("and rand or ror xor rxor lshift rlshift rshift rrshift divmod rdivmod matmul rmatmul", "arithmetic"),
    ("bytes", "bytes()"),
    ("setitem delitem", "a change"),
    ("enter exit aenter aexit await next", "this use"),
):
    for _name in _names.split():
        setattr(Ref, f"__{_name}__", _refusing(_what))


class GraphSink:
    """Collects the nodes of all branches, and answers reads with `Ref`s. Sink of every recorder of one trace."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.marks = Marks()

    def append(self, node: Node) -> None:
        """Take a node."""
        self.nodes.append(node)

    def fork(self, node: Node) -> Sequence[GraphSink]:
        """Take a fork; every branch collects into the same list."""
        assert isinstance(node.op, Fork)
        self.nodes.append(node)
        return (self,) * node.op.num

    def read(self, reference: Reference) -> Any:
        """Return the value of a variable where it is known, or what stands for it."""
        match self.nodes[reference.node].op:
            case Set(value=value) if is_constant(value):
                return value
            case Join(sources=sources) if sources:
                return Ref(reference, self.marks, len(sources[0]))
            case Gen(sampling=sampling) if sampling.n > 1:
                return Ref(reference, self.marks, sampling.n)
            case _:
                return Ref(reference, self.marks)

    def stand_in(self, name: str) -> Ref:
        """Return what stands for the value of a parameter that was left open."""
        return Ref(Argument(name), self.marks)

    def refer(self, value: Value) -> Any:
        """Return what a value of the recording is to a body: itself where it is known, else what stands for it."""
        match value:
            case Reference(path=()):
                return self.read(value)
            case Apply("record", pairs):
                return {pairs[place]: self.refer(pairs[place + 1]) for place in range(0, len(pairs), 2)}
            case Apply("list", items):
                return [self.refer(item) for item in items]
            case Reference() | Argument() | Apply():
                return Ref(value, self.marks)
            case tuple():
                return tuple(self.refer(item) for item in value)
            case _:
                return value

    def parts(self, text: str) -> list[Value]:
        """Split text into what is known and the values that are formatted into it."""
        return self.marks.parts(text)

    def value(self, found: Any) -> Any:
        """Turn what a program made of Refs (text, sums, lists, records) into a value; what holds none stays."""
        match found:
            case Ref():
                return found._value
            case str():
                return self.marks.value(found)
            case Concat(parts) if all(isinstance(part, str | Ref) for part in parts):
                return Apply("+", tuple(self.value(part) for part in parts))
            case tuple() if type(found) is tuple:
                return tuple(self.value(item) for item in found)
            case list():
                items = tuple(self.value(item) for item in found)
                return found if is_constant(items) else Apply("list", items)
            case dict():
                pairs = tuple(self.value(item) for pair in found.items() for item in pair)
                return found if is_constant(pairs) else Apply("record", pairs)
            case _ if _holds_refs(found):
                raise TraceError(
                    f"a {type(found).__name__} with a value in it that is not known while tracing cannot be recorded"
                    f"{at(caller_location())}; use a tuple, a list or a dict"
                )
            case _:
                return found

    def explained(self, error: Exception) -> TraceError | None:
        """Return what an error of the body comes from if that is a value that is not known; else None."""
        message = str(error)
        words = self.marks.in_words(message)
        if isinstance(error, TraceError) or (words == message and not re.search(r"\bRef\b", message)):
            return None
        return TraceError(
            f"a value that is not known while tracing stands where it has to be known{at(raised_at(error))}: {words}; "
            "give the argument that it comes from when tracing, or run the program instead of tracing it"
        )

    def graph(self, end: int | None, inputs: Sequence[Input] = (), result: Any = None) -> RequestGraph:
        """Return what was recorded, checked; `end` is the last node of the main branch, `result` what it returned."""
        for node in self.nodes:
            self._check_known(node)
        returned = self.value(result)
        self.marks.check_used()
        graph = RequestGraph(tuple(self.nodes), end, tuple(inputs), returned)
        graph.verify()
        return graph

    def _check_known(self, node: Node) -> None:
        """Names, parameters and constraints have to be known: `TraceError` for text in them that is not."""
        for text in _texts(node.op):
            if not is_constant(self.marks.value(text)):
                raise TraceError(
                    f"{type(node.op).__name__.lower()}{at(node.location)} has a name, parameter or constraint with "
                    "text in it that is not known while tracing; give the argument it needs when tracing"
                )


def _texts(found: Any) -> Iterator[str]:
    """Yield the text in an operation, deep."""
    if isinstance(found, str):
        yield found
    elif isinstance(found, tuple | list):
        for item in found:
            yield from _texts(item)
    elif dataclasses.is_dataclass(found) and not isinstance(found, type):
        for field in dataclasses.fields(found):
            yield from _texts(getattr(found, field.name))


def _holds_refs(found: Any) -> bool:
    if isinstance(found, Ref | MarkedText | Concat):
        return True
    if isinstance(found, list | tuple | set | frozenset):
        return any(_holds_refs(item) for item in found)
    if isinstance(found, dict):
        return any(map(_holds_refs, found.values()))
    if dataclasses.is_dataclass(found) and not isinstance(found, type):
        return any(_holds_refs(getattr(found, field.name)) for field in dataclasses.fields(found))
    return False
