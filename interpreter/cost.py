"""What a graph costs before it runs: how many prompt tokens its requests have, and how many of them are computed once.

Walks the graph as a run would, with stand-ins for what is generated, and keeps a prefix tree as the engine does. Called
by `RequestGraph.cost`; knows tokenizers only as something that encodes a prompt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, takewhile
from typing import Any

from ..backend.api import Piece, Text, Tokens
from ..lang.constraints import Choices
from ..lang.errors import ParameterError
from ..lang.evaluate import evaluate, text_of
from ..lang.graph import RequestGraph
from ..lang.graph.values import sources_of
from ..lang.ir import (
    Arm,
    Body,
    Branch,
    Child,
    Fill,
    Fork,
    ForkEach,
    Gen,
    Keep,
    Loop,
    Node,
    Reference,
    RoleBegin,
    RoleEnd,
    Select,
    Value,
)
from .chat import chat_format
from .conversation import Conversation
from .encoders import Encode, encoder_of

UNKNOWN_TOKENS = 8  # of a value that is not known and not generated here: a word or two


@dataclass(frozen=True, slots=True)
class Cost:
    """Token counts of one run.

    `requests`: gens and selects (a select counts each choice, `n` samples each). `prompt_tokens`: all prompts together,
    what is prefilled without a cache. `computed_tokens`: what is left of them when no prefix is computed twice.
    `generated_tokens`: at most. `longest`: tokens of the longest prompt with its answer, which has to fit the model's
    context. `of_nodes`: tokens that the text up to a node adds to its prompt, by gen, select, fork and end of branch.
    """

    requests: int
    prompt_tokens: int
    computed_tokens: int
    generated_tokens: int
    longest: int
    of_nodes: Mapping[int, int] = field(default_factory=dict, repr=False)

    def rows(self) -> tuple[tuple[str, str], ...]:
        """The counts in words, for tables."""
        return (
            ("requests", f"{self.requests:,}"),
            ("prompt tokens", f"{self.prompt_tokens:,}"),
            ("computed with sharing", f"{self.computed_tokens:,} ({self.shared:.0%} saved)"),
            ("generated at most", f"{self.generated_tokens:,}"),
            ("longest sequence", f"{self.longest:,}"),
        )

    def __str__(self) -> str:
        return "   ".join(f"{name}: {value}" for name, value in self.rows())

    @property
    def shared(self) -> float:
        """The share of the prompt tokens that need not be computed."""
        return 1 - self.computed_tokens / self.prompt_tokens if self.prompt_tokens else 0.0


@dataclass(frozen=True, slots=True)
class BatchCost(Cost):
    """Token counts of a batch: sums over its rows, of which one cache keeps all. `longest` is that of any row.

    `common_prefix`: tokens with which the prompts of all requests of all rows begin; they are computed once. Counted in
    tokens, not characters: two texts that part within a word part before that word's token.
    """

    common_prefix: int = 0


def cost_of(graph: RequestGraph, tokenizer: Any, *, generated: int | None, passes: int) -> Cost:
    """Return the cost; see `RequestGraph.cost`."""
    walk = _walked([graph], tokenizer, generated, passes)
    return Cost(*walk.counts(), walk.of_nodes)


def cost_of_batch(
    graph: RequestGraph, rows: Iterable[Mapping[str, Any]], tokenizer: Any, *, generated: int | None, passes: int
) -> BatchCost:
    """Return the cost of a batch; see `RequestGraph.batch_cost`."""
    walk = _walked((graph.bind(**row) for row in rows), tokenizer, generated, passes)
    return BatchCost(*walk.counts(), walk.of_nodes, len(walk.common_prefix or ()))


def _walked(graphs: Iterable[RequestGraph], tokenizer: Any, generated: int | None, passes: int) -> _Walk:
    for name, number in (("generated", generated), ("passes", passes)):
        if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 0):
            raise ParameterError(f"{name} must be a number of at least 0, got {number!r}")
    encode, template = encoder_of(tokenizer)
    walk = _Walk(encode, generated, passes)
    for graph in graphs:
        walk.graph(graph, _Prompt(Conversation(chat_format(template))))
    return walk


@dataclass(slots=True)
class _Prompt:
    """A prompt that is being built, and how many tokens of it have been put down to a node."""

    conversation: Conversation
    num_counted: int = 0

    def copy(self) -> _Prompt:
        return _Prompt(self.conversation.copy(), self.num_counted)


class _Walk:
    """One pass over a graph, prompt by prompt; the tree and the counts go on from graph to graph."""

    def __init__(self, encode: Encode, generated: int | None, passes: int) -> None:
        self.nodes: Sequence[Node] = ()
        self.children: dict[int | None, list[Node]] = {}
        self.encode = encode
        self.generated = generated
        self.passes = passes
        self.lens: dict[tuple[int, str], int] = {}  # tokens of each variable
        self.answers: dict[int, list[Tokens]] = {}
        self.items: dict[int, Any] = {}  # of a body, in the pass that is under way
        self.tree: dict[int, Any] = {}
        self.fresh = count(1)
        self.of_nodes: dict[int, int] = {}
        self.common_prefix: list[int] | None = None  # of all prompts so far
        self.requests = self.prompt_tokens = self.computed = self.num_generated = self.longest = 0

    def graph(self, graph: RequestGraph, prompt: _Prompt) -> None:
        """Walk over a whole graph."""
        self.nodes, self.children = graph.nodes, _children(graph.nodes)
        self.lens, self.answers, self.items = {}, {}, {}
        self.prompt(None, prompt)

    def counts(self) -> tuple[int, int, int, int, int]:
        """Return the sums, in the order of `Cost`."""
        return self.requests, self.prompt_tokens, self.computed, self.num_generated, self.longest

    def prompt(self, start: int | None, prompt: _Prompt) -> None:
        """Walk along one prompt, and the branches that leave it, to its end."""
        last = start
        following = next(self._continuations(start), None)
        while following is not None:
            last = following.id
            self._node(following, prompt)
            following = next(self._continuations(last), None)
        if last is not None:
            self._count(last, prompt)

    def _continuations(self, node_id: int | None) -> Iterator[Node]:
        return (node for node in self.children[node_id] if not isinstance(node.op, Child | Arm | Body))

    def _inside(self, node_id: int) -> list[Node]:
        return [node for node in self.children[node_id] if isinstance(node.op, Child | Arm | Body)]

    def _node(self, node: Node, prompt: _Prompt) -> None:
        match node.op:
            case Fill(value):
                self._write(prompt, value)
            case RoleBegin(role):
                prompt.conversation.begin(role)
            case RoleEnd():
                prompt.conversation.end()
            case Gen():
                self._gen(node, node.op, prompt)
            case Select():
                self._select(node, node.op, prompt)
            case Keep(source, index):
                prompt.conversation.write_answer((self.answers[source.node][index],))
            case Fork():
                self._count(node.id, prompt)
                for child in self._inside(node.id):
                    self.prompt(child.id, prompt.copy())
            case Branch() | Loop() | ForkEach():
                self._count(node.id, prompt)
                self._control(node, prompt)
            case _:
                pass  # the others write nothing

    def _control(self, node: Node, prompt: _Prompt) -> None:
        """Walk the arm that is taken, the longest that may be; go round a loop as its items say, or `passes` times."""
        inside = self._inside(node.id)
        match node.op:
            case Branch(conditions):
                arms = list(self._possible(conditions))
                if arms:
                    self.prompt(inside[max(arms, key=lambda arm: self._weight(inside[arm].id))].id, prompt)
            case Loop(items, limit) | ForkEach(items, limit):
                found = self._known(items)
                known = found if isinstance(found, list | tuple) else [None] * min(self.passes, limit)
                for item in known:
                    self.items[inside[0].id] = item
                    self.prompt(inside[0].id, prompt if isinstance(node.op, Loop) else prompt.copy())

    def _possible(self, conditions: Sequence[Value]) -> Iterator[int]:
        """Yield the arms that may be taken: those not known to fail, up to one that is known to hold."""
        for arm, condition in enumerate(conditions):
            known = self._known(condition)
            if known is None or known:
                yield arm
            if known:
                return

    def _weight(self, start: int) -> int:
        """How much is written and generated from a node on, roughly, in tokens."""
        pending, weight = [start], 0
        while pending:
            node = self.nodes[pending.pop()]
            pending.extend(child.id for child in self.children[node.id])
            match node.op:
                case Fill(str(text)):
                    weight += len(text) // 4
                case Gen(sampling=sampling):
                    weight += sampling.max_tokens
                case _:
                    weight += 1
        return weight

    # ---- requests --------------------------------------------------------------------------------------------------

    def _gen(self, node: Node, op: Gen, prompt: _Prompt) -> None:
        pieces = prompt.conversation.send()
        self._count(node.id, prompt, pieces)
        num = self._num_generated(op)
        answers = self.answers[node.id] = [self._unknown(num) for _ in range(op.sampling.n)]
        for answer in answers:
            self._request(list(self.encode(pieces)), list(answer.ids))
        if op.name is not None:
            self.lens[node.id, op.name] = num
        if op.sampling.n == 1:
            prompt.conversation.write_answer(answers)
            prompt.num_counted += num

    def _num_generated(self, op: Gen) -> int:
        num = op.sampling.max_tokens if self.generated is None else min(self.generated, op.sampling.max_tokens)
        if isinstance(op.constraint, Choices):
            return min(num, max(len(self.encode((Text(choice),))) for choice in op.constraint.choices))
        return num

    def _select(self, node: Node, op: Select, prompt: _Prompt) -> None:
        pieces = prompt.conversation.send()
        self._count(node.id, prompt, pieces)
        known = self._known(op.choices)
        choices = [str(choice) for choice in known] if isinstance(known, list | tuple) else ["?"]
        for choice in choices:
            self._request(list(self.encode((*pieces, Text(choice)))), [])
        longest = max(choices, key=len, default="")
        if op.name is not None:
            self.lens[node.id, op.name] = len(self.encode((Text(longest),)))
        prompt.conversation.write(longest)

    def _request(self, ids: list[int], answer: list[int]) -> None:
        """Count a request, and put its tokens where later ones find them; the last one is never cached."""
        shared = ids if self.common_prefix is None else self.common_prefix
        same = takewhile(lambda pair: pair[0] == pair[1], zip(shared, ids, strict=False))
        self.common_prefix = [token for token, _ in same]
        matched = 0
        node = self.tree
        for token in ids:
            if token not in node:
                break
            node, matched = node[token], matched + 1
        self.requests += 1
        self.prompt_tokens += len(ids)
        self.computed += max(len(ids) - matched, 1)
        self.num_generated += len(answer)
        self.longest = max(self.longest, len(ids) + len(answer))
        for token in [*ids[matched:], *answer[:-1]] if matched < len(ids) else answer[:-1]:
            node = node.setdefault(token, {})

    # ---- text ------------------------------------------------------------------------------------------------------

    def _write(self, prompt: _Prompt, value: Value) -> None:
        known = self._known(value)
        if known is not None:
            text = text_of(known)
            if text:
                prompt.conversation.write(text)
            return
        prompt.conversation.write_piece(self._unknown(self._len_of(value)))

    def _len_of(self, value: Value) -> int:
        sources = [source for source in sources_of(value) if isinstance(source, Reference)]
        lens = [self.lens.get((source.node, source.name), UNKNOWN_TOKENS) for source in sources]
        return sum(lens) or UNKNOWN_TOKENS

    def _known(self, value: Value) -> Any:
        """Return what a value is where that is known without a run, else None."""

        def lookup(source: Any) -> Any:
            return self.items[source.node]

        if any(self.items.get(getattr(source, "node", -1)) is None for source in sources_of(value)):
            return None
        return evaluate(value, lookup)

    def _unknown(self, num: int) -> Tokens:
        """Return tokens that stand for text which nobody knows yet; no two are alike."""
        return Tokens(tuple(-next(self.fresh) for _ in range(num)), "…")

    def _count(self, node_id: int, prompt: _Prompt, pieces: tuple[Piece, ...] | None = None) -> None:
        """Put down to a node what the prompt has grown by since the last one."""
        num = len(self.encode(prompt.conversation.copy().send() if pieces is None else pieces))
        self.of_nodes[node_id] = self.of_nodes.get(node_id, 0) + max(0, num - prompt.num_counted)
        prompt.num_counted = num


def _children(nodes: Sequence[Node]) -> dict[int | None, list[Node]]:
    children: dict[int | None, list[Node]] = {None: [], **{node.id: [] for node in nodes}}
    for node in nodes:
        children[node.parent].append(node)
    return children
