"""The waist: what a backend is asked (`Request`, `ScoreRequest`) and what it answers (`Chunk`, `ChoiceScore`).

Only serialisable facts and one protocol. The interpreter knows nothing of engines beyond this module; an engine knows
nothing of programs beyond the hints in a `Request`.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from ..lang.constraints import Choices, Constraint, Grammar, JsonSchema, Regex
from ..lang.sampling import Sampling
from .chat_template import ChatTemplate as ChatTemplate


@dataclass(frozen=True, slots=True)
class Text:
    """Data: text that never becomes a special token, whatever it spells."""

    text: str


@dataclass(frozen=True, slots=True)
class Markup:
    """Text of the model's own chat template: special tokens in it are recognised."""

    text: str


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token ids that an earlier answer of this backend produced, and their text; never tokenised again."""

    ids: tuple[int, ...]
    text: str


Piece = Text | Markup | Tokens


def prompt_text(prompt: tuple[Piece, ...]) -> str:
    """Return the text of a prompt, markup included."""
    return "".join(piece.text for piece in prompt)


def new_id() -> str:
    """Return a fresh request id."""
    return uuid.uuid4().hex


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """What a program knows about its request and a scheduler may use; leaving all of it out is always correct.

    - `program`: id of the running program. Its requests are as old as its first one: programs that have begun go on
      before others begin.
    - `group`: id shared by sibling branches of one fork, for backends that place requests. The engine keeps a whole
      program together in line.
    - `keep_prefix`: later requests will extend this prompt and its answer, so they should stay cached while the program
      runs.
    - `priority`: higher runs first. `timeout`: seconds from submission until the request fails with `DeadlineError`.
    - `cache_salt`: requests share cached prefixes only within one salt (one tenant).
    - `place`: where in its program the request stands: "branch:number:variable". The same program makes the same
      requests at the same places, wherever it runs.
    """

    program: str | None = None
    group: str | None = None
    keep_prefix: bool = False
    priority: int = 0
    timeout: float | None = None
    cache_salt: str = ""
    place: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Generate a continuation of `prompt`, `sampling.n` times.

    `stream=False`: nobody reads the answer as it grows, so a backend may send each sample as one chunk, which costs
    less.
    """

    prompt: tuple[Piece, ...]
    sampling: Sampling = field(default_factory=Sampling)
    constraint: Constraint | None = None
    stream: bool = True
    id: str = field(default_factory=new_id)
    hints: Hints = field(default_factory=Hints)


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """Natural log-probability of one token, and of the most likely ones there (`top`: (id, logprob), best first).

    Output logprobs are of the model's distribution after penalties, bias and temperature-free: log-softmax of the raw
    logits. `logprob` is None for the first token of a sequence, which nothing predicts.
    """

    token_id: int
    logprob: float | None
    text: str
    top: tuple[tuple[int, float], ...] = ()


FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Finish:
    """Why a sample ended. `matched` is the stop string, pattern or token id (end-of-sequence included), if any.

    `num_kept` output tokens lie wholly inside the text that was kept; `tail` is the kept text after them (a stop string
    may cut a token in two). So the answer, as a prompt piece, is `Tokens(ids[:num_kept], ...)` + `Text(tail)`; with
    `num_kept` 0 it is all text. `is_partial`: `max_tokens` ended the text inside its constraint, so it is no value.
    """

    reason: FinishReason
    matched: str | int | None = None
    num_kept: int = 0
    tail: str = ""
    is_partial: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one sample: prompt tokens, those of them found in the prefix cache, and generated tokens."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.cached_tokens + other.cached_tokens,
            self.completion_tokens + other.completion_tokens,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A piece of the answer: the text and tokens since the last chunk of the same `index` (0 .. n-1).

    Text is whole characters and never holds text that a stop string may still take back. `finish` and `usage` come with
    the last chunk of each index; `prompt_logprobs` with the first, if asked for. Failures are raised, not sent.
    """

    index: int = 0
    text: str = ""
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    prompt_logprobs: tuple[TokenLogprob, ...] = ()
    finish: Finish | None = None
    usage: Usage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRequest:
    """Score each choice as the continuation of `prompt`, in one call; `unconditional` scores it without, too."""

    prompt: tuple[Piece, ...]
    choices: tuple[str, ...]
    unconditional: bool = False
    id: str = field(default_factory=new_id)
    hints: Hints = field(default_factory=Hints)


@dataclass(frozen=True, slots=True)
class ChoiceScore:
    """Log-probabilities of one choice, token by token.

    `token_ids` starts at the first token in which prompt + choice differs between choices or from the prompt alone (a
    token that spans the border counts for the choice). `unconditional`: the same tokens' log-probabilities without the
    prompt, or empty when not asked for.
    """

    choice: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    unconditional: tuple[float, ...] = ()
    usage: Usage = Usage()


ConstraintKind = Literal["regex", "json_schema", "grammar", "choices"]


def constraint_kind(constraint: Constraint) -> ConstraintKind:
    """Return the name under which `Capabilities` lists constraints of this kind."""
    match constraint:
        case Regex():
            return "regex"
        case JsonSchema():
            return "json_schema"
        case Grammar():
            return "grammar"
        case Choices():
            return "choices"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a backend can do; the interpreter refuses what is missing before it sends anything.

    `graphs`: whole request graphs run there (it is a `GraphBackend`).
    """

    model: str
    chat_template: ChatTemplate | None = None
    constraints: frozenset[ConstraintKind] = frozenset()
    logprobs: bool = False
    scoring: bool = False
    graphs: bool = False
    context_len: int | None = None


@runtime_checkable
class Backend(Protocol):
    """Who answers requests. One instance serves many concurrent programs, on any number of event loops."""

    @property
    def capabilities(self) -> Capabilities:
        """What this backend can do."""
        ...

    def generate(self, request: Request) -> AsyncIterator[Chunk]:
        """Stream the answer. Closing the iterator (or cancelling its task) aborts the request."""
        ...

    async def score(self, request: ScoreRequest) -> list[ChoiceScore]:
        """Score every choice, in the order given."""
        ...

    async def close(self) -> None:
        """Release everything; later calls raise `ClosedError`."""
        ...


@runtime_checkable
class GraphBackend(Backend, Protocol):
    """A backend that can run whole request graphs where the model is: dependent requests then cost no round trips."""

    def ship(
        self,
        graph: str,
        *,
        name: str = "program",
        timeout: float | None = None,
        stream: bool = True,
        hints: Hints | None = None,
    ) -> Backend:
        """Return a backend for one run of `graph` (its JSON, all inputs bound).

        It answers that run's requests from the run of the graph at the other end, which starts with the first of them.
        Closing it ends that run. `stream=False`: as for `Request`. `name`: the program's, for counts. Of `hints`, the
        priority and the cache salt hold for all its requests.
        """
        ...


class ConnectingBackend(Backend, Protocol):
    """A backend elsewhere, whose first `capabilities` wait for an answer over the network."""

    async def connect(self) -> None:
        """Learn the capabilities without blocking the event loop; once they are known, do nothing."""
        ...
