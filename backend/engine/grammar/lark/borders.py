"""`Borders`: which terminals can come after the end of a token, given that the end must be one.

Where `abc` is one token it is not two, so what may follow depends on how the token before ended. Mostly white space or
the like can come in between and nothing depends on it; where not, the ends of a terminal are of several kinds. Knows
nothing of stacks. Called when a grammar is compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .lexer import DEAD, NOT_HERE, NOTHING, Border, Lexer

Follower = tuple[int, int]
"""A terminal, and the kind of its end."""

FIRST: Follower = (-1, 0)  # where the text begins


class Borders:
    """Explores all of `lexer` that a text can reach.

    `starts_after[terminal]`: the states of the scanner in which the next token may begin; of skipped text, all.
    `kinds[outcome]`: the kind of each of the lexer's outcomes, counted from 0 for each terminal.
    """

    def __init__(self, lexer: Lexer, starts_after: Sequence[frozenset[int]], tick: Callable[[], None]) -> None:
        self._lexer = lexer
        self.ignored = lexer.ignored
        self._tick = tick
        self._starts_after = [sorted(starts) for starts in starts_after]
        self._direct: dict[tuple[int, Border], int] = {}
        lexer.prepare(starts_after[lexer.ignored])
        self._explore()
        self.kinds = [0] * len(lexer.outcome_kinds)
        self._refine()
        self._after_kind: dict[tuple[Follower, int], frozenset[Follower]] = {}
        self._borders: dict[Follower, Border] = {FIRST: (NOTHING,) * lexer.num_classes}
        for (label, border), kind in zip(lexer.outcome_kinds, self.kinds, strict=True):
            self._borders[label, kind] = border

    @property
    def ends(self) -> list[Follower]:
        """Every terminal with every kind of its end, skipped text included."""
        return [end for end in self._borders if end != FIRST]

    def after(self, end: Follower, start: int) -> frozenset[Follower]:
        """Return what can follow `end` where the scanner starts in `start`, skipped text in between or not."""
        known = self._after_kind.get((end, start))
        if known is None:
            known = self._after_kind[end, start] = self._after(start, self._borders[end])
        return known

    def _explore(self) -> None:
        """Have the lexer know every state that it can come to under a watch."""
        done = 0
        while done < len(self._lexer.outcome_kinds):
            label, border = self._lexer.outcome_kinds[done]
            done += 1
            for watch in set(border) - {NOT_HERE, NOTHING}:
                for start in self._starts_after[label]:
                    self._lexer.start(start, watch)

    def _refine(self) -> None:
        """Split kinds until ends of one kind can be followed by the same terminals, with ends of the same kinds."""
        num_kinds = 0
        while True:
            numbers: list[dict[object, int]] = [{} for _ in self._starts_after]
            kinds = []
            for outcome, (label, border) in enumerate(self._lexer.outcome_kinds):
                self._tick()
                followers = tuple(self._after(start, border) for start in self._starts_after[label])
                signature = (self.kinds[outcome], followers)
                kinds.append(numbers[label].setdefault(signature, len(numbers[label])))
            self.kinds = kinds
            if num_kinds == (num_kinds := sum(map(len, numbers))):
                return

    def _after(self, start: int, border: Border) -> frozenset[Follower]:
        lexer = self._lexer
        followers: set[Follower] = set()
        pending, seen = [border], {border}
        while pending:
            outcomes = self._directly_after(start, pending.pop())
            while outcomes:
                outcome = (outcomes & -outcomes).bit_length() - 1
                outcomes &= outcomes - 1
                label, end = lexer.outcome_kinds[outcome]
                if label != lexer.ignored:
                    followers.add((label, self.kinds[outcome]))
                elif end not in seen:
                    seen.add(end)
                    pending.append(end)
        return frozenset(followers)

    def _directly_after(self, start: int, border: Border) -> int:
        """Return the outcomes of the tokens that can come next, as a bit set."""
        known = self._direct.get((start, border))
        if known is None:
            lexer = self._lexer
            known = 0
            for watch in set(border) - {NOT_HERE}:
                row = lexer.rows[lexer.start(start, watch)]
                for target in {row[place] for place, its_watch in enumerate(border) if its_watch == watch} - {DEAD}:
                    known |= lexer.outcomes[target]
            self._direct[start, border] = known
        return known
