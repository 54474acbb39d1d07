"""What a script does, step by step: texts joined and dedented, line ends placed, roles opened and closed.

Made by the layout; lowering turns steps into nodes, `explain` into Python. Both therefore send the same prompts.
"""

from __future__ import annotations

from dataclasses import dataclass

from .source import Span
from .syntax import Assignment, Expression, GenHole, Repeat, SelectHole


@dataclass(frozen=True, slots=True)
class Write:
    """Append constant text."""

    text: str


@dataclass(frozen=True, slots=True)
class WriteValue:
    """Append the text of a value."""

    value: Expression


@dataclass(frozen=True, slots=True)
class Generate:
    """A gen."""

    hole: GenHole


@dataclass(frozen=True, slots=True)
class Choose:
    """A select."""

    hole: SelectHole


@dataclass(frozen=True, slots=True)
class OpenRole:
    """Open a message."""

    role: str
    span: Span


@dataclass(frozen=True, slots=True)
class CloseRole:
    """Close the message that is open."""

    role: str


@dataclass(frozen=True, slots=True)
class SetValue:
    """Give a name a value."""

    item: Assignment


@dataclass(frozen=True, slots=True)
class ArmSteps:
    """An arm of a decision; `condition` None is the else."""

    condition: Expression | None
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Decide:
    """An `@if`."""

    span: Span
    arms: tuple[ArmSteps, ...]


@dataclass(frozen=True, slots=True)
class Iterate:
    """A `@for` or, where `item.result` is given, a `@fork`."""

    item: Repeat
    steps: tuple[Step, ...]


Step = Write | WriteValue | Generate | Choose | OpenRole | CloseRole | SetValue | Decide | Iterate
