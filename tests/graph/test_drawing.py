"""Drawings: whatever the graph, they are well formed, nothing stands on anything else, and all of it is there."""

from __future__ import annotations

import re
from itertools import combinations
from xml.etree import ElementTree

import pytest

import ramify
from ramify import RequestGraph, function, gen, select
from ramify.lang.graph.boxes import boxes_of
from ramify.lang.graph.cards import Card, cards_of
from ramify.lang.graph.flow import set_lines, shortened, width_of
from ramify.lang.graph.layout import PlacedCard, lay_out
from ramify.lang.ir import Fill, Fork

SVG = "{http://www.w3.org/2000/svg}"
DATA = "<b>&\"'\x00\ud7ff\ufdd0 ```%% ]]> \\n {x} 数学 👩‍👧" + "long " * 200


@function
def review(s, question):
    s += ramify.system(DATA) + ramify.user(f"{question} and {DATA}")
    with s.assistant():
        s += gen("idea", type=int) + select("mood", ["good", DATA]) + gen("n", n=2, regex="[<>&]+")
        s.keep("n", 1)
        tips = s.fork(6)
        for i, tip in enumerate(tips):
            tip += f"Tip {i}: " + gen("tip")
        tips.join()
        for branch in s.fork(2):
            branch += "deeper" + s["tip"][0]
            branch.fork(3)
    s.set("end", s["mood"])


@pytest.fixture(params=["review", "control", "empty", "fork first"])
def graph(request, control_graph, nodes_of):
    match request.param:
        case "review":
            return review.compile()
        case "control":
            return control_graph
        case "empty":
            return RequestGraph(())
        case _:
            return function(lambda s: [branch.__iadd__("x") for branch in s.fork(3)] and None).compile()


def cards_in(column):
    for item in column.items:
        if isinstance(item, PlacedCard):
            yield item
        else:
            for row in item.rows:
                for lane in row:
                    yield from cards_in(lane.column)


def test_cards_do_not_overlap_and_lie_in_the_picture(graph):
    column = lay_out(cards_of(graph.nodes), {})
    cards = list(cards_in(column))
    for one, other in combinations(cards, 2):
        apart = one.x + one.width <= other.x or other.x + other.width <= one.x
        assert apart or one.y + one.height <= other.y or other.y + other.height <= one.y
    for card in cards:
        assert card.x >= 0 and card.x + card.width <= column.width + 0.01
        assert card.y >= 0 and card.y + card.height <= column.height + 0.01
        widest = max(
            (run.column + run.width for _, lines in card.sections for line in lines for run in line), default=0
        )
        assert widest <= 50


def test_svg_is_well_formed_and_shows_everything(graph):
    root = ElementTree.fromstring(graph.to_svg(str.split))
    shown = " ".join(text.text or "" for text in root.iter(f"{SVG}text"))
    for node in graph.nodes:
        for name in node.defines:
            assert name in shown
    width, height = float(root.get("width")), float(root.get("height"))
    for rect in root.iter(f"{SVG}rect"):
        assert float(rect.get("x", 0)) + float(rect.get("width")) <= width
        assert float(rect.get("y", 0)) + float(rect.get("height")) <= height
    assert "prompt tokens" in shown
    ElementTree.fromstring(graph._repr_html_())


def test_page_stands_alone(graph):
    page = graph.to_html(str.split, title="<Review>")
    assert page.startswith("<!doctype html>") and "&lt;Review&gt;" in page and "<svg" in page
    assert not re.search(r"<script|https?://(?!www\.w3\.org/2000/svg)", page.replace(DATA, ""))


def test_mermaid_and_dot_hold_every_box_and_edge(graph):
    made = boxes_of(cards_of(graph.nodes))
    mermaid, dot = graph.to_mermaid(), graph.to_dot()
    assert len(re.findall(r"^ +n\d+\[\"[^\"\n]*\"\]$", mermaid, re.MULTILINE)) == len(made.boxes)
    assert len(re.findall(r" (?:-->|-\.->)(?:\|\"[^\"\n]*\"\|)? n\d+$", mermaid, re.MULTILINE)) == len(made.edges)
    assert mermaid.count("subgraph") == mermaid.count("  end\n") == len(made.groups)
    assert len(re.findall(r'^  n\d+ \[label="(?:[^"\\\n]|\\.)*", fillcolor="#\w+"\];$', dot, re.MULTILINE)) == len(
        made.boxes
    )
    assert len(re.findall(r'^  n\d+ -> n\d+ \[label="(?:[^"\\\n]|\\.)*".*\];$', dot, re.MULTILINE)) == len(made.edges)
    names = {box.name for box in made.boxes}
    assert all(edge.start in names and edge.end in names for edge in made.edges)


def test_many_branches_of_one_shape_are_shown_once(nodes_of):
    @function
    def program(s, kinds):
        s += "x"
        for i, branch in enumerate(s.fork(9)):
            branch += f"{i}" + (gen("a") if i < 8 or not kinds else gen("b"))

    svg = program.compile(kinds=False).to_svg()
    assert "and 6 more like this" in svg and svg.count('class="card"') == 4
    assert program.compile(kinds=True).to_svg().count('class="card"') == 10


def test_cards_say_how_many_requests_share_them():
    @function
    def program(s):
        s += "shared"
        for branch in s.fork(3):
            branch += "own" + gen("a") + "more" + gen("b")

    first, block = cards_of(program.compile().nodes)
    assert isinstance(first, Card) and first.requests == 6
    assert [lane.items[0].requests for lane in block.lanes] == [2, 2, 2]
    svg = program.compile().to_svg(lambda text: [0] * len(text))
    assert "6 tokens, shared by 6 requests" in svg


def test_lines():
    cards = cards_of(review.compile().nodes)
    spans = [span for section in cards[0].sections for span in section.spans]
    for columns in (18, 34):
        lines = set_lines(spans, columns)
        assert all(run.column + run.width <= columns + 2 for line in lines for run in line)
        assert any("more lines" in run.text for line in lines for run in line)
        assert any(run.span.kind == "gen" for line in lines for run in line)  # never left out
    assert width_of("数a") == 3 and width_of("e\u0301") == 1
    assert shortened("abcdef", 4) == "abc…" and width_of(shortened("数" * 20, 9)) <= 9


def test_a_deep_graph_is_drawn(nodes_of):
    @function
    def program(s):
        for i in range(12):
            s += f"level {i} " + gen(f"x{i}")
            s = s.fork(2)[1]

    ElementTree.fromstring(program.compile().to_svg())
    assert Fill("level 3 ") in [node.op for node in program.compile().nodes] and Fork(2)
