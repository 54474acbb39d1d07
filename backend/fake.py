"""`FakeBackend`: a backend without a model, for tests of programs: scripted answers, or random ones, always the same.

It obeys every request (limits, stops, constraints, samples, logprobs) and records what it was asked. It knows nothing
of programs or engines. Called by the interpreter through `api.Backend`, and by tests.
"""

from __future__ import annotations

import asyncio
import math
import random
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from ..lang.constraints import Constraint, is_complete
from ..lang.errors import (
    BackendError,
    ClosedError,
    DeadEndError,
    DeadlineError,
    ParameterError,
    PromptError,
    RamifyError,
    TruncationError,
    UnsupportedError,
)
from ..lang.sampling import Sampling
from .api import (
    Capabilities,
    ChatTemplate,
    ChoiceScore,
    Chunk,
    Finish,
    Piece,
    Request,
    ScoreRequest,
    Tokens,
    Usage,
    constraint_kind,
    prompt_text,
)
from .fake_sample import Logprobs, PrefixMemory, Sample, cut, pieces, unit
from .fake_text import draw_constrained, draw_words, token_id, tokenise

Answer = str | Sequence[str] | RamifyError | None
Script = Sequence[Answer] | Mapping[str, Answer] | Callable[[Request], Answer]
Scores = Mapping[str, float | Sequence[float]]

CHAT_TEMPLATE = ChatTemplate(
    source=(
        "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    ),
    special_tokens=(("eos_token", "<|end|>"),),
)
CAPABILITIES = Capabilities(
    model="fake",
    chat_template=CHAT_TEMPLATE,
    constraints=frozenset({"regex", "json_schema", "grammar", "choices"}),
    logprobs=True,
    scoring=True,
)


@dataclass(frozen=True, slots=True)
class FakeStats:
    """Token counts of a `FakeBackend` so far, under the names that the engine uses; each prompt counts once."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    running: int

    @property
    def cache_hit_rate(self) -> float:
        """Share of the prompt tokens that came from the cache, 0 before the first prompt."""
        return self.cached_tokens / self.prompt_tokens if self.prompt_tokens else 0.0


class FakeBackend:
    """A `Backend` that answers from a script, or at random but always the same way.

    - `script`: a list of answers in the order of requests; or regex -> answer, where the first pattern found in the
      prompt wins and other prompts get random answers; or a callable from the `Request` to an answer. An answer is a
      string, a list of strings (one a sample), a `RamifyError` to raise, or None for a random one. Answers are cut by
      `max_tokens` and stops as a model's would be; one that breaks the request's constraint raises `DeadEndError`.
    - `scores`: choice -> log-probability (of each token, or a list of them) for `select`, or a callable from the
      `ScoreRequest` to such a mapping; choices it does not name get deterministic values between -6 and -3.
    - `failures`: number of a generate request (from 0) -> the error it raises, or `(m, error)`: after m characters.
    - `seed`: of random answers. `delay` (or a callable from the request to it), `piece_delay`: seconds before the first
      piece and before each later one.
    - `token_len`: characters a token; the id of a one-character token is its code point. `piece_len`: tokens a piece.

    Records `requests`, `score_requests`, `aborted` (closed or cancelled before the end), `in_flight`, `max_in_flight`.

    >>> import ramify
    >>> backend = ramify.FakeBackend({r"France": " Paris"})
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        scores: Scores | Callable[[ScoreRequest], Scores] | None = None,
        failures: Mapping[int, RamifyError | tuple[int, RamifyError]] | None = None,
        seed: int = 0,
        delay: float | Callable[[Request | ScoreRequest], float] = 0.0,
        piece_delay: float = 0.0,
        token_len: int = 1,
        piece_len: int = 4,
        capabilities: Capabilities = CAPABILITIES,
    ) -> None:
        if token_len < 1 or piece_len < 1:
            raise ParameterError("token_len and piece_len must be at least 1")
        if isinstance(script, str):
            raise ParameterError(f"script must be a list, a mapping or a callable; for one answer write [{script!r}]")
        self.requests: list[Request] = []
        self.score_requests: list[ScoreRequest] = []
        self.aborted: list[Request | ScoreRequest] = []
        self.in_flight = 0
        self.max_in_flight = 0
        self.closed = False
        self._script = script
        self._scores = scores
        self._failures = dict(failures or {})
        self._seed = seed
        self._delay = delay
        self._piece_delay = piece_delay
        self._token_len = token_len
        self._piece_len = piece_len
        self._capabilities = capabilities
        self._cache = PrefixMemory()
        self._usage = Usage()
        self._lock = threading.Lock()  # programs run on any number of event loops

    @property
    def capabilities(self) -> Capabilities:
        """What this backend can do."""
        return self._capabilities

    @property
    def prompts(self) -> list[str]:
        """The prompt texts of the generate requests so far."""
        return [prompt_text(request.prompt) for request in self.requests]

    def stats(self) -> FakeStats:
        """Return the token counts so far; cached tokens are those an unlimited prefix cache would have held."""
        with self._lock:
            usage = self._usage
            return FakeStats(usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens, self.in_flight)

    async def generate(self, request: Request) -> AsyncIterator[Chunk]:
        """Stream the answer; closing the iterator before its last chunk records the request as aborted."""
        number, usage = self._open(request)
        ended = aborted = False
        try:
            pace = self._pace(request)
            limit, error = self._failure(number)
            samples = self._answer(request, number) if limit > 0 else []
            chunks = self._chunks(request, samples, usage)
            streamed = ""
            await pace.wait(streamed)
            for position, chunk in enumerate(chunks):
                if position:
                    await pace.wait(streamed)
                ended = position == len(chunks) - 1 and error is None
                if ended:
                    self._remember(request, samples)
                if len(streamed) + len(chunk.text) >= limit:
                    yield Chunk(index=chunk.index, text=chunk.text[: int(limit) - len(streamed)])
                    break
                streamed += chunk.text
                yield chunk if error is None else replace(chunk, finish=None, usage=None)
            if error is not None:
                raise error
        except (GeneratorExit, asyncio.CancelledError):
            aborted = not ended
            raise
        finally:
            self._release(request, aborted=aborted)

    async def score(self, request: ScoreRequest) -> list[ChoiceScore]:
        """Score every choice from `scores`, or deterministically from a hash of prompt and choice."""
        _, usage = self._open(request)
        aborted = False
        try:
            await self._pace(request).wait("")
            named = self._scores(request) if callable(self._scores) else self._scores or {}
            return [self._score(request, choice, named, usage) for choice in request.choices]
        except asyncio.CancelledError:
            aborted = True
            raise
        finally:
            self._release(request, aborted=aborted)

    async def close(self) -> None:
        """Refuse later calls with `ClosedError`; streams under way fail with it at their next piece."""
        self.closed = True

    def check_open(self) -> None:
        """Raise `ClosedError` after `close()`."""
        if self.closed:
            raise ClosedError("this FakeBackend is closed; make a new one")

    def _open(self, request: Request | ScoreRequest) -> tuple[int, Usage]:
        """Check and record a request; return its number and the usage of its prompt."""
        self.check_open()
        ids = self._prompt_ids(request.prompt)
        if not ids:
            raise PromptError("the prompt is empty; put some text before the first gen or select")
        context_len = self._capabilities.context_len
        if context_len is not None and len(ids) >= context_len:
            raise PromptError(f"the prompt has {len(ids)} tokens; the context of this model is {context_len}")
        constraint = request.constraint if isinstance(request, Request) else None
        if constraint is not None and constraint_kind(constraint) not in self._capabilities.constraints:
            raise UnsupportedError(f"this FakeBackend was made without {constraint_kind(constraint)} constraints")
        with self._lock:
            usage = Usage(len(ids), self._cache.match(request.hints.cache_salt, ids))
            self._usage += usage
            self._cache.add(request.hints.cache_salt, ids)
            self.in_flight += 1
            self.max_in_flight = max(self.max_in_flight, self.in_flight)
            if isinstance(request, ScoreRequest):
                self.score_requests.append(request)
                return len(self.score_requests) - 1, usage
            self.requests.append(request)
            return len(self.requests) - 1, usage

    def _release(self, request: Request | ScoreRequest, *, aborted: bool) -> None:
        with self._lock:
            self.in_flight -= 1
            if aborted:
                self.aborted.append(request)

    def _remember(self, request: Request, samples: Sequence[Sample]) -> None:
        prompt_ids = self._prompt_ids(request.prompt)
        with self._lock:
            for sample in samples:
                self._usage += Usage(completion_tokens=len(sample.ids))
                self._cache.add(request.hints.cache_salt, prompt_ids + sample.ids)

    def _prompt_ids(self, prompt: tuple[Piece, ...]) -> tuple[int, ...]:
        """Tokenise a prompt; neighbouring texts as one string, tokens as they are."""
        ids: list[int] = []
        text = ""
        for piece in prompt:
            if isinstance(piece, Tokens):
                ids.extend(map(token_id, tokenise(text, self._token_len)))
                ids.extend(piece.ids)
                text = ""
            else:
                text += piece.text
        return (*ids, *map(token_id, tokenise(text, self._token_len)))

    def _pace(self, request: Request | ScoreRequest) -> _Pace:
        delay = self._delay(request) if callable(self._delay) else self._delay
        return _Pace(self, delay, self._piece_delay, request.hints.timeout)

    def _failure(self, number: int) -> tuple[float, RamifyError | None]:
        """Return after how many characters the request fails, and the error; (inf, None) when it does not."""
        failure = self._failures.get(number)
        if failure is None:
            return math.inf, None
        return failure if isinstance(failure, tuple) else (0, failure)

    def _answer(self, request: Request, number: int) -> list[Sample]:
        answer = self._scripted(request, number)
        if isinstance(answer, RamifyError):
            raise answer
        count = request.sampling.n
        if answer is None:
            texts = [self._invent(request, index) for index in range(count)]
        elif isinstance(answer, str):
            texts = [answer] * count
        elif len(answer) == count:
            texts = list(answer)
        else:
            raise BackendError(f"the script gives {len(answer)} samples to a request for {count}")
        return [self._sample(request, text, index) for index, text in enumerate(texts)]

    def _scripted(self, request: Request, number: int) -> Answer:
        script = self._script
        if script is None or callable(script):
            return script(request) if script is not None else None
        if isinstance(script, Mapping):
            prompt = prompt_text(request.prompt)
            return next((answer for pattern, answer in script.items() if re.search(pattern, prompt)), None)
        if number >= len(script):
            raise BackendError(f"the script has {len(script)} answers and this is request {number + 1}")
        return script[number]

    def _invent(self, request: Request, index: int) -> str:
        rng = self._rng(request, index)
        if request.constraint is not None:
            return draw_constrained(request.constraint, rng)
        text = draw_words(rng, rng.randint(2, 6))
        return text + request.sampling.stop[0] if request.sampling.stop else text + "."

    def _rng(self, request: Request, index: int) -> random.Random:
        sampling = request.sampling
        drawn = "greedy" if sampling.is_greedy else f"{sampling.seed}/{index}"
        return random.Random(f"{self._seed}/{drawn}/{prompt_text(request.prompt)}")

    def _sample(self, request: Request, text: str, index: int) -> Sample:
        sampling, constraint = request.sampling, request.constraint
        if constraint is not None:
            return self._constrained(text, constraint, sampling)
        wanted = sampling.max_tokens if sampling.ignore_eos else sampling.min_tokens
        rng = self._rng(request, index)
        while len(text) < wanted * self._token_len:  # a model told not to stop goes on
            text += draw_words(rng, 4)
        return cut(tokenise(text, self._token_len), sampling)

    def _constrained(self, text: str, constraint: Constraint, sampling: Sampling) -> Sample:
        if is_complete(constraint, text) is False:
            raise DeadEndError(f"the scripted answer {text!r} does not satisfy {constraint}")
        tokens = tokenise(text, self._token_len)
        sample = cut(tokens, sampling.with_(ignore_eos=False, min_tokens=0))
        if sample.finish.reason == "stop":
            return sample
        if len(sample.tokens) < len(tokens):
            message = f"max_tokens={sampling.max_tokens} ended the output inside a constrained value"
            raise TruncationError(message, partial=sample.text)
        return Sample(sample.tokens, sample.ids, sample.text, Finish("stop", None, len(tokens)))

    def _chunks(self, request: Request, samples: Sequence[Sample], usage: Usage) -> list[Chunk]:
        """Cut each sample into pieces and interleave the samples."""
        prompt = request.prompt
        logprobs = Logprobs(self._seed, prompt_text(prompt), self._prompt_ids(prompt), request.sampling)
        streams = [
            pieces(
                sample,
                index=index,
                piece_len=self._piece_len,
                usage=Usage(usage.prompt_tokens, usage.cached_tokens, len(sample.ids)),
                logprobs=logprobs,
            )
            for index, sample in enumerate(samples)
        ]
        return [chunk for turn in zip_longest(*streams) for chunk in turn if chunk is not None]

    def _score(self, request: ScoreRequest, choice: str, named: Scores, usage: Usage) -> ChoiceScore:
        ids = tuple(map(token_id, tokenise(choice, self._token_len)))
        prompt = prompt_text(request.prompt)
        value = named.get(choice)
        if value is None:
            logprobs = tuple(-3 - 3 * unit(self._seed, "choice", prompt, choice, str(i)) for i in range(len(ids)))
        elif isinstance(value, (int, float)):
            logprobs = (float(value),) * len(ids)
        else:
            logprobs = tuple(map(float, value))
            if len(logprobs) != len(ids):
                raise BackendError(f"scores gives {len(logprobs)} values to {choice!r}, which has {len(ids)} tokens")
        bare = (-3 - 3 * unit(self._seed, "bare", choice, str(i)) for i in range(len(ids)))
        return ChoiceScore(choice, ids, logprobs, tuple(bare) if request.unconditional else (), usage)


class _Pace:
    """The waits between the pieces of one answer; keeps the request's deadline."""

    def __init__(self, backend: FakeBackend, first: float, later: float, timeout: float | None) -> None:
        self._backend = backend
        self._next = first
        self._later = later
        self._timeout = timeout
        self._start = time.monotonic()

    async def wait(self, partial: str) -> None:
        """Sleep until the next piece is due; raise when the deadline or the backend's close comes first."""
        due, self._next = self._next, self._later
        timeout = self._timeout
        remaining = math.inf if timeout is None else timeout - (time.monotonic() - self._start)
        await asyncio.sleep(max(0.0, min(due, remaining)))
        if due > remaining:
            raise DeadlineError(f"the request took longer than its timeout of {timeout:g} s", partial=partial)
        self._backend.check_open()
