"""`Liveness`: from which stacks and ends of tokens a sentence can still be completed.

An LALR parser without conflicts never gets stuck, but lark resolves conflicts by shifting, terminals can stand in each
other's way, and rules may have no end. What can be completed is the least solution of equations over the automaton's
states (as in Bouajjani, Esparza and Maler on pushdown systems, 1997). Called at compile time, and by the parser.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping

from .borders import FIRST, Borders, Follower
from .client import GrammarTables
from .parser import Parser

_Item = tuple[int, int]
"""A rule, and how many of its symbols the stack holds."""

_Completions = dict[_Item, int]
"""Items that can be completed, each with the bit set of the tokens that can then come next."""

_ACCEPTED: _Item = (-1, 0)


_Variable = tuple[str, int, Follower, str]
"""What is asked at a state: what can be completed "after" a token's end, with a token read "ahead", or with one read
ahead once a rule's symbol was "derived" there; the last is that symbol."""


def never_stuck(tables: GrammarTables, parser: Parser, borders: Borders, starts: Mapping[int, int]) -> bool:
    """Return True when every stack and end of a token that can come about can be completed, so nothing need be asked.

    `starts[state]`: where the scanner starts, for the states in which a token can begin.
    """
    if tables.shadowed or not _all_productive(tables):
        return False
    return all(
        {label for label, _ in borders.after(end, starts[state])} == parser.expected(state)
        for state, end in _ends(parser, borders, starts)
    )


def _ends(parser: Parser, borders: Borders, starts: Mapping[int, int]) -> Iterator[tuple[int, Follower]]:
    """Yield every state in which a token can begin with every end of the text before it."""
    reached: dict[int, set[int]] = {}
    for row in parser.shifts:
        for label, state in row.items():
            reached.setdefault(label, set()).add(state)
    yield parser.start, FIRST
    for end in borders.ends:
        states = starts if end[0] == borders.ignored else reached.get(end[0], ())
        yield from ((state, end) for state in states)


def _all_productive(tables: GrammarTables) -> bool:
    """Return whether every rule derives some text."""
    productive = {terminal.name for terminal in tables.terminals}
    waiting = list(tables.rules)
    while True:
        found = {rule.origin for rule in waiting if productive.issuperset(rule.symbols)}
        rest = [rule for rule in waiting if not productive.issuperset(rule.symbols)]
        if not found:
            return not waiting
        productive |= found
        waiting = rest


class Liveness:
    """Keys stand for stacks: the state on top, and the items that the stack below allows to be completed."""

    def __init__(
        self,
        tables: GrammarTables,
        parser: Parser,
        borders: Borders,
        starts: Mapping[int, int],
        tick: Callable[[], None],
    ) -> None:
        self._parser = parser
        self._borders = borders
        self._starts = starts
        self._tables = tables
        self._names = [*(terminal.name for terminal in tables.terminals), "", "$END"]
        self._end: Follower = (parser.end, 0)
        self._tokens: list[Follower] = []
        self._bits: dict[Follower, int] = {}
        self._solution: dict[_Variable, _Completions] = {}
        self._users: dict[_Variable, dict[_Variable, None]] = {}
        self._users_above: dict[_Variable, dict[tuple[_Variable, int], None]] = {}
        self._asked: list[_Variable] = []  # not linked yet
        self._news: OrderedDict[_Variable, _Completions] = OrderedDict()  # not handed on yet
        self._solve(tick)
        self._derived: dict[tuple[int, str], list[_Variable]] = {}
        for variable in self._solution:
            if variable[0] == "derived":
                self._derived.setdefault((variable[1], variable[3]), []).append(variable)
        del self._users, self._users_above, self._asked, self._news
        self._lock = threading.Lock()
        self._keys: list[tuple[int, _Completions]] = [(parser.start, {_ACCEPTED: self._bit(self._end)})]
        self._key_numbers: dict[tuple[int, frozenset[tuple[_Item, int]]], int] = {}
        self._pushed: dict[tuple[int, int], int] = {}
        self._live: dict[tuple[int, Follower], bool] = {}

    @property
    def bottom(self) -> int:
        """Key of the stack of a text that has not begun."""
        return 0

    def is_live(self, key: int, end: Follower) -> bool:
        """Return whether a text can be completed after a token that ends like `end`; `key`: of the stack with it."""
        known = self._live.get((key, end))
        if known is None:
            state, allowed = self._keys[key]
            known = self._live[key, end] = _overlap(self._solution["after", state, end, ""], allowed)
        return known

    def key_of(self, below: int, state: int) -> int:
        """Return the key of a stack with `state` on top and the stack of key `below` under it."""
        known = self._pushed.get((below, state))
        if known is None:
            allowed = {item: bits for item in self._tables.kernels[state] if (bits := self._allowed(below, item))}
            with self._lock:
                facts = (state, frozenset(allowed.items()))
                known = self._key_numbers.setdefault(facts, len(self._keys))
                if known == len(self._keys):
                    self._keys.append((state, allowed))
                self._pushed[below, state] = known
        return known

    def _allowed(self, below: int, item: _Item) -> int:
        """Return the tokens with which `item`, once complete on the stack `below`, lets the text be completed."""
        state, allowed = self._keys[below]
        rule, passed = item
        if passed > 1:
            return allowed.get((rule, passed - 1), 0)
        bits = 0
        for variable in self._derived.get((state, self._tables.rules[rule].origin), ()):
            if _overlap(self._solution[variable], allowed):
                bits |= self._bit(variable[2])
        return bits

    def _bit(self, token: Follower) -> int:
        bit = self._bits.get(token)
        if bit is None:
            bit = self._bits[token] = 1 << len(self._tokens)
            self._tokens.append(token)
        return bit

    def _solve(self, tick: Callable[[], None]) -> None:
        """Start from the ends, and hand on what is new to whatever includes it until nothing is."""
        for state, end in _ends(self._parser, self._borders, self._starts):
            self._ask(("after", state, end, ""))
        while self._asked or self._news:
            tick()
            if self._asked:
                self._link(self._asked.pop())
                continue
            variable, news = self._news.popitem(last=False)
            for user in self._users[variable]:
                self._learn(user, news)
            for user, state in self._users_above[variable]:
                self._learn_from_above(user, state, news)

    def _ask(self, variable: _Variable) -> None:
        """See to it that `variable` is solved."""
        if variable not in self._solution:
            self._solution[variable] = {}
            self._users[variable], self._users_above[variable] = {}, {}
            self._asked.append(variable)

    def _link(self, variable: _Variable) -> None:
        """Link `variable` to those that it includes."""
        question, state, token, symbol = variable
        if question == "after":
            for follower in (*self._borders.after(token, self._starts[state]), self._end):
                self._include(variable, ("ahead", state, follower, ""))
        elif question == "derived":
            target = self._parser.gotos[state].get(symbol)
            if token == self._end and target == self._parser.final:
                self._learn(variable, {_ACCEPTED: self._bit(token)})
            elif target is not None:
                self._include_from_above(variable, state, ("ahead", target, token, ""))
        elif token[0] in self._parser.shifts[state]:
            self._include_from_above(variable, state, ("after", self._parser.shifts[state][token[0]], token, ""))
        else:
            number = self._tables.reductions[state].get(self._names[token[0]])
            if number is not None:
                rule = self._tables.rules[number]
                if rule.symbols:
                    self._learn(variable, {(number, len(rule.symbols)): self._bit(token)})
                else:
                    self._include(variable, ("derived", state, token, rule.origin))

    def _include(self, user: _Variable, variable: _Variable) -> None:
        """Let `user` hold all that `variable` holds, now and later."""
        self._ask(variable)
        if user not in self._users[variable]:
            self._users[variable][user] = None
            self._learn(user, self._solution[variable])

    def _include_from_above(self, user: _Variable, state: int, variable: _Variable) -> None:
        """Let `user`, which is about `state`, hold what `variable`, about the state above, means for it."""
        self._ask(variable)
        self._users_above[variable][user, state] = None
        self._learn_from_above(user, state, self._solution[variable])

    def _learn(self, variable: _Variable, completions: _Completions) -> None:
        value = self._solution[variable]
        for item, bits in completions.items():
            new = bits & ~value.get(item, 0)
            if new:
                value[item] = value.get(item, 0) | new
                news = self._news.setdefault(variable, {})
                news[item] = news.get(item, 0) | new

    def _learn_from_above(self, user: _Variable, state: int, completions: _Completions) -> None:
        """One symbol less is left of each item; where that was the first, its rule was derived in `state`."""
        for (rule, passed), bits in list(completions.items()):
            if passed > 1:
                self._learn(user, {(rule, passed - 1): bits})
                continue
            origin = self._tables.rules[rule].origin
            while bits:
                token = self._tokens[(bits & -bits).bit_length() - 1]
                bits &= bits - 1
                self._include(user, ("derived", state, token, origin))


def _overlap(first: _Completions, second: _Completions) -> bool:
    return any(bits & second.get(item, 0) for item, bits in first.items())
