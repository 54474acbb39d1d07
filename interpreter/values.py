"""What a variable holds once it is known: value, text and meta data; and `Slot`, the place where it will appear.

Filled by the evaluator on its event loop, read from any thread. Knows no backend.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from ..backend.api import Piece, TokenLogprob, Usage
from ..lang.errors import ParameterError, did_you_mean
from ..lang.partial_json import Partial, PartialText, Reader
from .feed import Feed

if TYPE_CHECKING:
    from .chain import Chain


@dataclass(frozen=True, slots=True)
class ChoiceRow:
    """One line of a select's table.

    `score` is the number the method compares (higher is better); `probability` sums to 1 over the table;
    `logprobs` and `unconditional` are the natural log-probabilities of `token_ids`.
    """

    choice: str
    score: float
    probability: float
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    unconditional: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """What is known about a variable besides its value; read as attributes or as a mapping (`meta["finish_reason"]`).

    With `n > 1`, `samples` holds the meta data of each sample, the token counts are sums, and what differs between
    samples is left empty here. `scores` is the table of a select, in the order of its choices.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    finish_reason: str | None = None
    matched_stop: str | int | None = None
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    prompt_logprobs: tuple[TokenLogprob, ...] = ()
    scores: tuple[ChoiceRow, ...] = ()
    text: str | None = None
    samples: tuple[Meta, ...] = ()

    @property
    def usage(self) -> Usage:
        """The token counts."""
        return Usage(self.prompt_tokens, self.cached_tokens, self.completion_tokens)

    def keys(self) -> tuple[str, ...]:
        """The names of the fields, so that `dict(meta)` works."""
        return tuple(item.name for item in fields(self))

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __getitem__(self, key: str) -> Any:
        if key not in self.keys():
            raise ParameterError(f"meta data has no {key!r}{did_you_mean(key, self.keys())}")
        return getattr(self, key)


@dataclass(frozen=True, slots=True)
class Sample:
    """One finished answer: its text, its pieces as a prompt, its value and its meta data."""

    text: str
    pieces: tuple[Piece, ...]
    value: Any
    meta: Meta


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable's value; `text` is what stands in the prompt for it (a tuple of texts with `n > 1`)."""

    value: Any
    text: str | tuple[str, ...] | None = None
    meta: Meta = field(default_factory=Meta)
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a variable will appear, computed by `chain`.

    `future` is set once, with a `Variable` or an error; `feed` gets (sample, text) as the text comes. `parse` makes the
    value of a text, if that is not the text itself.
    """

    chain: Chain
    parse: Callable[[str], Any] | None = None
    future: Future[Variable] = field(default_factory=Future)
    feed: Feed[tuple[int, str]] = field(default_factory=Feed)

    def set(self, variable: Variable) -> None:
        """Give the readers their value; without effect after a failure."""
        if not self.future.done():
            self.future.set_result(variable)
        self.feed.close()

    def fail(self, error: BaseException) -> None:
        """Give the readers an error; without effect on a value that is there."""
        if not self.future.done():
            self.future.set_exception(error)
        self.feed.close(error)

    def texts(self, sample: int) -> Iterator[str]:
        """Yield the text of one sample as it comes; `ParameterError` at the end when there is no such sample."""
        for index, text in self.feed:
            if index == sample:
                yield text
        self._check_sample(sample)

    async def atexts(self, sample: int) -> AsyncIterator[str]:
        """The same without blocking the event loop."""
        async for index, text in self.feed:
            if index == sample:
                yield text
        self._check_sample(sample)

    def values(self, sample: int, *, open_strings: bool) -> Iterator[Any]:
        """Yield what the text of one sample spells so far, whenever a part of it is complete; at the end the value."""
        partial = self._partial(open_strings=open_strings)
        for text in self.texts(sample):
            if partial.feed(text):
                yield partial.value()
        yield self._value(sample)

    async def avalues(self, sample: int, *, open_strings: bool) -> AsyncIterator[Any]:
        """The same without blocking the event loop."""
        partial = self._partial(open_strings=open_strings)
        async for text in self.atexts(sample):
            if partial.feed(text):
                yield partial.value()
        yield self._value(sample)

    def _partial(self, *, open_strings: bool) -> Partial:
        if isinstance(self.parse, Reader):
            return self.parse.partial(open_strings=open_strings)
        return PartialText(is_open=open_strings and self.parse is None)

    def _value(self, sample: int) -> Any:
        variable = self.future.result()
        return variable.samples[sample].value if variable.samples else variable.value

    def _check_sample(self, sample: int) -> None:
        num = max(1, len(self.future.result().samples))
        if not 0 <= sample < num:
            raise ParameterError(f"there is no sample {sample!r}; there are samples 0 to {num - 1}")
