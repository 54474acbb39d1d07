"""The rules that a graph obeys, wherever it comes from: traced, compiled from a script, or decoded.

`verify` walks the nodes once, in order, keeping for every prompt what holds at its present end. It runs nothing.
What values may read is checked in `verify_values.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ..errors import ProgramError
from ..ir import (
    ROLES,
    Arm,
    Body,
    Branch,
    Child,
    Collect,
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
    RoleBegin,
    RoleEnd,
    ScopeBegin,
    ScopeEnd,
    Set,
    Value,
)
from .limits import Limits, most_tokens
from .verify_values import ValueRules, broken

CLOSER_OF: dict[type, type] = {Branch: Merge, Loop: Collect, ForkEach: Gather}
INNER_OF: dict[type, type] = {Fork: Child, Branch: Arm, Loop: Body, ForkEach: Body}
TEXTLESS = RoleEnd | Set | ScopeBegin | Join | Child | Arm | Body | Merge | Collect | Gather


def verify(nodes: Sequence[Node], end: int | None, inputs: Sequence[Input], result: Value, limits: Limits) -> None:
    """Raise `ProgramError` naming the first node that breaks a rule; see `RequestGraph.verify`."""
    if len(nodes) > limits.nodes:
        raise ProgramError(f"the graph has {len(nodes)} nodes; at most {limits.nodes} are allowed")
    if end is not None and not 0 <= end < len(nodes):
        raise ProgramError(f"the graph ends at node {end}, which does not exist")
    walk = _Walk(nodes, ValueRules(nodes, inputs, limits), limits)
    last = walk.run()
    if end is not None and end != last:
        raise ProgramError(f"the graph ends at node {end}, but its main prompt ends at node {last}")
    walk.values.check_result(result)
    if limits.tokens is not None and (tokens := most_tokens(nodes)) > limits.tokens:
        raise ProgramError(f"the graph may generate {tokens} tokens; at most {limits.tokens} are allowed")


@dataclass(slots=True)
class _Prompt:
    """What holds at the present end of one prompt; it moves on from node to node.

    `region`: the arms and bodies it lies in, outermost first. `owns_role`: the open role was opened on this prompt, not
    before the branch began. `samples`: the gen with `n > 1` that waits for a `Keep`.
    """

    last: int | None = None
    names: set[str] = field(default_factory=set)
    role: str | None = None
    owns_role: bool = True
    scopes: tuple[str, ...] = ()
    samples: str | None = None
    region: tuple[int, ...] = ()
    depth: int = 0


@dataclass(slots=True)
class _Block:
    """A fork, branch or loop that was opened: what held there, what is inside, and the node that closed it."""

    opening: _Prompt
    inside: dict[int, _Prompt] = field(default_factory=dict)  # by index of the child, arm or body
    closer: int | None = None


class _Walk:
    """One pass over the nodes of a graph."""

    def __init__(self, nodes: Sequence[Node], values: ValueRules, limits: Limits) -> None:
        self.nodes = nodes
        self.values = values
        self.limits = limits
        self.main = _Prompt()
        self.ends: dict[int | None, _Prompt] = {None: self.main}  # the prompts, by the node each of them ends at
        self.blocks: dict[int, _Block] = {}

    def run(self) -> int | None:
        """Check every node and return the last one of the main prompt."""
        for position, node in enumerate(self.nodes):
            if node.id != position:
                broken(node, f"has id {node.id} at position {position}")
            if node.parent is not None and not 0 <= node.parent < position:
                broken(node, f"has parent {node.parent}, which does not come before it")
            if isinstance(node.op, Child | Arm | Body):
                prompt = self._enter(node)
            else:
                prompt = self._continue(node)
            prompt.last = node.id
            self.ends[node.id] = prompt
            self.values.check(node, prompt.region)
            self._apply(node, prompt)
            for name in node.defines:
                if name in prompt.names:
                    broken(node, f"defines variable {name!r} a second time")
                prompt.names.add(name)
            if type(node.op) in INNER_OF:
                self.blocks[node.id] = _Block(replace(prompt, names=set(prompt.names)))
        for opener, block in self.blocks.items():
            self._check_complete(self.nodes[opener], block)
        self._check_end(self.main)
        return self.main.last

    # ---- where a node stands ---------------------------------------------------------------------------------------

    def _enter(self, node: Node) -> _Prompt:
        """Return the prompt of a child, arm or body that begins here."""
        opener = None if node.parent is None else self.nodes[node.parent]
        if opener is None or INNER_OF.get(type(opener.op)) is not type(node.op):
            wanted = " or ".join(f"a {kind.__name__}" for kind, inner in INNER_OF.items() if inner is type(node.op))
            broken(node, f"has a parent that is not {wanted.lower() if isinstance(node.op, Child) else wanted}")
        block = self.blocks[opener.id]
        index = 0 if isinstance(node.op, Body) else node.op.index  # type: ignore[union-attr]  # a child or an arm
        num = _num_inside(opener)
        if not 0 <= index < num or index in block.inside:
            broken(node, f"is branch {index} of a {type(opener.op).__name__.lower()} with {num} branches")
        if block.closer is not None:
            broken(node, f"comes after node {block.closer}, which closes its parent")
        opening = block.opening
        if opening.depth >= self.limits.nesting:
            broken(node, f"is nested more than {self.limits.nesting} blocks deep")
        is_branch = isinstance(opener.op, Fork | ForkEach)  # a prompt of its own
        block.inside[index] = replace(
            opening,
            names=set(opening.names),
            owns_role=False,
            scopes=() if is_branch else opening.scopes,
            region=opening.region if isinstance(node.op, Child) else (*opening.region, node.id),
            depth=opening.depth + 1,
        )
        return block.inside[index]

    def _continue(self, node: Node) -> _Prompt:
        """Return the prompt that `node` is appended to."""
        prompt = self.ends.pop(node.parent, None)
        if prompt is None:
            broken(node, "is a second continuation of its parent; a prompt goes on in one way, or forks")
        parent = None if node.parent is None else self.nodes[node.parent]
        closer = None if parent is None else CLOSER_OF.get(type(parent.op))
        if isinstance(node.op, Merge | Collect | Gather):
            if parent is None or type(node.op) is not closer:
                broken(node, "has a parent that it does not close")
            self._close(node, self.blocks[parent.id], prompt)
        elif parent is not None and closer is not None:
            broken(node, f"follows node {parent.id} ({type(parent.op).__name__}), which a {closer.__name__} closes")
        return prompt

    def _close(self, node: Node, block: _Block, prompt: _Prompt) -> None:
        """Check what a closer gathers, and go on in the role that its arms leave."""
        block.closer = node.id
        opener = self.nodes[node.parent or 0]
        match opener.op, node.op:
            case Branch(conditions), Merge(names, sources):
                regions = [inside.region for _, inside in sorted(block.inside.items())]
                if len(regions) != len(conditions) or any(len(row) != len(regions) for row in sources):
                    broken(node, f"does not gather from each of the {len(conditions)} arms")
                self.values.check_gathered(node, names, sources, regions)
                ends = {(inside.role, inside.scopes) for inside in block.inside.values()}
                if True not in conditions:
                    ends.add((prompt.role, prompt.scopes))  # no arm may be taken
                if len(ends) > 1:
                    roles = ", ".join(sorted({str(role) for role, _ in ends}))
                    broken(node, f"closes arms that end in different roles or scopes: {roles}")
                (prompt.role, prompt.scopes) = ends.pop()
                prompt.owns_role = prompt.owns_role or any(inside.owns_role for inside in block.inside.values())
            case Loop() | ForkEach(), Collect(names=names, sources=sources) | Gather(names=names, sources=sources):
                if 0 not in block.inside:
                    broken(node, "closes a loop without a body")
                body = block.inside[0]
                self.values.check_gathered(node, names, [(source,) for source in sources], [body.region])
                if isinstance(node.op, Collect) and (body.role, body.scopes) != (prompt.role, prompt.scopes):
                    broken(node, f"closes a body that begins in role {prompt.role} and ends in role {body.role}")

    # ---- what a node does to its prompt ----------------------------------------------------------------------------

    def _apply(self, node: Node, prompt: _Prompt) -> None:
        op = node.op
        if prompt.samples is not None and not isinstance(op, TEXTLESS | Keep):
            broken(node, f"follows gen {prompt.samples!r} with n > 1, and no sample of it is kept")
        match op:
            case RoleBegin(role):
                if role not in ROLES:
                    broken(node, f"opens role {role!r}; roles are {', '.join(ROLES)}")
                if prompt.role is not None:
                    broken(node, f"opens role {role!r} inside role {prompt.role!r}")
                prompt.role, prompt.owns_role = role, True
            case RoleEnd(role):
                if prompt.role != role:
                    broken(node, f"closes role {role!r}, but the open role is {prompt.role!r}")
                prompt.role = None
            case ScopeBegin(name):
                if name in prompt.scopes or name in prompt.names:
                    broken(node, f"begins scope {name!r}, a name that is taken")
                prompt.scopes = (*prompt.scopes, name)
            case ScopeEnd(name):
                if name not in prompt.scopes:
                    broken(node, f"ends scope {name!r}, which is not open")
                prompt.scopes = tuple(scope for scope in prompt.scopes if scope != name)
            case Gen(name, sampling) if sampling.n > 1:
                prompt.samples = name or "_"
            case Keep(source):
                if prompt.samples != source.name:
                    broken(node, f"keeps a sample of {source.name!r}, which does not wait for a choice")
                prompt.samples = None
            case _:
                pass

    # ---- at the end ------------------------------------------------------------------------------------------------

    def _check_complete(self, opener: Node, block: _Block) -> None:
        num = _num_inside(opener)
        if len(block.inside) != num:
            broken(opener, f"has {len(block.inside)} of {num} branches")
        if type(opener.op) in CLOSER_OF and block.closer is None:
            broken(opener, f"is never closed; a {CLOSER_OF[type(opener.op)].__name__} has to follow")
        for inside in block.inside.values():
            if block.closer is not None and inside.last is not None and inside.last > block.closer:
                broken(self.nodes[inside.last], f"comes after node {block.closer}, which closes the block it is in")
            if isinstance(opener.op, Fork | ForkEach):
                self._check_end(inside)

    def _check_end(self, prompt: _Prompt) -> None:
        if prompt.last is None:
            return
        last = self.nodes[prompt.last]
        if prompt.role is not None and prompt.owns_role:
            broken(last, f"is the end of its prompt, and role {prompt.role!r} is still open")
        if prompt.scopes:
            broken(last, f"is the end of its prompt, and scope {prompt.scopes[-1]!r} is still open")


def _num_inside(opener: Node) -> int:
    match opener.op:
        case Fork(num):
            return num
        case Branch(conditions):
            return len(conditions)
        case _:
            return 1
