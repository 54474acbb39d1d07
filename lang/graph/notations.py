"""A graph in the notations of Mermaid and of Graphviz (DOT), whose programs lay it out themselves."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir import Node
from .boxes import Box, Boxes, boxes_of
from .cards import cards_of

GENERATED, KNOWN = "#dafbe1", "#f6f8fa"


def draw_mermaid(nodes: Sequence[Node]) -> str:
    """Return a Mermaid flowchart, as READMEs and wikis show it."""
    made = boxes_of(cards_of(nodes))
    lines = ["flowchart TD"]
    grouped = {name: caption for caption, names in made.groups for name in names}
    lines += [f"  {_mermaid_box(box)}" for box in made.boxes if box.name not in grouped]
    for number, (caption, _) in enumerate(made.groups):
        lines.append(f'  subgraph g{number}["{_mermaid_text(caption)}"]')
        lines += [f"    {_mermaid_box(box)}" for box in made.boxes if _group_of(made, box.name) == number]
        lines.append("  end")
    for edge in made.edges:
        arrow = "-.->" if edge.is_value else "-->"
        label = f'|"{_mermaid_text(edge.label)}"|' if edge.label else ""
        lines.append(f"  {edge.start} {arrow}{label} {edge.end}")
    generated = [box.name for box in made.boxes if box.is_generated]
    if generated:
        lines.append(f"  classDef generated fill:{GENERATED},stroke:#4ac26b,color:#1f2328")
        lines.append(f"  class {','.join(generated)} generated")
    return "\n".join(lines) + "\n"


def draw_dot(nodes: Sequence[Node]) -> str:
    """Return a graph in Graphviz's language."""
    made = boxes_of(cards_of(nodes))
    lines = [
        "digraph request_graph {",
        '  graph [rankdir=TB, fontname="monospace", fontsize=10, style="rounded,dashed"];',
        '  node [shape=box, style="rounded,filled", fontname="monospace", fontsize=10];',
        '  edge [fontname="monospace", fontsize=9];',
    ]
    for box in made.boxes:
        fill = GENERATED if box.is_generated else KNOWN
        label = "".join(f"{_dot_text(text)}\\l" for line in box.lines for text in line)
        lines.append(f'  {box.name} [label="{label}", fillcolor="{fill}"];')
    for number, (caption, names) in enumerate(made.groups):
        lines.append(f'  subgraph cluster_{number} {{ label="{_dot_text(caption)}"; {"; ".join(names)}; }}')
    for edge in made.edges:
        style = ", style=dashed" if edge.is_value else ""
        lines.append(f'  {edge.start} -> {edge.end} [label="{_dot_text(edge.label)}"{style}];')
    return "\n".join([*lines, "}"]) + "\n"


def _group_of(made: Boxes, name: str) -> int | None:
    """The innermost group of a box: inner groups are noted before those around them."""
    return next((number for number, (_, names) in enumerate(made.groups) if name in names), None)


def _mermaid_box(box: Box) -> str:
    text = "<br/>".join(_mermaid_text(text) for line in box.lines for text in line)
    return f'{box.name}["{text}"]'


def _mermaid_text(text: str) -> str:
    """Text that Mermaid takes for nothing else: its entities are written `#code;`."""
    return "".join(c if c.isalnum() or c in " .,:-_()⟦⟧…×/" else f"#{ord(c)};" for c in text if c.isprintable())


def _dot_text(text: str) -> str:
    return "".join(c for c in text if c.isprintable()).replace("\\", "\\\\").replace('"', '\\"')
