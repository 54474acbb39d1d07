"""`Req`: the state of one sequence inside the engine, in one place. No torch, no programs, no asyncio.

Made by the engine's front, owned by the scheduler, read by the worker. Comments say who writes each field.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from ...lang.errors import RamifyError
from ...lang.sampling import Sampling
from ..api import Finish, TokenLogprob

if TYPE_CHECKING:
    from .grammar.api import Matcher
    from .healing import HealingMatcher
    from .programs import Program
    from .radix_cache import TreeNode


class OutputText(Protocol):
    """Turns output ids into text and watches for stop strings (`detokenizer.py`; tests use a plain one)."""

    def push(self, token_id: int) -> Finish | None:
        """Add one output token; a `Finish` when a stop string or pattern ended the text."""
        ...

    def end(self, finish: Finish) -> Finish:
        """Flush held-back text for a sequence that ends for another reason; fills `num_kept` and `tail`."""
        ...

    def take(self) -> str:
        """Return the text that became safe to send since the last call."""
        ...

    def skip(self, num_bytes: int) -> None:
        """The next token begins with so many bytes of the prompt, which are no part of the text."""
        ...


@dataclass(slots=True, eq=False)
class Req:
    """One sequence: a prompt, how to sample, and how far it has come."""

    # -- facts, set by the front and never changed
    rid: str
    origin_input_ids: list[int]  # the prompt, at least one token
    sampling: Sampling  # n = 1, seed set
    index: int = 0  # which of the n samples
    stop_token_ids: frozenset[int] = frozenset()  # end-of-sequence included unless ignore_eos
    output_text: OutputText | None = None
    matcher: Matcher | None = None  # set once its constraint is compiled
    healing: HealingMatcher | None = None  # the matcher, until it has replaced the token taken from the prompt's end
    priority: int = 0
    deadline: float | None = None  # time.monotonic() seconds
    program: str | None = None
    keep_prefix: bool = False  # its program will go on from it
    cache_salt: str = ""
    # first prompt token whose logprob is wanted; None: no prompt logprobs. Caps the usable prefix match at start - 1.
    logprob_start_len: int | None = None
    stream: bool = True  # False: the scheduler hands out one output, at the end
    arrival: float = 0.0  # time.monotonic() seconds, set when the scheduler receives it
    max_new_tokens: int = 0  # max_tokens, less where the context ends; set when the scheduler receives it

    # -- progress, written by the scheduler
    output_ids: list[int] = field(default_factory=list)  # append-only
    output_logprobs: list[TokenLogprob] = field(default_factory=list)
    input_logprobs: list[TokenLogprob] = field(default_factory=list)
    finished: Finish | None = None
    error: RamifyError | None = None  # finished with an error
    num_sent: int = 0  # output tokens already handed to the front
    cached_tokens: int = 0  # prompt tokens found in the cache at first admission
    num_retractions: int = 0
    arrival_seq: int = 0  # place in line, kept over retraction; written by the waiting queue
    arrived_at: float = 0.0  # the queue's work clock then
    program_record: Program | None = None  # what the engine knows of its program
    path_before: int = 0  # tokens of the longest chain of its program's requests that had ended when it came

    # -- memory, written by the scheduler at admission and release
    row: int = -1  # index into ReqToTokenPool and every per-row table; -1: none
    prefix_len: int = 0  # tokens whose KV is written (or ordered before the next forward)
    extend_len: int = 0  # tokens that the forward being planned computes
    last_node: TreeNode | None = None  # locked tree node of the prefix
    cache_protected_len: int = 0  # slots [0, cache_protected_len) belong to the tree
    _tokens: NDArray[np.int32] | None = None  # what `token_array` built last

    @property
    def fill_ids(self) -> list[int]:
        """All tokens so far: prompt and output."""
        return self.origin_input_ids + self.output_ids

    @property
    def num_tokens(self) -> int:
        """`len(fill_ids)` without building the list."""
        return len(self.origin_input_ids) + len(self.output_ids)

    def token_at(self, position: int) -> int:
        """Token number `position` of `fill_ids`."""
        num_prompt = len(self.origin_input_ids)
        return self.origin_input_ids[position] if position < num_prompt else self.output_ids[position - num_prompt]

    def extend_prompt(self, token: int) -> None:
        """Put back the token that was taken from the prompt's end."""
        self.origin_input_ids = [*self.origin_input_ids, token]
        self._tokens = None

    def token_array(self) -> NDArray[np.int32]:
        """`fill_ids` as an array (num_tokens,), built once and then only extended; never write to it."""
        done = self._tokens
        if done is None:
            done = np.array(self.origin_input_ids, dtype=np.int32)
        missing = self.num_tokens - len(done)
        if missing:
            done = np.concatenate([done, np.array(self.output_ids[-missing:], dtype=np.int32)])
        self._tokens = done
        return done

    @property
    def num_to_compute(self) -> int:
        """Tokens that must go through the model before this request gets its next result.

        All of them to sample the next token. Pure scoring needs no logits after its last token, so it leaves that out.
        """
        if self.max_new_tokens == 0 and self.logprob_start_len is not None:
            return max(1, self.num_tokens - 1)
        return self.num_tokens

    @property
    def max_prefix_len(self) -> int:
        """The longest prefix that need not be computed: one token less than all, and what the prompt logprobs need."""
        longest = self.num_to_compute - 1
        if self.logprob_start_len is not None:
            wanted = self.logprob_start_len + len(self.input_logprobs)
            if wanted < len(self.origin_input_ids):
                longest = min(longest, max(wanted - 1, 0))
        return longest

    @property
    def is_done(self) -> bool:
        """True once it has finished or failed."""
        return self.finished is not None or self.error is not None
