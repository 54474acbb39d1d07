"""`Parser`: lark's LALR(1) automaton on shared, immutable stacks.

Feeding a token simulates all its reductions up to the shift, so a token is accepted exactly when lark would. Knows
terminals only as numbers. Called by the grammar and by the mask walk.
"""

from __future__ import annotations

from collections.abc import Callable

from .client import GrammarTables

MAX_REDUCTIONS = 2_000  # for one token without getting further down the stack: a circle, where lark hangs


class Stack:
    """The parser's states, linked from the top down; `depth` is that of the bottom plus one for each below.

    `key` stands for all that matters of this place: the state, and where rules can be dead ends, how the stack below
    could go on (see `liveness`).
    """

    __slots__ = ("below", "depth", "key", "state")

    def __init__(self, state: int, key: int, below: Stack | None) -> None:
        self.state = state
        self.key = key
        self.below = below
        self.depth: int = 0 if below is None else below.depth + 1


class Parser:
    """Terminals are numbered as in `tables`, and `end` is the end of the text. `key_of(key below, state)`: see `Stack`.

    `shifts[state]`: next state by terminal. `reductions[state]`: by terminal, (symbol derived, number of its symbols).
    `gotos[state]`: next state by symbol derived. `start` and `final`: states.
    """

    def __init__(self, tables: GrammarTables) -> None:
        numbers = {terminal.name: index for index, terminal in enumerate(tables.terminals)}
        self.end = len(tables.terminals) + 1  # the number in between is that of text to be skipped
        numbers["$END"] = self.end
        rules = [(rule.origin, len(rule.symbols)) for rule in tables.rules]
        self.shifts = [{numbers[s]: to for s, to in row.items() if s in numbers} for row in tables.shifts]
        self.reductions = [
            {numbers[s]: rules[rule] for s, rule in row.items() if s in numbers} for row in tables.reductions
        ]
        self.gotos = tables.shifts
        self.start = tables.start
        self.final = tables.end
        self.bottom = Stack(tables.start, tables.start, None)
        self._key_of: Callable[[int, int], int] | None = None

    def use_keys(self, bottom: int, key_of: Callable[[int, int], int]) -> None:
        """Have stacks say how those below could go on; `bottom`: key of the bottom."""
        self.bottom = Stack(self.start, bottom, None)
        self._key_of = key_of

    def expected(self, state: int) -> frozenset[int]:
        """Return the terminals in the row of `state`: those that the scanner there looks for."""
        return (frozenset(self.shifts[state]) | frozenset(self.reductions[state])) - {self.end}

    def feed(self, stack: Stack, terminal: int) -> tuple[Stack | None, int]:
        """Return the stack after `terminal`, None if it is not accepted; and the lowest depth that was looked at.

        After `end`, the stack is the one that says the text is complete.
        """
        lowest = stack.depth
        budget = MAX_REDUCTIONS
        while True:
            target = self.shifts[stack.state].get(terminal)
            if target is not None:
                return self._push(stack, target), lowest
            reduction = self.reductions[stack.state].get(terminal)
            if reduction is None:
                return None, lowest
            derived, num_symbols = reduction
            for _ in range(num_symbols):
                assert stack.below is not None
                stack = stack.below
            if stack.depth < lowest:
                lowest = stack.depth
                budget = MAX_REDUCTIONS
            budget -= 1
            if not budget:
                return None, lowest
            stack = self._push(stack, self.gotos[stack.state][derived])
            if terminal == self.end and stack.state == self.final:
                return stack, lowest

    def _push(self, stack: Stack, state: int) -> Stack:
        return Stack(state, state if self._key_of is None else self._key_of(stack.key, state), stack)
