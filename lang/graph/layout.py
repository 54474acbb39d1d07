"""Where everything of a drawing stands: cards below each other, lanes side by side, the prompt's own line at the left.

Sizes first, from the inside out, then places, from the outside in. Units are pixels. Used by `svg.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .cards import Block, Card, Items, Lane
from .flow import Line, set_lines, shortened, width_of

COLUMN, LINE = 7.25, 18.0  # one character, one line
PAD_X, PAD_Y = 13.0, 9.0
LABEL = 15.0  # the line with a role's name
BADGE = 15.0  # the line with a card's counts
GAP = 20.0  # between what stands below each other
LANE_GAP, BUS, TRUNK = 22.0, 20.0, 16.0
INDENT = 44.0  # of lanes beside a prompt that goes on
CAPTION = 24.0
ROW_WIDTH = 1120.0
COLUMNS = (50, 40, 34)  # of text, by depth


@dataclass(slots=True)
class PlacedCard:
    """A card with its lines; `sections` are (role or None, lines)."""

    card: Card
    sections: list[tuple[str | None, list[Line]]]
    badge: str
    width: float = 0.0
    height: float = 0.0
    x: float = 0.0
    y: float = 0.0


@dataclass(slots=True)
class PlacedLane:
    """A lane: its caption, and a column of cards and blocks."""

    lane: Lane
    caption: str
    column: Column
    x: float = 0.0
    y: float = 0.0

    @property
    def caption_height(self) -> float:
        """What the caption takes."""
        return CAPTION if self.caption else 0.0

    @property
    def footer_height(self) -> float:
        """What the remark on similar lanes takes."""
        return LINE if self.lane.similar else 0.0

    @property
    def width(self) -> float:
        """Of its widest part."""
        return max(self.column.width, width_of(self.caption) * COLUMN + 20)

    @property
    def height(self) -> float:
        """Of all of it."""
        return self.caption_height + self.column.height + self.footer_height


@dataclass(slots=True)
class PlacedBlock:
    """A block: rows of lanes, beside the prompt's line where that goes on."""

    block: Block
    rows: list[list[PlacedLane]]
    width: float = 0.0
    height: float = 0.0
    x: float = 0.0
    y: float = 0.0

    @property
    def indent(self) -> float:
        """How far its lanes stand beside the prompt's own line."""
        return INDENT if self.block.passes_by and self.block.kind != "loop" else 0.0

    @property
    def is_framed(self) -> bool:
        """True when something is repeated, which a frame shows."""
        return self.block.kind in ("loop", "each")

    @property
    def foot(self) -> float:
        """Room below the lanes, where they meet again."""
        if self.block.joins:
            return BUS + 10.0
        return BUS + 4.0 if self.block.kind == "branch" else 4.0


Placed = PlacedCard | PlacedBlock


@dataclass(slots=True)
class Column:
    """Cards and blocks below each other."""

    items: list[Placed] = field(default_factory=list)
    width: float = 0.0
    height: float = 0.0


def lay_out(items: Items, tokens: dict[int, int]) -> Column:
    """Return the column of a graph with all places set; `tokens` are known counts by node."""
    column = _column(items, tokens, 0)
    _place(column, 0.0, 0.0)
    return column


# ---- sizes ---------------------------------------------------------------------------------------------------------


def _column(items: Items, tokens: dict[int, int], depth: int) -> Column:
    placed: list[Placed] = [
        _card(item, tokens, depth) if isinstance(item, Card) else _block(item, tokens, depth) for item in items
    ]
    width = max((item.width for item in placed), default=0.0)
    height = sum(item.height for item in placed) + GAP * max(len(placed) - 1, 0)
    return Column(placed, width, height)


def _card(card: Card, tokens: dict[int, int], depth: int) -> PlacedCard:
    columns = COLUMNS[min(depth, len(COLUMNS) - 1)]
    sections = [
        (section.role if section.begins else None, set_lines(section.spans, columns)) for section in card.sections
    ]
    badge = _badge(card, tokens)
    widest = max((run.column + run.width for _, lines in sections for line in lines for run in line), default=0)
    labels = max([width_of(badge) * 0.82, *(len(role or "") + 2 for role, _ in sections)], default=0)
    width = max(widest, labels, 8) * COLUMN + 2 * PAD_X
    height = 2 * PAD_Y + sum(len(lines) * LINE + (LABEL if role else 0.0) for role, lines in sections)
    height += 7.0 * (len(sections) - 1) + (BADGE if badge else 0.0)
    return PlacedCard(card, sections, badge, width, height)


def _badge(card: Card, tokens: dict[int, int]) -> str:
    num = sum(tokens.get(node, 0) for node in card.nodes)
    parts = [f"{num} token{'s' * (num != 1)}"] if num else []
    if card.requests > 1:
        parts.append(f"shared by {card.requests} requests")
    return ", ".join(parts)


def _block(block: Block, tokens: dict[int, int], depth: int) -> PlacedBlock:
    columns = COLUMNS[0]
    lanes = [
        PlacedLane(lane, shortened(lane.caption, columns), _column(lane.items, tokens, depth + 1))
        for lane in block.lanes
    ]
    placed = PlacedBlock(block, _rows(lanes))
    frame = 2 * PAD_X if placed.is_framed else 0.0
    widths = [sum(lane.width for lane in row) + LANE_GAP * (len(row) - 1) for row in placed.rows]
    heights = [max(lane.height for lane in row) for row in placed.rows]
    placed.width = placed.indent + max(widths, default=0.0) + frame
    placed.height = sum(heights) + BUS * len(heights) + placed.foot
    if placed.is_framed:
        placed.height = sum(heights) + 2 * PAD_Y + (BUS + placed.foot if block.kind == "each" else 0.0)
    return placed


def _rows(lanes: Sequence[PlacedLane]) -> list[list[PlacedLane]]:
    """Break lanes into rows that are not too wide."""
    rows: list[list[PlacedLane]] = []
    width = 0.0
    for lane in lanes:
        if rows and width + lane.width <= ROW_WIDTH:
            rows[-1].append(lane)
            width += lane.width + LANE_GAP
        else:
            rows.append([lane])
            width = lane.width + LANE_GAP
    return rows


# ---- places --------------------------------------------------------------------------------------------------------


def _place(column: Column, x: float, y: float) -> None:
    for item in column.items:
        item.x, item.y = x, y
        if isinstance(item, PlacedBlock):
            _place_lanes(item)
        y += item.height + GAP


def _place_lanes(block: PlacedBlock) -> None:
    frame_x, frame_y = (PAD_X, PAD_Y) if block.is_framed else (0.0, 0.0)
    y = block.y + frame_y + (0.0 if block.block.kind == "loop" else BUS)
    for row in block.rows:
        x = block.x + block.indent + frame_x
        for lane in row:
            lane.x, lane.y = x, y
            _place(lane.column, x, y + lane.caption_height)
            x += lane.width + LANE_GAP
        y += max(lane.height for lane in row) + BUS
