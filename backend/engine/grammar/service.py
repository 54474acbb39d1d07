"""`GrammarService`: compiles constraints for one engine, off the event loop, once each, within a deadline.

It chooses the plugin, keeps what was compiled as long as memory allows, and knows nothing of how a plugin works or of
requests. Called by the engine's front; one per engine.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

from ....lang.constraints import Choices, Constraint, Grammar, JsonSchema, Regex
from ....lang.errors import ClosedError, ConstraintError, ParameterError, PluginError, RamifyError
from ... import registry
from ...api import ConstraintKind, constraint_kind
from ..vocabulary import Vocabulary
from .api import CompiledGrammar, GrammarCompiler, GrammarPlugin

# Seconds. 99 % of real schemas take less than 0.04, a first lark grammar 0.2 with the start of its process. The rest is
# for busy machines: nobody but the request itself waits.
COMPILE_TIMEOUT: Final = 5.0
CACHE_BYTES: Final = 256 << 20
MAX_CACHED: Final = 256  # grammars
MAX_WORKERS: Final = 2
MAX_ABANDONED: Final = 4  # compiles past their deadline whose native code has not returned

_GRACE: Final = 0.5  # seconds that a plugin which keeps the deadline itself gets for ending its work

# What `auto` tries for each kind, in order. A byte automaton's masks are copied in 2 us once a state has been seen;
# llguidance compiles a schema in 3 ms (an automaton: 5 to 900), takes all of them, and fills a mask in 15 to 50 us.
AUTO: Final[dict[ConstraintKind, tuple[str, ...]]] = {
    "choices": ("outlines",),
    "regex": ("outlines", "llguidance"),
    "json_schema": ("llguidance",),
    "grammar": ("lark",),
}

# What a constraint is compiled with, aside, once it has been asked for so often that cheaper masks pay. Both plugins
# allow the same tokens everywhere, so no output depends on when that happens.
UPGRADES: Final[dict[ConstraintKind, str]] = {"json_schema": "outlines"}
HITS_BEFORE_UPGRADE: Final = 4
_HITS_BETWEEN_CHECKS: Final = 32  # of the cache's size: grammars grow as masks are computed

_Key = tuple[Constraint, str | None]  # a constraint, and the plugin that was asked for by name


@dataclass(slots=True, eq=False)
class _Job:
    """One compile under way.

    `expired`: its deadline passed, and its future failed, before it returned. `is_upgrade`: nobody waits for it; it
    replaces the grammar in the cache.
    """

    constraint: Constraint
    plugin: str | None
    future: Future[CompiledGrammar] = field(default_factory=Future)
    expired: bool = False
    is_upgrade: bool = False

    @property
    def key(self) -> _Key:
        """What it is found by."""
        return self.constraint, self.plugin


@dataclass(slots=True, eq=False)
class _Entry:
    """A grammar in the cache and how often it was found there."""

    grammar: CompiledGrammar
    hits: int = 0


class GrammarService:
    """Compiles for one vocabulary. `plugin`: a name in `ramify.grammars`, or "auto". `timeout`: seconds for a compile.

    Example: `service = GrammarService(vocabulary)`; in a coroutine, `grammar = await
    asyncio.wrap_future(service.compile(Regex("[0-9]+")))`; `matcher = grammar.matcher()`; at the end `service.close()`.
    """

    def __init__(self, vocabulary: Vocabulary, plugin: str = "auto", *, timeout: float = COMPILE_TIMEOUT) -> None:
        if (
            isinstance(timeout, bool)
            or not isinstance(timeout, int | float)
            or not 0 < timeout <= threading.TIMEOUT_MAX
        ):
            raise ParameterError(f"compile_timeout must be a positive number of seconds, got {timeout!r}")
        self._vocabulary = vocabulary
        self._timeout = timeout
        names = sorted(set(itertools.chain(*AUTO.values()))) if plugin == "auto" else [plugin]
        self._plugins: dict[str, GrammarPlugin] = {name: registry.load("grammars", name) for name in names}
        self._order = AUTO if plugin == "auto" else dict.fromkeys(self._plugins[plugin].kinds, (plugin,))
        self._compilers: dict[str, GrammarCompiler] = {}
        # Reentrant: an engine that nobody closed is closed by the garbage collector, in whatever thread that runs.
        self._making = threading.RLock()  # held while a compiler is made
        self._lock = threading.RLock()  # guards everything below
        self._cache: dict[_Key, _Entry] = {}  # least recently used first
        self._pending: dict[_Key, _Job] = {}
        self._queue: deque[_Job] = deque()
        self._num_workers = 0
        self._num_abandoned = 0
        self._is_upgrading = False
        self._closed = False
        self.num_asked = 0  # of these, the cache answered all that were neither compiled nor refused
        self.num_compiled = 0
        self.num_refused = 0

    @property
    def kinds(self) -> frozenset[ConstraintKind]:
        """The kinds of constraint that can be compiled."""
        return frozenset(kind for kind, names in self._order.items() if names)

    def compile(self, constraint: Constraint, plugin: str | None = None) -> Future[CompiledGrammar]:
        """Return the compiled grammar to come; equal constraints share one compile and its result.

        `plugin`: the one to use, whatever this service would choose; `PluginError` if there is none of that name. The
        future fails with `ConstraintError` when the constraint cannot be enforced or takes too long. Nothing of a
        failure is kept: the next call tries again. Cancelling one waiter does not stop the others.
        """
        key = constraint, plugin
        with self._lock:
            if self._closed:
                raise ClosedError("the engine is closed")
            self.num_asked += 1
            found = self._cache.pop(key, None)
            if found is not None:
                self._cache[key] = found
                found.hits += 1
                if found.hits == HITS_BEFORE_UPGRADE and plugin is None:
                    self._upgrade(constraint)
                if found.hits % _HITS_BETWEEN_CHECKS == 0:
                    self._evict()
                return _done(found.grammar)
            if plugin is not None and plugin not in self._plugins:
                self._plugins[plugin] = registry.load("grammars", plugin)
            job = self._pending.get(key)
            if job is None:
                job = _Job(constraint, plugin)
                job.future.set_running_or_notify_cancel()  # from here on no waiter can cancel it for the others
                if self._num_abandoned >= MAX_ABANDONED:
                    job.future.set_exception(
                        ConstraintError(f"{self._num_abandoned} constraints are still compiling past their deadline")
                    )
                    return job.future
                self._pending[key] = job
                self._queue.append(job)
                self._start_worker()
            return job.future

    def close(self) -> None:
        """Fail what is under way and release the plugins' processes."""
        with self._lock:
            self._closed = True
            self._queue.clear()
            jobs = list(self._pending.values())
            self._pending.clear()
            self._cache.clear()
        for job in jobs:
            job.future.set_exception(ClosedError("the engine was closed while a constraint was compiling"))
        with self._making:
            compilers = list(self._compilers.values())
        for compiler in compilers:
            compiler.close()

    def _upgrade(self, constraint: Constraint) -> None:
        """Have another plugin compile a constraint that is asked for often; one at a time, behind whoever waits."""
        plugin = UPGRADES.get(constraint_kind(constraint)) if self._order is AUTO else None
        if plugin is not None and not self._is_upgrading:
            self._is_upgrading = True
            self._queue.append(_Job(constraint, plugin, is_upgrade=True))
            self._start_worker()

    def _start_worker(self) -> None:
        if self._queue and self._num_workers < MAX_WORKERS:
            self._num_workers += 1
            threading.Thread(target=self._work, name="ramify-grammar", daemon=True).start()

    def _work(self) -> None:
        """Run queued jobs until there are none, or until one outlived its deadline and this worker was replaced."""
        while True:
            with self._lock:
                if not self._queue:
                    self._num_workers -= 1
                    return
                job = self._queue.popleft()
            try:
                outcome: CompiledGrammar | RamifyError = self._compile(job)
            except RamifyError as error:
                outcome = error
            # Native code may raise anything, panics included, and a plugin is not ours: all of it becomes the future's.
            except BaseException as error:  # noqa: BLE001
                outcome = PluginError(f"a grammar plugin failed: {type(error).__name__}: {error}")
                outcome.__cause__ = error
            if self._finish(job, outcome):
                return

    def _finish(self, job: _Job, outcome: CompiledGrammar | RamifyError) -> bool:
        """Record a result and resolve the future; returns whether the worker has been replaced meanwhile."""
        with self._lock:
            self.num_refused += isinstance(outcome, RamifyError)
            self.num_compiled += not isinstance(outcome, RamifyError)
            if job.is_upgrade:
                entry = self._cache.get((job.constraint, None))
                if entry is not None and not isinstance(outcome, RamifyError):  # what cannot be upgraded stays
                    entry.grammar = outcome
                    self._evict()
                self._is_upgrading = False
                return False
            if not isinstance(outcome, RamifyError) and not self._closed:
                self._cache[job.key] = _Entry(outcome)
                self._evict()
            if job.expired:
                self._num_abandoned -= 1
                return True
            if self._pending.pop(job.key, None) is not job:  # closed: the future has failed already
                return False
        if isinstance(outcome, RamifyError):
            job.future.set_exception(outcome)
        else:
            job.future.set_result(outcome)
        return False

    def _expire(self, job: _Job) -> None:
        """Fail a job whose deadline passed and let another worker take its place."""
        with self._lock:
            if self._pending.get(job.key) is not job:
                return
            del self._pending[job.key]
            job.expired = True
            self._num_abandoned += 1
            self._num_workers -= 1
            self._start_worker()
        kind = constraint_kind(job.constraint)
        job.future.set_exception(ConstraintError(f"the {kind} takes longer than {self._timeout:g} s to compile"))

    def _compile(self, job: _Job) -> CompiledGrammar:
        """Try the plugins in order; the first one's reason is raised when none succeeds."""
        kind = constraint_kind(job.constraint)
        names = self._order.get(kind, ()) if job.plugin is None else (job.plugin,)
        if not any(kind in self._plugins[name].kinds for name in names):
            known = "; ".join(f"{name}: {', '.join(sorted(plugin.kinds))}" for name, plugin in self._plugins.items())
            raise ConstraintError(f"no grammar plugin in use compiles the constraint kind {kind!r} ({known})")
        _check_encodable(job.constraint)
        compilers = [self._compiler(name) for name in names]
        timer = threading.Timer(self._timeout + _GRACE, self._expire, (job,))
        timer.daemon = True
        timer.start()
        try:
            failures = []
            for compiler in compilers:
                try:
                    return compiler.compile(job.constraint, timeout=self._timeout / len(compilers))
                except ConstraintError as error:
                    failures.append(error)
            raise failures[0]
        finally:
            timer.cancel()

    def _compiler(self, name: str) -> GrammarCompiler:
        with self._making:
            if name not in self._compilers:
                self._compilers[name] = self._plugins[name](self._vocabulary)
            if self._closed:
                self._compilers[name].close()
                raise ClosedError("the engine is closed")
            return self._compilers[name]

    def _evict(self) -> None:
        """Drop the least recently used grammars while there are too many or they hold too much; keep the newest."""
        total = sum(entry.grammar.num_bytes for entry in self._cache.values())
        while len(self._cache) > 1 and (total > CACHE_BYTES or len(self._cache) > MAX_CACHED):
            total -= self._cache.pop(next(iter(self._cache))).grammar.num_bytes


def _done(grammar: CompiledGrammar) -> Future[CompiledGrammar]:
    future: Future[CompiledGrammar] = Future()
    future.set_result(grammar)
    return future


def _check_encodable(constraint: Constraint) -> None:
    match constraint:
        case Regex(pattern=text) | JsonSchema(schema=text) | Grammar(grammar=text):
            texts: tuple[str, ...] = (text,)
        case Choices(choices=texts):
            pass
    try:
        "".join(texts).encode("utf-8")
    except UnicodeEncodeError as error:
        raise ConstraintError("the constraint contains a lone surrogate, which no text can hold") from error
