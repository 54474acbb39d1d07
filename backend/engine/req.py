"""`Req`: the state of one sequence inside the engine, in one place. No torch, no programs, no asyncio.

Made by the engine's front, owned by the scheduler, read by the worker. Comments say who writes each field.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from ...lang.errors import RamifyError
from ...lang.sampling import Sampling
from ..api import Finish, TokenLogprob

if TYPE_CHECKING:
    from .grammar.api import Matcher
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
    priority: int = 0
    deadline: float | None = None  # time.monotonic() seconds
    group: str | None = None
    program: str | None = None
    cache_salt: str = ""
    # first prompt token whose logprob is wanted; None: no prompt logprobs. Caps the usable prefix match at start - 1.
    logprob_start_len: int | None = None
    arrival: float = 0.0  # time.monotonic() seconds, set when the scheduler receives it

    # -- progress, written by the scheduler
    output_ids: list[int] = field(default_factory=list)  # append-only
    output_logprobs: list[TokenLogprob] = field(default_factory=list)
    input_logprobs: list[TokenLogprob] = field(default_factory=list)
    finished: Finish | None = None
    error: RamifyError | None = None  # finished with an error
    num_sent: int = 0  # output tokens already handed to the front
    cached_tokens: int = 0  # prompt tokens found in the cache at first admission
    num_retractions: int = 0

    # -- memory, written by the scheduler at admission and release
    row: int = -1  # index into ReqToTokenPool and every per-row table; -1: none
    prefix_len: int = 0  # tokens whose KV is written (or ordered before the next forward)
    extend_len: int = 0  # tokens that the forward being planned computes
    last_node: TreeNode | None = None  # locked tree node of the prefix
    cache_protected_len: int = 0  # slots [0, cache_protected_len) belong to the tree

    @property
    def fill_ids(self) -> list[int]:
        """All tokens so far: prompt and output."""
        return self.origin_input_ids + self.output_ids

    @property
    def num_tokens(self) -> int:
        """`len(fill_ids)` without building the list."""
        return len(self.origin_input_ids) + len(self.output_ids)

    @property
    def is_done(self) -> bool:
        """True once it has finished or failed."""
        return self.finished is not None or self.error is not None
