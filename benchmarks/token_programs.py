"""Programs as token counts: chains of dependent requests whose prompts are made of numbered runs of tokens.

A segment is a run of one token, its number, so two prompts share exactly what their segments share, and what a request
generates is known before it runs. `Branch` records a program as its author would write it. No engine in here.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple


class Segment(NamedTuple):
    """`length` tokens, all of which are `number`."""

    number: int
    length: int


Path = tuple[Segment, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request of a program; it becomes known `delay` units of work after the calls in `after` have ended.

    `output`: what it generates. With `is_scored` it generates nothing: the last segment of its prompt is a choice.
    `is_extended`: a later call's prompt goes on from this one's.
    """

    prompt: Path
    output: Segment
    after: frozenset[int] = frozenset()
    delay: int = 0
    is_scored: bool = False
    is_extended: bool = False

    @property
    def prompt_len(self) -> int:
        """Tokens of the prompt."""
        return sum(segment.length for segment in self.prompt)


Program = tuple[Call, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenWorkload:
    """`programs` are started in order, at most `concurrency` of them at a time."""

    name: str
    programs: tuple[Program, ...]
    concurrency: int


class Texts:
    """Draws segments: no two share a token."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)
        self.num_drawn = 0

    def text(self, shortest: int, longest: int | None = None) -> Segment:
        """Return a new segment of a random length in [shortest, longest]."""
        self.num_drawn += 1
        return Segment(self.num_drawn, self.random.randint(shortest, longest or shortest))

    def texts(self, num: int, shortest: int, longest: int | None = None) -> list[Segment]:
        """Return `num` of them."""
        return [self.text(shortest, longest) for _ in range(num)]


class Writer:
    """Records one program: give its branches text, then ask for the `program`."""

    def __init__(self, texts: Texts) -> None:
        self.texts = texts
        self.calls: list[Call] = []
        self.authors: dict[int, int] = {}  # number of a generated segment -> its call

    def branch(self, *prompt: Segment) -> Branch:
        """Return a branch that starts with `prompt`; a program may have several."""
        return Branch(self, prompt)

    def program(self) -> Program:
        """Return the calls, with what only the whole program knows about each."""
        extended = {call.prompt[:length] for call in self.calls for length in range(1, len(call.prompt))}
        return tuple(replace(call, is_extended=call.prompt in extended) for call in self.calls)


class Branch:
    """A prompt that grows by text and by what is generated."""

    def __init__(self, writer: Writer, prompt: Sequence[Segment], after: frozenset[int] = frozenset()) -> None:
        self.writer = writer
        self.prompt = tuple(prompt)
        self._after = after  # calls that have ended when this branch goes on
        self._delay = 0

    def say(self, *texts: Segment, delay: int = 0) -> None:
        """Append text, given or generated elsewhere; `delay` units of work pass before it is known."""
        self.prompt += texts
        self._delay += delay

    def wait_for(self, generated: Segment, delay: int = 0) -> None:
        """Go on only after `generated` is there, and `delay` more units of work."""
        self._after |= {self.writer.authors[generated.number]}
        self._delay += delay

    def gen(self, shortest: int, longest: int | None = None) -> Segment:
        """Generate a new segment and append it."""
        output = self.writer.texts.text(shortest, longest)
        call = self._call(self.prompt, output)
        self.writer.authors[output.number] = call
        self._after = frozenset({call})
        self.prompt += (output,)
        return output

    def select(self, choices: Sequence[Segment]) -> None:
        """Score every choice; the branch ends here."""
        for choice in choices:
            self._call((*self.prompt, choice), Segment(0, 0), is_scored=True)

    def fork(self, num: int) -> list[Branch]:
        """Return `num` branches that go on from here."""
        return [Branch(self.writer, self.prompt, self._after) for _ in range(num)]

    def _call(self, prompt: Path, output: Segment, *, is_scored: bool = False) -> int:
        authors = self.writer.authors
        after = self._after | {authors[text.number] for text in prompt if text.number in authors}
        call = Call(prompt=prompt, output=output, after=after, delay=self._delay, is_scored=is_scored)
        self.writer.calls.append(call)
        self._delay = 0
        return len(self.writer.calls) - 1
