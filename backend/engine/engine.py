"""`Engine`: a model and everything that serves it, in this process. The composition root of the engine's parts.

Has the blocking and the async face for users, and is a `Backend` for programs; decides nothing that its parts decide.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Generator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, overload

from ...lang.constraints import CONSTRAINT_KINDS, Constraint, constraint_of
from ...lang.errors import ParameterError
from ...lang.sampling import Sampling
from .. import registry
from ..api import Capabilities, ChoiceScore, Chunk, Hints, Request, ScoreRequest, new_id
from .engine_thread import EngineThread
from .front import Front
from .generation import Generation
from .grammar.service import COMPILE_TIMEOUT, GrammarService
from .kv_manager import KVManager
from .model_runner import ModelRunner, default_max_total_tokens
from .model_worker import ModelWorker
from .models.loader import load_model
from .prompts import Prompt, as_pieces, is_batch
from .request_builder import RequestBuilder
from .sampler import Sampler
from .scheduler import Scheduler, SchedulerConfig
from .stats import EngineStats, ProgramStats
from .tokenizer import Tokenizer, load_tokenizer

if TYPE_CHECKING:
    from .models.api import CausalLM
    from .models.loader import DType

Answer = Generation | list[Generation]
"""What one prompt gives: one `Generation`, or a list of them for `n` > 1."""


class Engine:
    """Runs a model on one engine thread: continuous batching, a prefix cache, constrained sampling.

    - `model`: None for the embedded model; a folder with safetensors weights, or a hub id.
    - `dtype`: "auto" (the checkpoint's where it is fast, else float32), "float32", "bfloat16". `device`: "auto" is CUDA
      when present.
    - `max_total_tokens`: tokens of KV memory; None: from the memory that is free. `max_running`: sequences at once.
      `page_size`: tokens a page of it. `chunked_prefill_size`: most tokens of one forward.
    - `radix_cache`: keep prefixes for later requests. `policy`: order of admission. `grammar`: plugin for constraints.
    - `jump_forward`: tokens that a constraint leaves no choice about are appended without sampling and computed in one
      go; the output is the same. `heal`: heal the border between prompt and answer, for requests that do not say.
      `compile_timeout`: seconds that compiling a constraint may take; it is an error after that.
    - `num_threads`: of torch; None leaves torch's own choice. `seed`: for requests that bring none.

    Thread-safe. A `Backend`: pass it wherever one is taken. Close it, or use it in a `with` block.

    >>> import ramify
    >>> with ramify.Engine() as engine:  # doctest: +SKIP
    ...     print(engine.generate("The capital of France is", max_tokens=8, temperature=0).text)
     Paris.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        dtype: DType = "auto",
        device: str = "auto",
        max_total_tokens: int | None = None,
        max_running: int = 64,
        page_size: int = 1,
        chunked_prefill_size: int = 512,
        radix_cache: bool = True,
        policy: str = "aged-lpm",
        overlap: bool | None = None,
        grammar: str = "auto",
        jump_forward: bool = True,
        heal: bool = False,
        compile_timeout: float = COMPILE_TIMEOUT,
        num_threads: int | None = None,
        seed: int = 0,
    ) -> None:
        _check_sizes(max_total_tokens=max_total_tokens, page_size=page_size, chunked_prefill_size=chunked_prefill_size)
        _check_sizes(max_running=max_running, num_threads=num_threads)
        _check_choices(overlap=overlap, seed=seed)
        make_policy = registry.load("policies", policy)
        loaded = load_model(model, dtype=dtype, device=device)
        tokenizer = load_tokenizer(loaded.folder, vocab_size=loaded.model.vocab_size)
        total = _num_slots(loaded.model, max_total_tokens, page_size)
        context_len = min(loaded.model.context_len, total)
        thread = EngineThread(num_threads=num_threads)
        kv = KVManager.create(
            max_running=max_running,
            max_context=context_len,
            max_total_tokens=total,
            page_size=page_size,
            radix_cache=radix_cache,
        )
        worker = _make_worker(loaded.model, tokenizer, kv)
        grammars = GrammarService(tokenizer.vocabulary, grammar, timeout=compile_timeout)
        config = SchedulerConfig(chunked_prefill_size=chunked_prefill_size, jump_forward=jump_forward)
        thread.start(Scheduler(worker, kv, make_policy(), thread.emit, config))
        self.tokenizer, self.folder = tokenizer, loaded.folder
        self._front = Front(thread, RequestBuilder(tokenizer, context_len=context_len, seed=seed, heal=heal), grammars)
        self._capabilities = Capabilities(
            model="ramify-embedded" if model is None else str(model),
            chat_template=tokenizer.chat_template,
            constraints=grammars.kinds,
            logprobs=True,
            scoring=True,
            context_len=context_len,
        )

    @property
    def capabilities(self) -> Capabilities:
        """What it can do; see `Backend`."""
        return self._capabilities

    @overload
    def generate(self, prompt: Request, /) -> AsyncIterator[Chunk]: ...
    @overload
    def generate(
        self,
        prompt: Prompt | Sequence[Prompt],
        *,
        constraint: Constraint | None = None,
        hints: Hints | None = None,
        **sampling: Any,
    ) -> Any: ...
    def generate(
        self,
        prompt: Any,
        *,
        constraint: Constraint | None = None,
        hints: Hints | None = None,
        **sampling: Any,
    ) -> Any:
        """Generate, waiting for the answer: a `Generation`, a list of `n` > 1 of them, or a list of these for a list.

        A prompt is text (data: special tokens spelled in it are not recognised), a list of token ids, of chat messages,
        or a tuple of pieces. `sampling`: see `Sampling`, and one of `regex=`, `json_schema=`, `grammar=`,
        `choices=` (or a `constraint`). A value that `max_tokens` cuts short is returned as `is_partial`. The first
        prompt of a list that fails ends the others.

        Given a `Request` alone it is `Backend.generate`: it returns the async iterator of chunks.

        >>> engine.generate(["2 + 2 =", "3 + 3 ="], max_tokens=4, temperature=0)  # doctest: +SKIP
        """
        if isinstance(prompt, Request):
            if constraint is not None or hints is not None or sampling:
                raise ParameterError("a Request holds its own sampling, constraint and hints; give it alone")
            return self._front.stream(prompt)
        requests = self._requests(prompt, constraint, hints, sampling)
        return _shape(prompt, requests, self._front.generate_blocking(requests))

    async def agenerate(
        self,
        prompt: Prompt | Sequence[Prompt],
        *,
        constraint: Constraint | None = None,
        hints: Hints | None = None,
        **sampling: Any,
    ) -> Any:
        """`generate` for event loops; cancelling it aborts its requests."""
        requests = self._requests(prompt, constraint, hints, sampling)
        return _shape(prompt, requests, await self._front.generate(requests))

    @overload
    def score(self, prompt: ScoreRequest, /) -> Coroutine[Any, Any, list[ChoiceScore]]: ...
    @overload
    def score(self, prompt: Prompt, choices: Sequence[str], *, unconditional: bool = False) -> list[ChoiceScore]: ...
    def score(self, prompt: Any, choices: Sequence[str] = (), *, unconditional: bool = False) -> Any:
        """Score each choice as the continuation of `prompt`, waiting for the answer; one `ChoiceScore` a choice.

        Given a `ScoreRequest` alone it is `Backend.score`.

        >>> [score.choice for score in engine.score("Is it hot?", [" yes", " no"])]  # doctest: +SKIP
        [' yes', ' no']
        """
        if isinstance(prompt, ScoreRequest):
            return self._front.score(prompt)
        if isinstance(choices, str):
            raise ParameterError(f"choices must be a list of strings, got the string {choices!r}")
        pieces = as_pieces(prompt, self.tokenizer)
        return self._front.score_blocking(
            ScoreRequest(prompt=pieces, choices=tuple(choices), unconditional=unconditional)
        )

    def stats(self) -> EngineStats:
        """Return the engine's counts, taken between two steps."""
        return self._front.thread.call(lambda scheduler: scheduler.stats())

    def program_stats(self) -> dict[str, ProgramStats]:
        """Return what each program used: those that run and the last thousand that ended, by `Hints.program`.

        A program's own total is `result.usage`; this is for looking at an engine that many programs share.
        """
        return self._front.thread.call(lambda scheduler: scheduler.program_stats())

    def grammar_stats(self) -> dict[str, int]:
        """Return how many constraints were asked for, compiled and refused; the others came from the cache."""
        grammars = self._front.grammars
        return {
            "grammar_requests": grammars.num_asked,
            "grammar_compiles": grammars.num_compiled,
            "grammar_refusals": grammars.num_refused,
        }

    def cache_snapshot(self) -> dict[str, Any]:
        """Return the prefix tree as plain values that JSON can hold: nodes with their tokens, locks and ages."""
        return self._front.thread.call(lambda scheduler: scheduler.tree_cache.snapshot())

    def flush_cache(self) -> None:
        """Forget every cached prefix that no running request uses."""
        self._front.thread.call(lambda scheduler: scheduler.flush_cache())

    def close(self) -> Coroutine[Any, Any, None]:
        """End the engine: open requests fail with `ClosedError`, the thread is joined. Closing again does nothing.

        All of it happens in the call; the result may be awaited, as `Backend` has it, or dropped.
        """
        self._front.close()
        return _Done()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._front.close()

    def __repr__(self) -> str:
        return f"Engine({self._capabilities.model!r}, context_len={self._capabilities.context_len})"

    def _requests(
        self, prompt: Any, constraint: Constraint | None, hints: Hints | None, sampling: dict[str, Any]
    ) -> list[Request]:
        kinds = [name for name in CONSTRAINT_KINDS if sampling.get(name) is not None]
        if len(kinds) + (constraint is not None) > 1:
            given = ", ".join((*kinds, *(["constraint"] if constraint is not None else [])))
            raise ParameterError(f"a request has one constraint at most; given are {given}")
        if kinds:
            constraint = constraint_of(kinds[0], sampling[kinds[0]])
        parameters = Sampling.of(**{name: value for name, value in sampling.items() if name not in CONSTRAINT_KINDS})
        return [
            Request(
                prompt=as_pieces(one, self.tokenizer),
                sampling=parameters,
                constraint=constraint,
                stream=False,
                id=new_id(),
                hints=hints or Hints(),
            )
            for one in (prompt if is_batch(prompt) else [prompt])
        ]


def _num_slots(model: CausalLM, max_total_tokens: int | None, page_size: int) -> int:
    """Return how many tokens of KV memory there are: whole pages."""
    if max_total_tokens is None:
        return default_max_total_tokens(model, page_size=page_size)
    if max_total_tokens < page_size:
        raise ParameterError(f"max_total_tokens ({max_total_tokens}) is less than one page of {page_size} tokens")
    return max_total_tokens // page_size * page_size


def _make_worker(model: CausalLM, tokenizer: Tokenizer, kv: KVManager) -> ModelWorker:
    """Join the model, a KV pool for the slots of `kv`, and a sampler for its rows."""
    page_size = kv.allocator.page_size
    runner = ModelRunner(model, kv.pool.req_to_token, max_total_tokens=kv.allocator.total, page_size=page_size)
    on_device = model.device.type == "cuda"
    return ModelWorker(runner, Sampler(tokenizer.vocabulary, max_running=kv.pool.max_running, on_device=on_device))


class _Done(Coroutine[Any, Any, None]):
    """A coroutine that has nothing left to do and does not mind never being awaited."""

    def __await__(self) -> Generator[Any, None, None]:
        yield from ()

    def send(self, value: Any) -> Any:
        raise StopIteration

    def throw(self, kind: Any, value: Any = None, trace: Any = None) -> Any:
        raise kind if value is None else value

    def close(self) -> None:
        """Nothing to close."""


def _shape(prompt: Any, requests: Sequence[Request], results: list[list[Generation]]) -> Any:
    """Return what the user asked for: one answer for one prompt, a list for a list; one sample or a list of `n`."""
    answers: list[Answer] = [
        samples[0] if request.sampling.n == 1 else samples for request, samples in zip(requests, results, strict=True)
    ]
    return answers if is_batch(prompt) else answers[0]


def _check_sizes(**sizes: int | None) -> None:
    for name, value in sizes.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ParameterError(f"{name} must be a positive integer, got {value!r}")


def _check_choices(*, overlap: bool | None, seed: int) -> None:
    if overlap:
        raise ParameterError("overlap=True is not available in this version; leave it out")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ParameterError(f"seed must be an integer, got {seed!r}")
