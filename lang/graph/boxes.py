"""The cards of a graph as boxes, edges and groups, for notations that do their own layout (`notations.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .cards import Block, Card, Items, Span

MOST_CHARACTERS = 400  # of a box


@dataclass(frozen=True, slots=True)
class Box:
    """A card: lines of (text, kind of span)."""

    name: str
    lines: tuple[tuple[str, ...], ...]
    is_generated: bool


@dataclass(frozen=True, slots=True)
class Edge:
    """From box to box; `is_value`: what goes along it is values, not the prompt."""

    start: str
    end: str
    label: str = ""
    is_value: bool = False


@dataclass(slots=True)
class Boxes:
    """All of a graph; a group is (caption, the boxes in it)."""

    boxes: list[Box] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    groups: list[tuple[str, list[str]]] = field(default_factory=list)


Open = list[Edge]  # edges that still lack their end


def boxes_of(items: Items) -> Boxes:
    """Return the boxes of a graph."""
    made = Boxes()
    _walk(made, items, [])
    return made


def _walk(made: Boxes, items: Items, open_edges: Open) -> Open:
    """Add boxes for the items, entered by `open_edges`; return the edges that leave them."""
    for item in items:
        if isinstance(item, Card):
            open_edges = _card(made, item, open_edges)
        else:
            if not open_edges:  # a block needs a box to start from
                open_edges = _card(made, Card([]), open_edges)
            open_edges = _block(made, item, open_edges)
    return open_edges


def _card(made: Boxes, card: Card, open_edges: Open) -> Open:
    name = f"n{len(made.boxes)}"
    lines: list[tuple[str, ...]] = []
    for section in card.sections:
        if section.begins and section.role:
            lines.append((section.role.upper(),))
        lines.append(_words(section.spans))
    if card.requests > 1:
        lines.append((f"shared by {card.requests} requests",))
    kinds = {span.kind for section in card.sections for span in section.spans}
    made.boxes.append(Box(name, tuple(lines) or (("start",),), bool(kinds & {"gen", "select"})))
    made.edges.extend(Edge(edge.start, name, edge.label, edge.is_value) for edge in open_edges)
    return [Edge(name, "")]


def _words(spans: Sequence[Span]) -> tuple[str, ...]:
    text = "".join(span.text if span.kind == "text" else f"⟦{span.text}⟧" for span in spans)
    if len(text) > MOST_CHARACTERS:
        text = f"{text[: MOST_CHARACTERS // 2]}\n…\n{text[-MOST_CHARACTERS // 2 :]}"
    return tuple(text.strip("\n").split("\n"))


def _block(made: Boxes, block: Block, open_edges: Open) -> Open:
    first = len(made.boxes)
    leaving: Open = []
    for lane in block.lanes:
        caption = "" if block.kind in ("loop", "each") else lane.caption
        if lane.similar:
            caption = f"{caption} and {lane.similar} more".strip()
        entering = [Edge(edge.start, "", caption or edge.label, edge.is_value) for edge in open_edges]
        leaving += _walk(made, lane.items, entering)
    names = [box.name for box in made.boxes[first:]]
    if block.kind in ("loop", "each") and names:
        made.groups.append((block.lanes[0].caption, names))
    match block.kind:
        case "loop":
            return leaving
        case "branch":
            return [*leaving, *([Edge(e.start, "", "else") for e in open_edges] if block.passes_by else [])]
        case _:
            values = [Edge(edge.start, "", block.joins, is_value=True) for edge in leaving if block.joins]
            return [*open_edges, *values]
