"""From lines to steps: dedents blocks, opens and closes roles, and decides which line ends are written.

A line end is written when more text follows in the same message: it waits (`_Ends`) until then. Called when a script is
compiled and when it is explained; expects a script without errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .role_rules import changes_roles
from .steps import (
    ArmSteps,
    Choose,
    CloseRole,
    Decide,
    Generate,
    Iterate,
    OpenRole,
    SetValue,
    Step,
    Write,
    WriteValue,
)
from .syntax import (
    Arm,
    Assignment,
    Blank,
    GenHole,
    If,
    Item,
    Line,
    Repeat,
    Role,
    SelectHole,
    ValueHole,
)


@dataclass(frozen=True, slots=True)
class _Ends:
    """The line ends that wait at a place; at the start of a message (`is_start`) none can."""

    is_start: bool = True
    num: int = 0

    def after_line(self, line: Line) -> _Ends:
        return _Ends(False, 0 if line.joins else 1)

    def after_blank(self) -> _Ends:
        return self if self.is_start else _Ends(False, self.num + 1)


START = _Ends()


def layout(items: Sequence[Item]) -> tuple[Step, ...]:
    """Return the steps of a whole script."""
    writer = _Writer(START, None)
    writer.block(items, more=False)
    writer.close_role()
    return tuple(writer.steps)


class _Writer:
    """Writes the steps of one block. `own_role`: the open role was opened in this block."""

    def __init__(self, ends: _Ends, role: str | None) -> None:
        self.steps: list[Step] = []
        self.ends = ends
        self.role = role
        self.own_role = False

    def block(self, items: Sequence[Item], *, more: bool) -> None:
        """Write the lines of a block; `more`: text may follow it in the same message."""
        indent = common_indent(items)
        follows = _follows(items, more=more)
        for item, is_followed in zip(items, follows, strict=True):
            match item:
                case Line():
                    self._line(item, indent)
                case Blank():
                    self.ends = self.ends.after_blank()
                case Role(span, role):
                    self.close_role()
                    self.steps.append(OpenRole(role, span))
                    self.role, self.own_role, self.ends = role, True, START
                case Assignment():
                    self.steps.append(SetValue(item))
                case If():
                    self._if(item, more=is_followed)
                case Repeat(result=None):
                    self._for(item, more=is_followed)
                case Repeat():
                    body = _Writer(self.ends, self.role)
                    body.block(item.body, more=False)
                    if body.own_role:
                        body.close_role()
                    self.steps.append(Iterate(item, tuple(body.steps)))
                case _:
                    pass

    def close_role(self) -> None:
        """Close the open role, if there is one."""
        if self.role is not None:
            self.steps.append(CloseRole(self.role))
        self.role, self.ends = None, START

    def flush(self, num: int) -> None:
        """Write line ends until only `num` wait."""
        if self.ends.num > num:
            self._write("\n" * (self.ends.num - num))
            self.ends = replace(self.ends, num=num)

    def _line(self, line: Line, indent: int) -> None:
        self.flush(0)
        self._write(line.indent[indent:])
        for piece in line.pieces:
            match piece:
                case str(text):
                    self._write(text)
                case GenHole():
                    self.steps.append(Generate(piece))
                case SelectHole():
                    self.steps.append(Choose(piece))
                case ValueHole(_, value):
                    self.steps.append(WriteValue(value))
        self.ends = self.ends.after_line(line)

    def _write(self, text: str) -> None:
        if not text:
            return
        if self.steps and isinstance(self.steps[-1], Write):
            text = self.steps.pop().text + text  # type: ignore[union-attr]  # it is a Write
        self.steps.append(Write(text))

    def _if(self, item: If, *, more: bool) -> None:
        changes = any(changes_roles(arm.body) for arm in item.arms)
        if changes:
            self.close_role()
        is_total = item.arms[-1].condition is None
        if more and not is_total:  # where no arm is taken, nothing can be written after this
            self.flush(_agreed([*(_ends_after(arm.body, self.ends) for arm in item.arms), self.ends]).num)
        writers: list[tuple[Arm, _Writer]] = []
        for arm in item.arms:
            writer = _Writer(self.ends, self.role)
            writer.block(arm.body, more=more)
            if changes:
                writer.close_role()
            writers.append((arm, writer))
        left = [writer.ends for _, writer in writers]
        if not is_total:
            left.append(self.ends)
        self.ends = _agreed(left)
        arms = []
        for arm, writer in writers:
            if more:
                writer.flush(self.ends.num)
            arms.append(ArmSteps(arm.condition, tuple(writer.steps)))
        self.steps.append(Decide(item.span, tuple(arms)))

    def _for(self, item: Repeat, *, more: bool) -> None:
        if changes_roles(item.body):
            self.close_role()
        entry = _loop_entry(item.body, self.ends)
        self.flush(entry.num)
        body = _Writer(entry, self.role)
        body.block(item.body, more=True)  # the next pass
        if body.own_role:
            body.close_role()
        body.flush(entry.num)
        self.steps.append(Iterate(item, tuple(body.steps)))
        self.ends = _loop_exit(item.body, entry)


# ---- line ends ---------------------------------------------------------------------------------------------------


def _agreed(ends: Sequence[_Ends]) -> _Ends:
    """Return what waits after arms that leave different line ends waiting: what they have in common."""
    if all(end.is_start for end in ends):
        return START
    return _Ends(False, min(end.num for end in ends))


def _loop_entry(body: Sequence[Item], before: _Ends) -> _Ends:
    """Return what waits at the beginning of every pass: the same after the text before the loop and after a pass."""
    after = _ends_after(body, before)
    if before.is_start or after.is_start:
        return START if before.is_start else after
    return _Ends(False, min(before.num, after.num))


def _loop_exit(body: Sequence[Item], entry: _Ends) -> _Ends:
    return entry if _ends_after(body, entry).is_start else _Ends(False, entry.num)


def _ends_after(items: Sequence[Item], ends: _Ends) -> _Ends:
    """Return what waits after the lines of a block."""
    for item in items:
        match item:
            case Line():
                ends = ends.after_line(item)
            case Blank():
                ends = ends.after_blank()
            case Role():
                ends = START
            case If(arms=arms) if any(changes_roles(arm.body) for arm in arms):
                ends = START
            case If(arms=arms):
                rest = () if arms[-1].condition is None else (ends,)
                ends = _agreed([*(_ends_after(arm.body, ends) for arm in arms), *rest])
            case Repeat(result=None, body=body):
                ends = START if changes_roles(body) else _loop_exit(body, _loop_entry(body, ends))
            case _:
                pass
    return ends


def _follows(items: Sequence[Item], *, more: bool) -> list[bool]:
    """Return for each line or block whether text may follow it in the same message."""
    follows = []
    for item in reversed(items):
        follows.append(more)
        match item:
            case Role():
                more = False
            case If(arms=arms) if any(changes_roles(arm.body) for arm in arms):
                more = False
            case Repeat(result=None, body=body) if changes_roles(body):
                more = False
            case _:
                more = more or _writes(item)
    return follows[::-1]


def _writes(item: Item) -> bool:
    match item:
        case Line():
            return True
        case If(arms=arms):
            return any(_writes(inner) for arm in arms for inner in arm.body)
        case Repeat(body=body):
            return any(map(_writes, body))
        case _:
            return False


def common_indent(items: Sequence[Item]) -> int:
    """Return how many characters of white space all lines of text in a block begin with."""
    indents = [item.indent for item in items if isinstance(item, Line)]
    shared = 0
    for characters in zip(*indents, strict=False):
        if len(set(characters)) > 1:
            break
        shared += 1
    return shared
