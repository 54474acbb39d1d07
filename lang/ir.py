"""The closed set of operations a program consists of, as frozen facts, and `Node`, which puts one into a graph.

Made by the recorder (Python programs) and by the script compiler, which alone makes control that depends on values
(`Branch`, `Loop`, `ForkEach`); read by the evaluator, the request graph and its passes. Nothing here runs anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .constraints import Constraint
from .sampling import Sampling

ROLES: tuple[str, ...] = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class Reference:
    """The value of variable `name`, defined by node number `node`; `path` are the keys applied to it."""

    node: int
    name: str
    path: tuple[str | int, ...] = ()


@dataclass(frozen=True, slots=True)
class Argument:
    """The value of a program's parameter that was left open; `path` are the keys applied to it."""

    name: str
    path: tuple[str | int, ...] = ()


@dataclass(frozen=True, slots=True)
class Apply:
    """The value of a pure function of other values; `function` is a name in `evaluate.FUNCTIONS`."""

    function: str
    arguments: tuple[Value, ...]


Value = str | int | float | bool | None | tuple["Value", ...] | Reference | Argument | Apply
"""What an operation reads: a constant, or something known only when the program runs. A tuple is a list of values."""


@dataclass(frozen=True, slots=True)
class Input:
    """A parameter that a graph leaves open, an `Argument` of that name in its nodes.

    `schema`: a JSON schema, as text, that its values have to fit; None takes anything. A value that is not given is
    `default`, unless the input is `required`.
    """

    name: str
    schema: str | None = None
    default: Value = None
    required: bool = True


def is_constant(value: Value) -> bool:
    """True when the value is known before the program runs."""
    if isinstance(value, tuple):
        return all(is_constant(item) for item in value)
    return not isinstance(value, Reference | Argument | Apply)


@dataclass(frozen=True, slots=True)
class Fill:
    """Append text: a constant, or data from a variable or argument (its text: see `evaluate.text_of`)."""

    value: Value


@dataclass(frozen=True, slots=True)
class RoleBegin:
    """Open a message of `role`."""

    role: str


@dataclass(frozen=True, slots=True)
class RoleEnd:
    """Close the open message of `role`."""

    role: str


@dataclass(frozen=True, slots=True)
class Gen:
    """Generate text and call its value `name` (None: not readable).

    `parse` turns the raw text into the value; it follows from the constraint, so it does not count in comparisons.
    """

    name: str | None
    sampling: Sampling
    constraint: Constraint | None = None
    parse: Callable[[str], Any] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Select:
    """Choose the most likely of `choices`, a tuple of texts or a value that is a list, by `method` and append it."""

    name: str | None
    choices: Value
    method: str


@dataclass(frozen=True, slots=True)
class Fork:
    """From here `num` branches start, each a `Child` whose parent is this node."""

    num: int


@dataclass(frozen=True, slots=True)
class Child:
    """The start of branch `index` of the fork that is its parent."""

    index: int


@dataclass(frozen=True, slots=True)
class Join:
    """Gather the variables `names` of branches, in branch order, as tuples.

    `ends` are the last nodes of the branches; `sources[i][j]` is the node that defines `names[i]` in branch `j`, or
    None where that branch has no such variable (its entry is then None).
    """

    ends: tuple[int, ...]
    names: tuple[str, ...]
    sources: tuple[tuple[int | None, ...], ...]


@dataclass(frozen=True, slots=True)
class Keep:
    """Go on with sample `index` of the variable `source`, which was generated with `n > 1`."""

    source: Reference
    index: int


@dataclass(frozen=True, slots=True)
class Set:
    """Give variable `name` a value without touching the text."""

    name: str
    value: Any


@dataclass(frozen=True, slots=True)
class ScopeBegin:
    """Start collecting text for variable `name`."""

    name: str


@dataclass(frozen=True, slots=True)
class ScopeEnd:
    """Variable `name` is the text since its `ScopeBegin`."""

    name: str


@dataclass(frozen=True, slots=True)
class Branch:
    """Go on with the first arm whose condition holds; an `Arm` for each condition has this node as its parent.

    `conditions[i]` belongs to arm i; the constant True is an else. No arm at all may hold. A `Merge` ends it.
    """

    conditions: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Arm:
    """The start of arm `index` of the branch that is its parent."""

    index: int


@dataclass(frozen=True, slots=True)
class Merge:
    """The end of the `Branch` that is its parent; the text goes on from the arm that was taken.

    `names` are the variables the arms define; `sources[i][j]` is the node that defines `names[i]` in arm j, or None.
    Its value is that of the arm taken, or None.
    """

    names: tuple[str, ...]
    sources: tuple[tuple[int | None, ...], ...]


@dataclass(frozen=True, slots=True)
class Loop:
    """Go through the `Body` below it once for each of `items`, one after the other. A `Collect` ends it.

    `limit`: more items than this are an error of the run (`ProgramError`).
    """

    items: Value
    limit: int


@dataclass(frozen=True, slots=True)
class ForkEach:
    """Start a branch for each of `items` here, each a copy of the `Body` below it. A `Gather` ends it.

    `limit`: more items than this are an error of the run (`ProgramError`).
    """

    items: Value
    limit: int


@dataclass(frozen=True, slots=True)
class Body:
    """The start of what a `Loop` or `ForkEach`, its parent, repeats; variable `name` is the item."""

    name: str


@dataclass(frozen=True, slots=True)
class Collect:
    """The end of the `Loop` that is its parent; the text goes on from the last pass.

    `sources[i]` is the node of the body that defines `names[i]`; its value is the tuple of the values of all passes.
    """

    names: tuple[str, ...]
    sources: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Gather:
    """The end of the `ForkEach` that is its parent; the text goes on from where the branches started.

    Variable `name` is a tuple with a record (variable -> value) per branch; `sources[i]` is the node of the body that
    defines `names[i]` of the record.
    """

    name: str
    names: tuple[str, ...]
    sources: tuple[int, ...]


Op = (
    Fill | RoleBegin | RoleEnd | Gen | Select | Fork | Child | Join | Keep | Set | ScopeBegin | ScopeEnd
    | Branch | Arm | Merge | Loop | ForkEach | Body | Collect | Gather
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Node:
    """One operation in its place: `parent` is the node before it in the same prompt (None: the start of the prompt)."""

    id: int
    parent: int | None
    op: Op
    location: str | None = field(default=None, compare=False)

    @property
    def defines(self) -> tuple[str, ...]:
        """The names of the variables this node gives a value."""
        match self.op:
            case Gen(name=str(name)) | Select(name=str(name)) | Set(name=name) | ScopeEnd(name=name):
                return (name,)
            case Body(name=name) | Gather(name=name):
                return (name,)
            case Join(names=names) | Merge(names=names) | Collect(names=names):
                return names
            case _:
                return ()
