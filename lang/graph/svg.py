"""A graph as an SVG drawing that stands alone: no scripts, no fonts, light and dark by the reader's scheme.

Shapes only; what is drawn comes from `cards.py`, where it stands from `layout.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import zip_longest

from ..ir import Input, Node
from .cards import cards_of
from .flow import Run, shortened, width_of
from .layout import (
    BADGE,
    BUS,
    CAPTION,
    COLUMN,
    LABEL,
    LINE,
    PAD_X,
    PAD_Y,
    TRUNK,
    Column,
    PlacedBlock,
    PlacedCard,
    PlacedLane,
    lay_out,
)

MARGIN = 22.0
MOST_LINKS = 40  # between values and where they are read; more would hide the cards
LEGEND = (
    ("text", "known text"),
    ("input", "input"),
    ("gen", "generated"),
    ("select", "chosen"),
    ("dependent", "depends on generated values"),
)
STYLE = """
.rg text{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#1f2328}
.rg .small{font-size:10px;fill:#59636e}
.rg .role{font-size:9.5px;font-weight:600;letter-spacing:.08em;fill:#59636e}
.rg .note{fill:#8c959f;font-style:italic}
.rg .page{fill:#fff}.rg .card{fill:#f6f8fa;stroke:#d1d9e0}.rg .rule{stroke:#d1d9e0}
.rg .line{fill:none;stroke:#8c959f;stroke-width:1.4}.rg .meet{stroke-dasharray:4 3}.rg .tip{fill:#8c959f}
.rg .frame{fill:none;stroke:#8c959f;stroke-dasharray:5 4}.rg .behind{fill:#fff;stroke:#d1d9e0}
.rg .caption{fill:#eff2f5;stroke:#d1d9e0}.rg .link{fill:none;stroke:#bf8700;stroke-width:1.1;opacity:.55}
.rg .gen{fill:#dafbe1;stroke:#4ac26b}.rg .gen-text{fill:#0d5c22}
.rg .select{fill:#fbefff;stroke:#c297ff}.rg .select-text{fill:#6639ba}
.rg .input{fill:#ddf4ff;stroke:#54aeff}.rg .input-text{fill:#0550ae}
.rg .dependent{fill:#fff8c5;stroke:#d4a72c}.rg .dependent-text{fill:#7d4e00}
.rg .note-pill{fill:none;stroke:#d1d9e0}.rg .text-swatch{fill:#f6f8fa;stroke:#d1d9e0}
@media (prefers-color-scheme:dark){
.rg text{fill:#e6edf3}.rg .small,.rg .role{fill:#9198a1}.rg .note{fill:#7d8590}
.rg .page{fill:#0d1117}.rg .card,.rg .text-swatch{fill:#161b22;stroke:#3d444d}.rg .rule{stroke:#3d444d}
.rg .line{stroke:#6e7681}.rg .tip{fill:#6e7681}.rg .frame{stroke:#6e7681}.rg .behind{fill:#0d1117;stroke:#3d444d}
.rg .caption{fill:#21262d;stroke:#3d444d}.rg .link{stroke:#d29922}.rg .note-pill{stroke:#3d444d}
.rg .gen{fill:#12261e;stroke:#2ea043}.rg .gen-text{fill:#7ee787}
.rg .select{fill:#231738;stroke:#8957e5}.rg .select-text{fill:#d2a8ff}
.rg .input{fill:#0c2138;stroke:#388bfd}.rg .input-text{fill:#79c0ff}
.rg .dependent{fill:#2b2111;stroke:#bb8009}.rg .dependent-text{fill:#e3b341}
}
"""
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


def draw_svg(
    nodes: Sequence[Node], inputs: Sequence[Input], tokens: Mapping[int, int] | None = None, summary: str = ""
) -> str:
    """Return the drawing; `tokens` are counts by node, `summary` a line for the foot."""
    column = lay_out(cards_of(nodes), dict(tokens or {}))
    drawing = _Drawing()
    body = [*drawing.column(column)]
    links = [*drawing.links()]
    heading = f"inputs: {', '.join(given.name for given in inputs)}" if inputs else ""
    foot = [*_legend(drawing.kinds, column.height + 30), *_summary(summary, column.height + 52)]
    top = MARGIN + (20.0 if heading else 0.0)
    width = max(column.width, width_of(summary) * 6.1, _legend_width(drawing.kinds), width_of(heading) * COLUMN)
    width, height = width + 2 * MARGIN, top + column.height + (64 if summary else 44) + 6
    head = [f'<text x="{MARGIN:g}" y="{MARGIN + 2:g}" class="small">{_safe(heading)}</text>'] if heading else []
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="rg" role="img" width="{width:.0f}" height="{height:.0f}" '
            f'viewBox="0 0 {width:.0f} {height:.0f}">',
            f"<title>Request graph of {len(nodes)} nodes</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="page" width="{width:.0f}" height="{height:.0f}" rx="8"/>',
            *head,
            f'<g transform="translate({MARGIN:g} {top:g})">',
            *body,
            *links,
            *foot,
            "</g>",
            "</svg>",
            "",
        ]
    )


class _Drawing:
    """Shapes of one drawing, and where its values stand."""

    def __init__(self) -> None:
        self.kinds: set[str] = set()
        self.written: dict[int, tuple[float, float, int]] = {}  # node -> right end and middle of its pill, its card
        self.read: list[tuple[int, float, float, int]] = []  # (node read, left end and middle of the pill, its card)
        self._num_cards = 0

    def column(self, column: Column) -> Iterator[str]:
        """Draw cards and blocks, and the prompt's line through them."""
        for item, following in zip_longest(column.items, column.items[1:]):
            if isinstance(item, PlacedCard):
                yield from self._card(item)
            else:
                yield from self._block(item, is_last=following is None)
            if following is not None:
                x, y = item.x + TRUNK, item.y + item.height
                yield _path(f"M{x:g} {y:g}V{following.y:g}")

    def _card(self, card: PlacedCard) -> Iterator[str]:
        self._num_cards += 1
        x, y = card.x, card.y
        yield f"<g><title>{_safe(_whole(card))}</title>"
        yield f'<rect class="card" x="{x:g}" y="{y:g}" width="{card.width:g}" height="{card.height:g}" rx="7"/>'
        y += PAD_Y
        for place, (role, lines) in enumerate(card.sections):
            if place:
                yield f'<path class="rule" d="M{x:g} {y + 3:g}h{card.width:g}"/>'
                y += 7
            if role:
                yield f'<text class="role" x="{x + PAD_X:g}" y="{y + 9:g}">{_safe(role.upper())}</text>'
                y += LABEL
            for line in lines:
                for run in line:
                    yield from self._run(run, x + PAD_X, y)
                y += LINE
        if card.badge:
            end = x + card.width - PAD_X
            yield f'<text class="small" text-anchor="end" x="{end:g}" y="{y + BADGE - 4:g}">{_safe(card.badge)}</text>'
        yield "</g>"

    def _run(self, run: Run, x: float, y: float) -> Iterator[str]:
        x += run.column * COLUMN
        kind, baseline = run.span.kind, y + LINE - 5
        self.kinds.add(kind)
        if not run.is_pill:
            if not run.text.isspace():
                name = ' class="note"' if kind == "note" else ""
                yield f'<text{name} xml:space="preserve" x="{x:g}" y="{baseline:g}">{_safe(run.text)}</text>'
            return
        width = run.width * COLUMN
        shape = "note-pill" if kind == "note" else kind
        self.written.setdefault(run.span.node, (x + width - 2, y + LINE / 2, self._num_cards))
        self.read.extend((node, x + 2, y + LINE / 2, self._num_cards) for node in run.span.reads)
        yield f'<rect class="{shape}" x="{x + 2:g}" y="{y + 1:g}" width="{width - 4:g}" height="{LINE - 2:g}" rx="5"/>'
        name = "note" if kind == "note" else f"{kind}-text"
        yield f'<text class="{name}" x="{x + COLUMN:g}" y="{baseline:g}">{_safe(run.text)}</text>'

    # ---- blocks ----------------------------------------------------------------------------------------------------

    def _block(self, block: PlacedBlock, *, is_last: bool) -> Iterator[str]:
        x, bottom = block.x + TRUNK, block.y + block.height
        if block.is_framed:
            yield from self._frame(block)
        if block.block.kind == "loop":
            for lane in block.rows[0]:
                yield from self._lane(lane)
            return
        last_bus = block.rows[-1][0].y - BUS + 8 if block.rows else block.y
        goes_on = block.block.passes_by and not (is_last and block.block.kind != "branch")
        end = (bottom - 8 if is_last else bottom) if goes_on else last_bus
        yield _path(f"M{x:g} {block.y:g}V{end:g}")
        for row in block.rows:
            bus = row[0].y - BUS + 8
            for lane in row:
                yield _elbow(x, bus, lane.x + TRUNK, lane.y)
                yield from self._lane(lane)
        yield from self._meeting(block, x, bottom, is_last=is_last)

    def _lane(self, lane: PlacedLane) -> Iterator[str]:
        if lane.caption:
            width = width_of(lane.caption) * 6.1 + 14
            yield f'<rect class="caption" x="{lane.x:g}" y="{lane.y:g}" width="{width:g}" height="17" rx="8.5"/>'
            yield f'<text class="small" x="{lane.x + 7:g}" y="{lane.y + 12:g}">{_safe(lane.caption)}</text>'
            if lane.column.items:
                yield _path(f"M{lane.x + TRUNK:g} {lane.y + 17:g}V{lane.y + CAPTION:g}")
        yield from self.column(lane.column)
        if lane.lane.similar:
            y = lane.y + lane.caption_height + lane.column.height + 13
            yield f'<text class="small" x="{lane.x:g}" y="{y:g}">and {lane.lane.similar} more like this</text>'

    def _frame(self, block: PlacedBlock) -> Iterator[str]:
        """The frame around what is repeated: dashed for passes on one prompt, a stack for branches."""
        x, width = block.x + block.indent, block.width - block.indent
        y, height = block.y, block.height
        if block.block.kind == "each":
            y, height = y + BUS - 2, height - BUS - block.foot + 2
            for shift in (8, 4, 0):
                yield (
                    f'<rect class="behind" x="{x + shift:g}" y="{y - shift:g}" width="{width:g}" '
                    f'height="{height:g}" rx="9"/>'
                )
        else:
            yield f'<rect class="frame" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="9"/>'

    def _meeting(self, block: PlacedBlock, x: float, bottom: float, *, is_last: bool) -> Iterator[str]:
        """Lines from the lanes back to the prompt: arms lead on, branches hand over values."""
        is_branch = block.block.kind == "branch"
        if not (is_branch or block.block.joins):
            return
        y = bottom - 8
        style = "line" if is_branch else "line meet"
        starts = [lane.x + TRUNK for row in block.rows for lane in row]
        for row in block.rows:
            for lane in row:
                start, top = lane.x + TRUNK, lane.y + lane.height + (PAD_Y if block.is_framed else 0)
                corner = 6 if start == max(starts) > x else 0
                yield f'<path class="{style}" d="M{start:g} {top:g}V{y - corner:g}q0 {corner} -{corner} {corner}"/>'
        yield f'<path class="{style}" d="M{max(starts, default=x) - 6:g} {y:g}H{x:g}"/>'
        if is_branch and not is_last:
            yield _path(f"M{x:g} {y:g}V{bottom:g}")
        if block.block.joins:
            text = f"{'defines' if is_branch else 'gathers'} {block.block.joins}"
            yield f'<text class="small" x="{x + 12:g}" y="{y + 13:g}">{_safe(shortened(text, 60))}</text>'

    def links(self) -> Iterator[str]:
        """Draw which value is read where, between cards."""
        found = {
            (self.written[node], (x, y, card))
            for node, x, y, card in self.read
            if node in self.written and self.written[node][2] != card
        }
        for (x0, y0, _), (x1, y1, _) in sorted(found)[:MOST_LINKS]:
            bend = max(30.0, abs(y1 - y0) / 3)
            yield f'<path class="link" d="M{x0:g} {y0:g}C{x0 + bend:g} {y0:g} {x1 - bend:g} {y1:g} {x1:g} {y1:g}"/>'


def _elbow(x0: float, y0: float, x1: float, y1: float) -> str:
    """A line from the prompt's own to the top of a lane, with an arrow's tip."""
    corner = min(6.0, abs(x1 - x0), y1 - y0)
    return (
        f'<path class="line" d="M{x0:g} {y0:g}H{x1 - corner:g}q{corner:g} 0 {corner:g} {corner:g}V{y1:g}"/>'
        f'<path class="tip" d="M{x1 - 3.5:g} {y1 - 6:g}h7l-3.5 6z"/>'
    )


def _path(data: str) -> str:
    return f'<path class="line" d="{data}"/>'


def _whole(card: PlacedCard) -> str:
    """The card's text in full, for those who point at it."""
    return "".join(
        span.text if span.kind == "text" else f"{{{span.text}}}" for s in card.card.sections for span in s.spans
    )


def _legend(kinds: set[str], y: float) -> Iterator[str]:
    x = 0.0
    for kind, meaning in LEGEND:
        if kind in kinds:
            shape = "text-swatch" if kind == "text" else kind
            yield f'<rect class="{shape}" x="{x:g}" y="{y - 10:g}" width="18" height="12" rx="4"/>'
            yield f'<text class="small" x="{x + 24:g}" y="{y:g}">{meaning}</text>'
            x += 24 + len(meaning) * 6.1 + 18


def _legend_width(kinds: set[str]) -> float:
    return sum(42 + len(meaning) * 6.1 for kind, meaning in LEGEND if kind in kinds)


def _summary(summary: str, y: float) -> Iterator[str]:
    if summary:
        yield f'<text class="small" x="0" y="{y:g}">{_safe(summary)}</text>'


def _safe(text: str) -> str:
    return escape(UNPRINTABLE.sub("\ufffd", text), quote=True)
