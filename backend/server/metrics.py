"""`Metrics`: what the server counts and times, in Prometheus' terms, in a registry of its own.

Observes requests and chunks as they pass; the engine's own counts are read when somebody asks. Called by the service.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ..api import Chunk, Request, Usage

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

MAX_PROGRAMS = 100  # names that get lines of their own: clients choose them

# Engine counts that only grow are counters; the others are the moment's.
_TOTALS = frozenset(
    (
        *("requests", "prompt_tokens", "cached_tokens", "computed_tokens", "completion_tokens", "forced_tokens"),
        *("retractions", "aborted", "failed", "steps", "admitted", "queue_seconds"),
        *("grammar_requests", "grammar_compiles", "grammar_refusals"),
    )
)


class Metrics:
    """Counters and histograms of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self.requests = Counter(
            "ramify_http_requests", "Requests by route and status", ["route", "status"], registry=registry
        )
        self.rejected = Counter("ramify_rejections", "Requests refused because of load", registry=registry)
        self.open = Gauge("ramify_open_generations", "Generations that have not ended", registry=registry)
        self.first_token = Histogram(
            "ramify_time_to_first_token_seconds", "From request to first text", buckets=_SECONDS, registry=registry
        )
        self.inter_token = Histogram(
            "ramify_inter_token_seconds", "Between two chunks of one sample", buckets=_SECONDS, registry=registry
        )
        self.duration = Histogram(
            "ramify_generation_seconds", "From request to end", buckets=_SECONDS, registry=registry
        )
        self.prompt_tokens = Counter("ramify_prompt_tokens", "Prompt tokens", registry=registry)
        self.cached_tokens = Counter("ramify_cached_tokens", "Prompt tokens found in the cache", registry=registry)
        self.completion_tokens = Counter("ramify_completion_tokens", "Generated tokens", registry=registry)
        self.constrained = Counter("ramify_constrained_generations", "Generations with a constraint", registry=registry)
        self.program_runs = Counter(
            "ramify_program_runs", "Runs of shipped programs", ["program", "outcome"], registry=registry
        )
        self.program_tokens = Counter(
            "ramify_program_tokens", "Tokens of shipped programs", ["program", "kind"], registry=registry
        )
        self.program_seconds = Histogram(
            "ramify_program_seconds", "Runs of shipped programs", ["program"], buckets=_SECONDS, registry=registry
        )
        self._programs: set[str] = set()

    @contextlib.contextmanager
    def generation(self, request: Request) -> Iterator[Callable[[Chunk], None]]:
        """Observe one generation; the function it gives is called with every chunk."""
        began = time.perf_counter()
        last: dict[int, float] = {}
        if request.constraint is not None:
            self.constrained.inc()

        def observe(chunk: Chunk) -> None:
            now = time.perf_counter()
            if chunk.index in last:
                self.inter_token.observe(now - last[chunk.index])
            else:
                self.first_token.observe(now - began)
            last[chunk.index] = now
            if chunk.usage is not None:
                self.prompt_tokens.inc(chunk.usage.prompt_tokens)
                self.cached_tokens.inc(chunk.usage.cached_tokens)
                self.completion_tokens.inc(chunk.usage.completion_tokens)

        with self.open.track_inprogress():
            try:
                yield observe
            finally:
                self.duration.observe(time.perf_counter() - began)

    def program_run(self, name: str, usage: Usage | None, seconds: float) -> None:
        """Count the run of a shipped program; `usage` is None when it failed. Names past the first hundred are one."""
        if len(self._programs) < MAX_PROGRAMS:
            self._programs.add(name)
        label = name if name in self._programs else "(other)"
        self.program_runs.labels(label, "failed" if usage is None else "done").inc()
        self.program_seconds.labels(label).observe(seconds)
        if usage is not None:
            self.program_tokens.labels(label, "prompt").inc(usage.prompt_tokens)
            self.program_tokens.labels(label, "cached").inc(usage.cached_tokens)
            self.program_tokens.labels(label, "completion").inc(usage.completion_tokens)

    def text(self, engine: Mapping[str, float]) -> bytes:
        """Return everything in Prometheus' text format; `engine`: the engine's counts at this moment."""
        return generate_latest(self.registry) + generate_latest(_engine_registry(engine))


def _engine_registry(counts: Mapping[str, float]) -> CollectorRegistry:
    registry = CollectorRegistry()
    for name, value in counts.items():
        if name in _TOTALS:
            Counter(f"ramify_engine_{name}", f"Engine: {name}, since its start", registry=registry).inc(value)
        else:
            Gauge(f"ramify_engine_{name}", f"Engine: {name}, at this moment", registry=registry).set(value)
    if counts.get("prompt_tokens"):
        rate = Gauge("ramify_engine_cache_hit_rate", "Share of prompt tokens found in the cache", registry=registry)
        rate.set(counts["cached_tokens"] / counts["prompt_tokens"])
    return registry
