"""`GrammarTables`: what lark makes of a grammar, read from the helper processes that run it.

Knows lark's tables, not how they are used. Called by the lark plugin, from several threads.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .....lang.constraints import Grammar
from .....lang.errors import ConstraintError, PluginError
from ..helper_processes import HelperProcesses, read_line


@dataclass(frozen=True, slots=True)
class TerminalSource:
    """A terminal: its pattern for `re`, and the string terminals that a match of it may be (see `GrammarTables`)."""

    name: str
    pattern: str
    ignored: bool
    refined: tuple[tuple[int, bool], ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """`origin` can be `symbols`, one after the other."""

    origin: str
    symbols: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GrammarTables:
    """The grammar's lexer and its LALR(1) automaton.

    - `terminals`: in the order in which a scanner tries them. A match of terminal t whose whole text is one of string
      terminal s, `(s, embedded)` in `refined` of t, is an s wherever s is expected; an embedded s is not tried itself.
    - `shifts`: per state, the next state by symbol (terminal or rule). `reductions`: per state, the rule by terminal.
    - `kernels`: per state, the items `(rule, number of symbols passed)` that it stands for.
    - `start` and `end`: states. `shadowed`: lark resolved conflicts, so some derivations are never found.
    """

    terminals: tuple[TerminalSource, ...]
    rules: tuple[Rule, ...]
    shifts: tuple[dict[str, int], ...]
    reductions: tuple[dict[str, int], ...]
    kernels: tuple[tuple[tuple[int, int], ...], ...]
    start: int
    end: int
    shadowed: bool


class LarkProcesses:
    """Processes in which lark runs: a few lines of grammar can keep it busy for hours."""

    def __init__(self) -> None:
        specification = importlib.util.find_spec("lark")
        if specification is None or specification.origin is None:
            raise PluginError("the grammar plugin 'lark' needs lark: pip install lark")
        folder = str(Path(specification.origin).parent.parent)
        self._processes = HelperProcesses(Path(__file__).with_name("process.py"), [folder], noun="grammar")
        self._processes.start_one()

    def build(self, grammar: Grammar, *, timeout: float) -> GrammarTables:
        """Return the tables; `ConstraintError` with lark's own message, place included, when it refuses the grammar."""
        answer = self._processes.ask([grammar.grammar, grammar.start], read_line, timeout=timeout)
        if "error" in answer:
            raise ConstraintError(f"the grammar is not valid: {answer['error']}")
        return _tables(answer)

    def close(self) -> None:
        """End the processes."""
        self._processes.close()


def _tables(answer: dict[str, Any]) -> GrammarTables:
    return GrammarTables(
        terminals=tuple(
            TerminalSource(name, pattern, ignored, tuple((other, embedded) for other, embedded in pairs))
            for (name, pattern, ignored), pairs in zip(answer["terminals"], answer["refined"], strict=True)
        ),
        rules=tuple(Rule(origin, tuple(symbols)) for origin, symbols in answer["rules"]),
        shifts=tuple(answer["shifts"]),
        reductions=tuple(answer["reductions"]),
        kernels=tuple(tuple((rule, passed) for rule, passed in kernel) for kernel in answer["kernels"]),
        start=answer["start"],
        end=answer["end"],
        shadowed=answer["shadowed"],
    )
