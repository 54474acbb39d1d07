"""What a drawing of a graph shows: cards of text with what is generated in it, in the blocks that forks and loops make.

The same model is behind every form (SVG, DOT, Mermaid, HTML); it knows nothing of places and colours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ..constraints import Choices, Constraint, Grammar, JsonSchema, Regex
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
    is_constant,
)
from ..types import BOOLEAN_TEXTS, TypeSpec
from .sharing import requests_after
from .text import INFIX
from .values import Source, sources_of

Kind = Literal["text", "input", "dependent", "gen", "select", "note"]
"""Text that is known; from an input; from a generated value; generated; chosen; a remark that is not in the prompt."""


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a card. `node`: what it stands for. `reads`: the nodes whose values it holds."""

    text: str
    kind: Kind
    node: int
    reads: tuple[int, ...] = ()


@dataclass(slots=True)
class Section:
    """Spans in one role (None: outside roles). `begins`: the role was opened here."""

    role: str | None
    spans: list[Span] = field(default_factory=list)
    begins: bool = False


@dataclass(slots=True)
class Card:
    """Text of one prompt without a fork in it. `requests`: in how many requests' prompts it is. `nodes`: all of it."""

    sections: list[Section]
    nodes: list[int] = field(default_factory=list)
    requests: int = 0


@dataclass(slots=True)
class Lane:
    """One branch, arm or body: a caption and what happens in it. `similar`: how many more there are like it."""

    caption: str
    items: list[Card | Block]
    similar: int = 0


@dataclass(slots=True)
class Block:
    """What a fork, branch or loop opens. `passes_by`: the prompt may go on without entering any lane."""

    kind: Literal["fork", "branch", "loop", "each"]
    node: int
    lanes: list[Lane]
    passes_by: bool
    joins: str = ""  # the variables gathered from its lanes


Items = list[Card | Block]
MOST_LANES = 4


def cards_of(nodes: Sequence[Node]) -> Items:
    """Return what the main prompt of a graph shows, from top to bottom."""
    return _Cards(nodes).sequence(None, None)


class _Cards:
    """Builds the cards of one graph."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = nodes
        self.requests = requests_after(nodes)
        self.children: dict[int | None, list[int]] = {None: []}
        for node in nodes:
            self.children.setdefault(node.parent, []).append(node.id)

    def sequence(self, start: int | None, role: str | None) -> Items:
        """Return the cards and blocks of the prompt that begins after node `start`."""
        items: Items = []
        card = Card([Section(role)])
        for node in self._line(start):
            if not isinstance(node.op, RoleEnd) or any(section.spans for section in card.sections):
                card.nodes.append(node.id)
            match node.op:
                case RoleBegin(opened):
                    role = opened
                    card.sections.append(Section(role, begins=True))
                case RoleEnd():
                    role = None
                    card.sections.append(Section(None))
                case Fork() | Branch() | Loop() | ForkEach():
                    items.append(self._closed(card))
                    items.append(self._block(node, role))
                    card = Card([Section(role)])
                case Join() | Merge() | Collect() | Gather():
                    block = next((item for item in reversed(items) if isinstance(item, Block)), None)
                    if block is not None and node.defines:
                        block.joins = ", ".join(node.defines)
                case _:
                    card.sections[-1].spans.extend(self._spans(node))
        items.append(self._closed(card))
        return [item for item in items if isinstance(item, Block) or item.sections]

    def _closed(self, card: Card) -> Card:
        card.sections = [section for section in card.sections if section.spans]
        card.requests = self.requests[card.nodes[0]] if card.nodes else 0
        return card

    def _line(self, start: int | None) -> Iterator[Node]:
        while True:
            following = [
                node_id
                for node_id in self.children.get(start, ())
                if not isinstance(self.nodes[node_id].op, Child | Arm | Body)
            ]
            if not following:
                return
            start = following[0]
            yield self.nodes[start]

    def _block(self, node: Node, role: str | None) -> Block:
        inside = [
            self.nodes[node_id]
            for node_id in self.children.get(node.id, ())
            if isinstance(self.nodes[node_id].op, Child | Arm | Body)
        ]
        inside.sort(key=lambda first: getattr(first.op, "index", 0))
        lanes = [Lane(_caption(node, first), self.sequence(first.id, role)) for first in inside]
        match node.op:
            case Branch(conditions):
                return Block("branch", node.id, lanes, True not in conditions)
            case Loop():
                return Block("loop", node.id, lanes, False)
            case ForkEach():
                return Block("each", node.id, lanes, True)
            case _:
                return Block("fork", node.id, _merged(lanes), True)

    def _spans(self, node: Node) -> Iterator[Span]:
        """The spans that a node puts on its card."""
        match node.op:
            case Fill(Apply("concat", parts)):
                for part in parts:
                    yield self._text(node, part)
            case Fill(value):
                yield self._text(node, value)
            case Gen(name, sampling, constraint, parse):
                times = f" ×{sampling.n}" if sampling.n > 1 else ""
                yield Span(f"{name or '…'}{_held(constraint, parse)}{times}", "gen", node.id)
            case Select(name, choices):
                is_known = isinstance(choices, tuple) and is_constant(choices)
                shown = "|".join(map(str, choices)) if is_known else plain(choices)  # type: ignore[arg-type]
                yield Span(f"{name or '…'}: {shown}", "select", node.id, _reads(choices))
            case Keep(source, index):
                yield Span(f"keep {source.name}[{index}]", "note", node.id, _reads(source))
            case Set(name, value):
                yield Span(f"{name} = {plain(value)}", "note", node.id, _reads(value))
            case ScopeBegin(name):
                yield Span(f"⟨{name}", "note", node.id)
            case ScopeEnd(name):
                yield Span(f"{name}⟩", "note", node.id)
            case _:
                return

    def _text(self, node: Node, value: Value) -> Span:
        """What a fill writes: text as it is, anything else as what it is made of."""
        if isinstance(value, str):
            return Span(value, "text", node.id)
        return Span(plain(value), self._kind(value), node.id, _reads(value))

    def _kind(self, value: Value) -> Kind:
        """Where a value comes from; a loop's item comes from where its items come from."""
        sources = list(sources_of(value))
        kinds = {self._kind_of(source) for source in sources}
        return "dependent" if "dependent" in kinds else "input" if sources else "text"

    def _kind_of(self, source: Source) -> Kind:
        if isinstance(source, Argument):
            return "input"
        node = self.nodes[source.node]
        if isinstance(node.op, Body) and node.parent is not None:
            opener = self.nodes[node.parent].op
            assert isinstance(opener, Loop | ForkEach)
            return "dependent" if self._kind(opener.items) == "dependent" else "input"
        return "dependent"


def _reads(value: Value) -> tuple[int, ...]:
    return tuple(source.node for source in sources_of(value) if isinstance(source, Reference))


def _merged(lanes: list[Lane]) -> list[Lane]:
    """Show the first lanes of many that have the same shape, and how many more there are."""
    if len(lanes) <= MOST_LANES or len({_shape(lane.items) for lane in lanes}) > 1:
        return lanes
    shown = lanes[: MOST_LANES - 1]
    shown[-1].similar = len(lanes) - len(shown)
    return shown


def _shape(items: Items) -> str:
    """What two lanes have in common that differ in their constant text only."""
    words = []
    for item in items:
        if isinstance(item, Block):
            words.append(f"{item.kind}({'|'.join(_shape(lane.items) for lane in item.lanes)})")
        else:
            spans = [span for section in item.sections for span in section.spans]
            words.append(" ".join(span.kind if span.kind == "text" else span.text for span in spans))
    return ";".join(words)


def _caption(opener: Node, first: Node) -> str:
    match opener.op, first.op:
        case Branch(conditions), Arm(index):
            condition = conditions[index]
            return "else" if condition is True else f"{'if' if index == 0 else 'elif'} {plain(condition)}"
        case Loop(items, limit), Body(name):
            return f"for {name} in {plain(items)}, at most {limit}"
        case ForkEach(items, limit), Body(name):
            return f"a branch for each {name} in {plain(items)}, at most {limit}"
        case _:
            return ""


def _held(constraint: Constraint | None, parse: object) -> str:
    """What a generated text is held to, in a word."""
    match constraint:
        case None:
            return ""
        case Choices(choices) if choices != BOOLEAN_TEXTS:
            return f": {'|'.join(choices)}"
        case _ if isinstance(parse, TypeSpec):
            return f": {parse.name}"
        case Regex(pattern):
            return f": /{pattern}/"
        case JsonSchema():
            return ": JSON"
        case Grammar():
            return ": grammar"
        case Choices(choices):
            return f": {'|'.join(choices)}"


def plain(value: Value) -> str:
    """Return a value as a reader would say it: names without node numbers, formats as in an f-string."""
    match value:
        case Reference(_, name, path) | Argument(name, path):
            return f"{name}{''.join(f'.{key}' if isinstance(key, str) else f'[{key}]' for key in path)}"
        case Apply("format", (inner, "")) | Apply("text", (inner,)):
            return plain(inner)
        case Apply("format", (inner, str(spec))):
            return f"{plain(inner)}:{spec}"
        case Apply("item", (inner, str(key))):
            return f"{plain(inner)}.{key}"
        case Apply("item", (inner, key)):
            return f"{plain(inner)}[{plain(key)}]"
        case Apply("not", (inner,)):
            return f"not {plain(inner)}"
        case Apply(function, (left, right)) if function in INFIX:
            return f"{plain(left)} {function} {plain(right)}"
        case Apply(function, arguments):
            return f"{function}({', '.join(map(plain, arguments))})"
        case tuple():
            return f"[{', '.join(map(plain, value))}]"
        case _:
            return repr(value)
