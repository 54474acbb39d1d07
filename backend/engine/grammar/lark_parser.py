"""`Parser`: lark's LALR(1) automaton on shared, immutable stacks.

Feeding a token simulates all its reductions up to the shift, so a token is accepted exactly when lark would. Knows
terminals only as numbers. Called by the grammar and by the mask walk.
"""

from __future__ import annotations

from collections.abc import Callable

from ....lang.errors import DeadEndError
from .lark_client import GrammarTables

MAX_REDUCTIONS = 20_000  # for one token without getting deeper down the stack: a cycle, or as good as one


class Stack:
    """The parser's states, linked from the top down; `depth` is that of the bottom plus one for each below.

    `key` stands for all that matters of this place: the state, and where rules can be dead ends, how the stack below
    could go on (see `lark_liveness`).
    """

    __slots__ = ("below", "depth", "key", "state")

    def __init__(self, state: int, key: int, below: Stack | None) -> None:
        self.state = state
        self.key = key
        self.below = below
        self.depth: int = 0 if below is None else below.depth + 1


class Parser:
    """Terminals are numbered as in `tables`; `end` is the end of the text. `key_of(key below, state)`: see `Stack`."""

    def __init__(self, tables: GrammarTables, key_of: Callable[[int, int], int] | None = None) -> None:
        numbers = {terminal.name: index for index, terminal in enumerate(tables.terminals)}
        self.end = len(tables.terminals) + 1  # one lies between: the text that is skipped
        numbers["$END"] = self.end
        self._shifts = [
            {numbers[symbol]: target for symbol, target in shifts.items() if symbol in numbers}
            for shifts in tables.shifts
        ]
        self._reductions = [
            {numbers[symbol]: tables.rules[rule] for symbol, rule in reductions.items() if symbol in numbers}
            for reductions in tables.reductions
        ]
        self._gotos = tables.shifts
        self._final = tables.end
        self._key_of = key_of
        self.num_states = len(tables.shifts)
        self.bottom = Stack(tables.start, tables.start if key_of is None else key_of(-1, tables.start), None)

    def expected(self, state: int) -> frozenset[int]:
        """Return the terminals in the row of `state`: those that the scanner there looks for."""
        return (frozenset(self._shifts[state]) | frozenset(self._reductions[state])) - {self.end}

    def feed(self, stack: Stack, terminal: int) -> tuple[Stack | None, int]:
        """Return the stack after `terminal`, None if it is not accepted; and the lowest depth that was looked at.

        After `end`, the stack is the one that says the text is complete.
        """
        lowest = stack.depth
        budget = MAX_REDUCTIONS
        while True:
            target = self._shifts[stack.state].get(terminal)
            if target is not None:
                return self._push(stack, target), lowest
            rule = self._reductions[stack.state].get(terminal)
            if rule is None:
                return None, lowest
            for _ in range(rule.num_symbols):
                assert stack.below is not None
                stack = stack.below
            if stack.depth < lowest:
                lowest = stack.depth
                budget = MAX_REDUCTIONS
            budget -= 1
            if not budget:
                raise DeadEndError("the grammar reduces rules in a circle without reading anything")
            stack = self._push(stack, self._gotos[stack.state][rule.origin])
            if terminal == self.end and stack.state == self._final:
                return stack, lowest

    def _push(self, stack: Stack, state: int) -> Stack:
        return Stack(state, state if self._key_of is None else self._key_of(stack.key, state), stack)
