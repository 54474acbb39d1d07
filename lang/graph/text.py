"""A graph as text: one line a node, indented by the blocks it lies in. Also the words of values, for drawings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..ir import (
    Apply,
    Argument,
    Arm,
    Body,
    Branch,
    Child,
    Collect,
    Fill,
    Fork,
    ForkEach,
    Gather,
    Gen,
    Input,
    Join,
    Keep,
    Loop,
    Merge,
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

INFIX = frozenset("+ == != < <= > >= in and or".split())


def graph_text(nodes: Sequence[Node], inputs: Sequence[Input], result: Value) -> str:
    """Return the lines of a graph."""
    depths: dict[int | None, int] = {None: 0}
    lines = [f"input {_input(given)}" for given in inputs]
    for node in nodes:
        depths[node.id] = depths[node.parent] + isinstance(node.op, Child | Arm | Body)
        parent = "-" if node.parent is None else f"<{node.parent}"
        lines.append(f"{node.id:>4}  {'  ' * depths[node.id]}{parent} {' '.join(words(node, nodes))}")
    if result is not None:
        lines.append(f"return {value_text(result)}")
    return "\n".join(lines)


def words(node: Node, nodes: Sequence[Node]) -> Iterator[str]:
    """Yield the words of a node's line: its operation and what that holds."""
    match node.op:
        case Fill(value):
            yield f"fill {value_text(value)}"
        case RoleBegin(role):
            yield f"begin {role}"
        case RoleEnd(role):
            yield f"end {role}"
        case Gen(name, sampling, constraint):
            yield f"gen {name or '_'} max_tokens={sampling.max_tokens} temperature={sampling.temperature:g}"
            if constraint is not None:
                yield repr(constraint)
        case Select(name, choices, method):
            yield f"select {name or '_'} from {value_text(choices)} by {method}"
        case Fork(num):
            yield f"fork {num}"
        case Child(index):
            yield f"branch {index}"
        case Join(ends, names):
            yield f"join {', '.join(names) or 'nothing'} of {', '.join(f'<{end}' for end in ends)}"
        case Keep(source, index):
            yield f"keep sample {index} of {value_text(source)}"
        case Set(name, value):
            yield f"set {name} = {value_text(value)}"
        case ScopeBegin(name):
            yield f"begin scope {name}"
        case ScopeEnd(name):
            yield f"end scope {name}"
        case _:
            yield from _control_words(node, nodes)


def _control_words(node: Node, nodes: Sequence[Node]) -> Iterator[str]:
    match node.op:
        case Branch():
            yield "if"
        case Arm(index):
            parent = nodes[node.parent].op if node.parent is not None else None
            condition = parent.conditions[index] if isinstance(parent, Branch) else None
            yield "else" if condition is True else f"case {value_text(condition)}"
        case Merge(names):
            yield f"end if, defining {', '.join(names) or 'nothing'}"
        case Loop(items, limit):
            yield f"for each of {value_text(items)}, at most {limit}"
        case ForkEach(items, limit):
            yield f"fork for each of {value_text(items)}, at most {limit}"
        case Body(name):
            yield f"with {name}"
        case Collect(names):
            yield f"end for, collecting {', '.join(names) or 'nothing'}"
        case Gather(name, names):
            yield f"gather {name} of {', '.join(names) or 'nothing'}"
        case _:
            raise AssertionError(f"{node.op!r} has no words")


def value_text(value: Value) -> str:
    """Return a value as a reader writes it: `name[0]@<node`, `{argument}`, `a == b`, `len(x)`."""
    match value:
        case tuple():
            return f"[{', '.join(map(value_text, value))}]"
        case Apply(function, (left, right)) if function in INFIX:
            return f"({value_text(left)} {function} {value_text(right)})"
        case Apply(function, arguments):
            return f"{function}({', '.join(map(value_text, arguments))})"
        case Reference(node, name, path):
            return f"{name}{_path(path)}@<{node}"
        case Argument(name, path):
            return f"{{{name}{_path(path)}}}"
        case _:
            return repr(value)


def _path(path: Sequence[str | int]) -> str:
    return "".join(f"[{key!r}]" for key in path)


def _input(given: Input) -> str:
    schema = "" if given.schema is None else f": {given.schema}"
    return f"{given.name}{schema}{'' if given.required else f' = {value_text(given.default)}'}"
