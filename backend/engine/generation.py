"""`Generation`: one finished sample as `Engine.generate` returns it, and the conversions from the scheduler's outputs.

Plain facts; knows nothing of threads. Called by the engine's front.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...lang.errors import RamifyError, RequestError, TruncationError
from ..api import Chunk, Finish, FinishReason, TokenLogprob, Usage
from .messages import StepOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One generated text.

    `token_ids` are all generated tokens, the end-of-sequence or stop token included; `finish` says how many of them the
    text covers. `logprobs` has one entry a token, `prompt_logprobs` one a prompt token from `logprob_start` on, if
    asked for. `str(generation)` is the text.

    With a constraint, "stop" means that the text is a whole value of it. One that `max_tokens` cut short has
    `finish_reason` "length" and `is_partial`; `raise_for_truncation` makes an error of it.
    """

    text: str
    token_ids: tuple[int, ...]
    finish: Finish
    usage: Usage
    logprobs: tuple[TokenLogprob, ...] = ()
    prompt_logprobs: tuple[TokenLogprob, ...] = ()
    index: int = 0

    def __str__(self) -> str:
        return self.text

    @property
    def finish_reason(self) -> FinishReason:
        """Why it ended: "stop" or "length"."""
        return self.finish.reason

    @property
    def matched_stop(self) -> str | int | None:
        """The stop string, pattern or token id (end-of-sequence included) that ended it, if any."""
        return self.finish.matched

    @property
    def is_partial(self) -> bool:
        """True when `max_tokens` ended the text inside its constraint."""
        return self.finish.is_partial

    def raise_for_truncation(self) -> Generation:
        """Return this, or raise `TruncationError` (with the text as `partial`) when it is partial.

        >>> engine.generate("Age:", regex="[0-9]+ years", max_tokens=8).raise_for_truncation()  # doctest: +SKIP
        """
        if self.is_partial:
            raise TruncationError(
                f"max_tokens ended the text inside its constraint: {self.text!r}; give it more tokens",
                partial=self.text,
            )
        return self

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt."""
        return self.usage.prompt_tokens

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens that were found in the prefix cache."""
        return self.usage.cached_tokens

    @property
    def completion_tokens(self) -> int:
        """Generated tokens."""
        return self.usage.completion_tokens


def to_generation(output: StepOutput) -> Generation:
    """Convert the only output of a sequence that was not streamed."""
    assert output.finish is not None and output.usage is not None
    return Generation(
        text=output.text,
        token_ids=output.token_ids,
        finish=output.finish,
        usage=output.usage,
        logprobs=output.logprobs,
        prompt_logprobs=output.input_logprobs,
        index=output.req.index,
    )


def to_chunk(output: StepOutput) -> Chunk:
    """Convert one output of a streamed sequence."""
    return Chunk(
        index=output.req.index,
        text=output.text,
        token_ids=output.token_ids,
        logprobs=output.logprobs,
        prompt_logprobs=output.input_logprobs,
        finish=output.finish,
        usage=output.usage,
    )


def with_partial(error: RamifyError, text: str) -> RamifyError:
    """Return `error` with the text generated before it, where its type has room for that."""
    if isinstance(error, RequestError) and not error.partial:
        error.partial = text
    return error
