"""The rules of roles: who may speak where, and which text has a role to stand in. Reports E020, E021, E022 and W003.

A block that changes roles begins and ends outside of any role, whichever of its arms is taken. The checker tells what
it meets, in the order of the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .diagnostics import Report
from .source import Span
from .syntax import If, Item, Label, Line, Repeat, Role

MODEL_ROLE = "assistant"


@dataclass(frozen=True, slots=True)
class _State:
    """What holds at a place: the open role, why there is none, and the gen with several samples that was met."""

    role: str | None = None
    lost: str | None = None
    samples: tuple[Label, int] | None = None


class RoleRules:
    """Follows the roles through one script."""

    def __init__(self, report: Report, *, blocks_are_closed: bool) -> None:
        self.report = report
        self._blocks_are_closed = blocks_are_closed
        self.state = _State()
        self.outside: Span | None = None  # the first text outside of roles
        self._outer: list[_State] = []
        self._left: list[list[_State]] = []

    def text(self, line: Line) -> None:
        """A line, or what follows in it."""
        self._no_samples()
        if self.state.lost is not None:
            if self._blocks_are_closed:
                self.report.error("E021", line.span, "no role is open here", self.state.lost)
            self.state = _State()  # once is enough
        elif self.state.role is None and self.outside is None and not self._outer:
            self.outside = line.span

    def role(self, item: Role) -> None:
        """A role directive."""
        self._no_samples()
        self.state = _State(item.role)

    def speech(self, span: Span, what: str) -> None:
        """A gen or select."""
        if self.state.role not in (None, MODEL_ROLE):
            hint = "the model only speaks in @assistant"
            self.report.error("E020", span, f"{what} inside @{self.state.role}", hint)

    def samples(self, label: Label, num: int) -> None:
        """A gen with several samples: no text can follow, since it does not go on with all of them."""
        self.state = _State(self.state.role, None, (label, num))

    def enter_branch(self, item: If) -> None:
        """An `@if`; its arms follow, each entered and left."""
        self._enter(changes=any(changes_roles(arm.body) for arm in item.arms))

    def enter_arm(self) -> None:
        """The beginning of an arm."""
        self.state = self._outer[-1]

    def leave_arm(self) -> None:
        """The end of an arm."""
        self._left[-1].append(self.state)

    def leave_branch(self, item: If) -> None:
        """The end of an `@if`."""
        self._leave(item.span, changes=any(changes_roles(arm.body) for arm in item.arms))

    def enter_repeat(self, item: Repeat) -> None:
        """The beginning of a `@for` or `@fork`."""
        self._enter(changes=item.result is None and changes_roles(item.body))

    def leave_repeat(self, item: Repeat) -> None:
        """The end of a `@for` or `@fork`."""
        if item.result is not None:  # what goes on is the text before the fork
            self.state = self._outer.pop()
            self._left.pop()
            return
        self._no_samples()
        self._left[-1].append(self.state)
        self._leave(item.span, changes=changes_roles(item.body))

    def finish(self, items: Sequence[Item]) -> None:
        """The end of the script."""
        if self.outside is not None and changes_roles(items):
            hint = "write the role that it belongs to before it"
            self.report.warn("W003", self.outside, "this text stands outside of roles", hint)

    def _enter(self, *, changes: bool) -> None:
        self._no_samples()
        if changes:
            self.state = _State(lost="the block changes roles, so it begins with one: write @user or @assistant first")
        self._outer.append(self.state)
        self._left.append([])

    def _leave(self, span: Span, *, changes: bool) -> None:
        outer, left = self._outer.pop(), self._left.pop()
        line, _ = self.report.source.position(span.start)
        samples = next((state.samples for state in left if state.samples is not None), None)
        lost = f"the block of line {line} changes roles; write @user or @assistant again" if changes else None
        self.state = _State(None if changes else outer.role, lost, samples)

    def _no_samples(self) -> None:
        if self.state.samples is not None:
            label, num = self.state.samples
            hint = "make it the last of the text, or generate in a @fork"
            self.report.error("E022", label.span, f"the text goes on, but not with {num} samples at once", hint)
            self.state = _State(self.state.role)


def changes_roles(items: Sequence[Item]) -> bool:
    """True when a role directive stands in the block, or in an `@if` or `@for` in it."""
    for item in items:
        match item:
            case Role():
                return True
            case If(arms=arms) if any(changes_roles(arm.body) for arm in arms):
                return True
            case Repeat(result=None, body=body) if changes_roles(body):
                return True
            case _:
                pass
    return False
