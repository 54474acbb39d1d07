"""`RequestGraph`: a program as an immutable tuple of nodes with parents and value references, and the rules it obeys.

The parents make a tree: two branches of a fork share a parent as their prompts share a prefix in the radix cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .errors import ProgramError
from .ir import (
    Apply,
    Argument,
    Child,
    Fill,
    Fork,
    Gen,
    Join,
    Keep,
    Node,
    Reference,
    RoleBegin,
    RoleEnd,
    ScopeBegin,
    ScopeEnd,
    Select,
    Set,
    Value,
)
from .location import at

MAX_NODES = 10_000


@dataclass(frozen=True, slots=True)
class RequestGraph:
    """The nodes in the order in which they were recorded; `nodes[i].id == i`. `end`: last node of the main branch.

    `str(graph)` prints one line a node, indented by branch depth.
    """

    nodes: tuple[Node, ...]
    end: int | None = None

    def path(self, node_id: int | None) -> tuple[Node, ...]:
        """Return the nodes from the start of the prompt to `node_id`, both included."""
        path: list[Node] = []
        while node_id is not None:
            path.append(self.nodes[node_id])
            node_id = path[-1].parent
        return tuple(reversed(path))

    def children(self, node_id: int | None) -> tuple[Node, ...]:
        """Return the nodes whose parent is `node_id`."""
        return tuple(node for node in self.nodes if node.parent == node_id)

    def verify(self) -> None:
        """Raise `ProgramError` naming the first node that breaks a rule.

        - ids count up from 0, parents and references point backwards, at most `MAX_NODES` nodes;
        - a role opens outside roles and closes the role that is open; scopes close in pairs;
        - a variable is defined once along a prompt; a reference names a variable of the node it points to, and that
          node lies on the same prompt or on a branch (whose value is waited for);
        - a branch follows its fork, with its own index below the fork's number; a join names what its branches define.
        """
        if len(self.nodes) > MAX_NODES:
            raise ProgramError(f"the graph has {len(self.nodes)} nodes; at most {MAX_NODES} are allowed")
        if self.end is not None and not 0 <= self.end < len(self.nodes):
            raise ProgramError(f"the graph ends at node {self.end}, which does not exist")
        facts: list[_Facts] = []
        seen: set[tuple[int | None, int]] = set()
        for position, node in enumerate(self.nodes):
            if node.id != position:
                _broken(node, f"has id {node.id} at position {position}")
            if node.parent is not None and not 0 <= node.parent < position:
                _broken(node, f"has parent {node.parent}, which does not come before it")
            before = _START if node.parent is None else facts[node.parent]
            facts.append(self._check(node, before, seen))

    def _check(self, node: Node, before: _Facts, seen: set[tuple[int | None, int]]) -> _Facts:
        role, names, scopes = before.role, before.names, before.scopes
        match node.op:
            case Fill(value):
                self._check_value(node, value)
            case Select(choices=choices):
                self._check_value(node, choices)
            case RoleBegin(opened):
                if role is not None:
                    _broken(node, f"opens role {opened!r} inside role {role!r}")
                role = opened
            case RoleEnd(closed):
                if role != closed:
                    _broken(node, f"closes role {closed!r}, but the open role is {role!r}")
                role = None
            case ScopeBegin(name):
                scopes = (*scopes, name)
            case ScopeEnd(name):
                if name not in scopes:
                    _broken(node, f"ends scope {name!r}, which is not open")
                scopes = tuple(scope for scope in scopes if scope != name)
            case Child(index):
                self._check_branch(node, index, seen)
            case Keep(source, index):
                self._check_keep(node, source, index)
            case Join():
                self._check_join(node, node.op)
            case Set(value=Reference() | Argument() as value):
                self._check_value(node, value)
        for name in node.defines:
            if name in names:
                _broken(node, f"defines variable {name!r} a second time")
        return _Facts(role, names | set(node.defines), scopes)

    def _check_value(self, node: Node, value: Value) -> None:
        if isinstance(value, Apply | tuple):
            for item in value.arguments if isinstance(value, Apply) else value:
                self._check_value(node, item)
        elif isinstance(value, Reference):
            if not 0 <= value.node < node.id:
                _broken(node, f"reads node {value.node}, which does not come before it")
            if value.name not in self.nodes[value.node].defines:
                _broken(node, f"reads variable {value.name!r} of node {value.node}, which does not define it")

    def _check_branch(self, node: Node, index: int, seen: set[tuple[int | None, int]]) -> None:
        fork = None if node.parent is None else self.nodes[node.parent].op
        if not isinstance(fork, Fork):
            _broken(node, "is a branch, but its parent is not a fork")
        elif not 0 <= index < fork.num or (node.parent, index) in seen:
            _broken(node, f"is branch {index} of a fork with {fork.num} branches")
        seen.add((node.parent, index))

    def _check_keep(self, node: Node, source: Reference, index: int) -> None:
        self._check_value(node, source)
        op = self.nodes[source.node].op
        if not isinstance(op, Gen) or not 0 <= index < op.sampling.n:
            _broken(node, f"keeps sample {index} of node {source.node}, which has no such sample")

    def _check_join(self, node: Node, join: Join) -> None:
        if any(not 0 <= end < node.id for end in join.ends):
            _broken(node, "joins a branch that does not come before it")
        for name, sources in zip(join.names, join.sources, strict=True):
            for source in sources:
                if source is not None and (not 0 <= source < node.id or name not in self.nodes[source].defines):
                    _broken(node, f"gathers {name!r} from node {source}, which does not define it")

    def __str__(self) -> str:
        depths: dict[int | None, int] = {None: 0}
        lines = []
        for node in self.nodes:
            depths[node.id] = depths[node.parent] + isinstance(node.op, Child)
            lines.append(f"{node.id:>4}  {'  ' * depths[node.id]}{' '.join(_words(node))}")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class _Facts:
    """What holds after a node, along its prompt."""

    role: str | None = None
    names: frozenset[str] = frozenset()
    scopes: tuple[str, ...] = ()


_START = _Facts()


def _broken(node: Node, what: str) -> None:
    raise ProgramError(f"node {node.id} ({type(node.op).__name__}){at(node.location)} {what}")


def _words(node: Node) -> Iterator[str]:
    """The words of a node's line: parent, operation, what it holds."""
    yield "-" if node.parent is None else f"<{node.parent}"
    match node.op:
        case Fill(value):
            yield f"fill {_value(value)}"
        case RoleBegin(role):
            yield f"begin {role}"
        case RoleEnd(role):
            yield f"end {role}"
        case Gen(name, sampling, constraint):
            yield f"gen {name or '_'} max_tokens={sampling.max_tokens} temperature={sampling.temperature:g}"
            if constraint is not None:
                yield repr(constraint)
        case Select(name, choices, method):
            yield f"select {name or '_'} from {_value(choices)} by {method}"
        case Fork(num):
            yield f"fork {num}"
        case Child(index):
            yield f"branch {index}"
        case Join(ends, names):
            yield f"join {', '.join(names) or 'nothing'} of {', '.join(f'<{end}' for end in ends)}"
        case Keep(source, index):
            yield f"keep sample {index} of {_value(source)}"
        case Set(name, value):
            yield f"set {name} = {value!r}"
        case ScopeBegin(name):
            yield f"begin scope {name}"
        case ScopeEnd(name):
            yield f"end scope {name}"


def _value(value: Value) -> str:
    match value:
        case tuple():
            return f"[{', '.join(map(_value, value))}]"
        case Apply(function, arguments):
            return f"{function}({', '.join(map(_value, arguments))})"
        case Reference(node, name, path):
            return f"{name}{''.join(f'[{key!r}]' for key in path)}@<{node}"
        case Argument(name, path):
            return f"{{{name}{''.join(f'[{key!r}]' for key in path)}}}"
        case _:
            return repr(value)
