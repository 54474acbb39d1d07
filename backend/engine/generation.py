"""`Generation`: one finished sample as `Engine.generate` returns it, and the conversions from the scheduler's outputs.

Plain facts; knows nothing of threads. Called by the engine's front.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...lang.errors import RamifyError, RequestError
from ..api import Chunk, Finish, FinishReason, TokenLogprob, Usage
from .messages import StepOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One generated text.

    `token_ids` are all generated tokens, the end-of-sequence or stop token included; `finish` says how many of them the
    text covers. `logprobs` has one entry a token, `prompt_logprobs` one a prompt token from `logprob_start` on, if
    asked for. `str(generation)` is the text.
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
