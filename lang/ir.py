"""The closed set of operations a program consists of, as frozen facts, and `Node`, which puts one into a graph.

Made by the recorder only; read by the evaluator, the request graph and its passes. Nothing here runs anything.
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


Value = str | Reference | Argument


@dataclass(frozen=True, slots=True)
class Fill:
    """Append text: a constant, or data from a variable or argument."""

    value: Value

    @property
    def is_data(self) -> bool:
        """True when the text is not known before the program runs."""
        return not isinstance(self.value, str)


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
    """Choose the most likely of `choices` by the scoring rule `method` and append it."""

    name: str | None
    choices: tuple[Value, ...]
    method: str


@dataclass(frozen=True, slots=True)
class Fork:
    """From here `num` branches start, each a `Branch` whose parent is this node."""

    num: int


@dataclass(frozen=True, slots=True)
class Branch:
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


Op = Fill | RoleBegin | RoleEnd | Gen | Select | Fork | Branch | Join | Keep | Set | ScopeBegin | ScopeEnd


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
            case Join(names=names):
                return names
            case _:
                return ()
