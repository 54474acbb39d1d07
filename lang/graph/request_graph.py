"""`RequestGraph`: a program as an immutable tuple of nodes with parents and value references.

The parents make a tree: two branches of a fork share a parent as their prompts share a prefix in the radix cache.
Made by the tracer, by scripts and from JSON; executed by the interpreter, which adds `run` to it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, Self

from ..ir import Input, Node, Value
from .bind import bind
from .decode import decode_graph
from .encode import encode_graph
from .json_reader import read_json
from .limits import Limits
from .text import graph_text
from .verify import verify

DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class RequestGraph:
    """The nodes in the order in which they were recorded; `nodes[i].id == i`.

    `end`: last node of the main prompt. `inputs`: the parameters left open. `result`: what a run gives back as
    `result.value`. `str(graph)` prints one line a node, indented by the blocks it lies in.
    """

    nodes: tuple[Node, ...]
    end: int | None = None
    inputs: tuple[Input, ...] = ()
    result: Value = None

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

    def verify(self, limits: Limits = DEFAULT_LIMITS) -> None:
        """Raise `ProgramError` naming the first node that breaks a rule.

        - ids count up from 0; parents and references point backwards; a prompt goes on in one way, or forks;
        - a role opens outside roles and closes the role that is open; scopes close in pairs, on the prompt they began
          on; what a branch opens it closes;
        - a variable is defined once along a prompt. A value names a function that there is, an input of the graph, or
          a variable of the node it points to, which lies on the same prompt or on a branch of a fork (it is waited
          for), and in no arm or body that the reader is not in;
        - a fork has all its branches, a `Branch` an arm for each condition, a `Loop` or `ForkEach` a body, and each is
          closed; arms end in one and the same role, and a loop's body in the role it began in;
        - text goes on after `n > 1` samples only with one of them; `limits` hold.
        """
        verify(self.nodes, self.end, self.inputs, self.result, limits)

    def bind(self, **arguments: Any) -> Self:
        """Return the graph with values for some of its inputs; `ParameterError` for one that it does not take."""
        nodes, inputs, result = bind(self.nodes, self.inputs, self.result, arguments)
        return replace(self, nodes=nodes, inputs=inputs, result=result)

    # ---- as JSON ---------------------------------------------------------------------------------------------------

    def to_json(self, *, indent: int | None = None) -> str:
        """Return the graph as JSON text, the same for the same graph.

        Places in source files are left out, and so is what a program's own classes make of generated text: a decoded
        graph gives ints, floats, bools, members of a `Literal` and plain JSON. Raises `ProgramError` for a value that
        JSON has no form for.
        """
        plain = encode_graph(self.nodes, self.end, self.inputs, self.result)
        return json.dumps(plain, ensure_ascii=False, indent=indent, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes, limits: Limits = DEFAULT_LIMITS) -> Self:
        """Return the graph that `to_json` wrote, verified. Executes nothing; needs no trust in the text.

        Raises `ProgramError` with the path of what is wrong: an unknown version, operation or field, a value of
        another type, or a rule of `verify` that is broken.
        """
        graph = cls(*decode_graph(read_json(text), limits))
        graph.verify(limits)
        return graph

    # ---- as a drawing ----------------------------------------------------------------------------------------------

    def to_mermaid(self) -> str:
        """Return the graph as a Mermaid flowchart."""
        from .notations import draw_mermaid  # drawings are for those who look

        return draw_mermaid(self.nodes)

    def to_dot(self) -> str:
        """Return the graph in Graphviz's language."""
        from .notations import draw_dot

        return draw_dot(self.nodes)

    def __str__(self) -> str:
        return graph_text(self.nodes, self.inputs, self.result)
