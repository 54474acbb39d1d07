"""`Programs`: what the engine remembers of running programs: their age, the prefixes they keep, and what they used.

The engine knows programs only by the id in a request's hints. Everything here is bounded: a program that is silent is
forgotten. No torch. Called by the lifecycle and, for its age, by the waiting queue.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .radix_cache import Keep, TreeNode
from .stats import ProgramStats
from .tree_cache import TreeCache

if TYPE_CHECKING:
    from .req import Req

# A program that sends nothing while the engine does this much work for others (units of the queue's clock) counts as
# ended. From 1,024 to 32,768 it made no difference in benchmarks/hit_rate.py.
MAX_SILENCE = 8192
MAX_KEEPS = 64  # prefixes a program keeps: newer ones mostly go on from older ones, whose tokens they keep as well
MAX_REMEMBERED = 1024  # programs without an open request whose counts can still be asked for


@dataclass(slots=True, eq=False)
class Program:
    """One program: its place in line is that of its first request."""

    id: str
    first_seq: int = 0  # 0: none has been queued
    first_arrived_at: float = 0.0  # on the queue's work clock
    last_ended_at: float = 0.0  # the same, when its last open request ended
    num_open: int = 0
    keeps: deque[Keep] = field(default_factory=deque)
    # -- counts
    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    critical_path: int = 0
    started: float = 0.0  # time.monotonic() seconds
    ended: float = 0.0

    def stats(self) -> ProgramStats:
        """The counts so far, as a fact."""
        return ProgramStats(
            requests=self.requests,
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            completion_tokens=self.completion_tokens,
            critical_path_tokens=self.critical_path,
            seconds=(time.monotonic() if self.num_open else self.ended) - self.started,
            open_requests=self.num_open,
        )


class Programs:
    """The programs that have open requests, and the last `MAX_REMEMBERED` of those that have none."""

    def __init__(self, tree_cache: TreeCache) -> None:
        self._tree_cache = tree_cache
        self._open: dict[str, Program] = {}
        self._silent: dict[str, Program] = {}  # in the order in which they fell silent
        self._keeping: dict[str, Program] = {}  # the silent ones that keep prefixes, in the same order

    def arrive(self, req: Req, clock: float) -> None:
        """A request was received; `req.program` names its program."""
        assert req.program is not None
        program = self._open.get(req.program) or self._silent.pop(req.program, None)
        if program is None:
            program = Program(req.program, started=req.arrival)
        elif not program.num_open and clock - program.last_ended_at >= MAX_SILENCE:
            program.first_seq = 0  # it counts as ended, so this is another one, and goes to the end of the line
        self._keeping.pop(program.id, None)
        self._open[program.id] = program
        program.num_open += 1
        program.requests += 1
        req.program_record, req.path_before = program, program.critical_path

    def keep(self, req: Req, node: TreeNode) -> None:
        """`req` has finished and its program will go on from it: its KV, which ends at `node`, should stay."""
        program = req.program_record
        if program is not None and node.parent is not None:
            program.keeps.append(self._tree_cache.keep(node))
            if len(program.keeps) > MAX_KEEPS:
                self._tree_cache.unkeep(program.keeps.popleft())

    def end(self, req: Req, clock: float) -> None:
        """A request has ended, however; it need not be of any program."""
        if req.program_record is not None:
            self._count(req.program_record, req, clock)
        self._forget(clock)

    def stats(self) -> dict[str, ProgramStats]:
        """Counts by program id, those that fell silent first."""
        return {name: program.stats() for name, program in (self._silent | self._open).items()}

    def check(self, open_reqs: Iterable[Req]) -> None:
        """Recount open requests and keeps; assert that they agree."""
        counted = Counter(req.program for req in open_reqs if req.program_record is not None)
        assert counted == {name: program.num_open for name, program in self._open.items()}, "open requests miscounted"
        assert not any(program.num_open for program in self._silent.values()), "a silent program has open requests"
        assert all(self._silent[name] is program for name, program in self._keeping.items()), "a program is lost"
        keeping = [*self._open.values(), *self._keeping.values()]
        ends = [keep for node in self._tree_cache.nodes() for keep in node.keeps or ()]
        held = {id(keep) for program in keeping for keep in program.keeps if keep.node.parent is not None}
        assert len(ends) == len(held) and held == {id(keep) for keep in ends}, "the tree keeps what no program does"

    def _count(self, program: Program, req: Req, clock: float) -> None:
        program.num_open -= 1
        program.prompt_tokens += len(req.origin_input_ids)
        program.cached_tokens += req.cached_tokens
        program.completion_tokens += len(req.output_ids)
        program.critical_path = max(program.critical_path, req.path_before + len(req.output_ids))
        program.last_ended_at, program.ended = clock, time.monotonic()
        if not program.num_open:
            del self._open[program.id]
            self._silent[program.id] = program
            if req.keep_prefix:
                self._keeping[program.id] = program
            else:  # it has probably ended
                self._let_go(program)

    def _forget(self, clock: float) -> None:
        while self._keeping:
            program = next(iter(self._keeping.values()))
            if clock - program.last_ended_at < MAX_SILENCE:
                break
            self._let_go(program)
        while len(self._silent) > MAX_REMEMBERED:
            self._let_go(self._silent.pop(next(iter(self._silent))))

    def _let_go(self, program: Program) -> None:
        self._keeping.pop(program.id, None)
        for keep in program.keeps:
            self._tree_cache.unkeep(keep)
        program.keeps.clear()
