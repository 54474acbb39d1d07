"""What can be told of a value before a run: whether the model decides it, and how many items a list has at most."""

from __future__ import annotations

from .inference import MAX_RANGE, Names
from .kinds import Kind, ListOf, is_all
from .options import constant_of
from .syntax import Call, Constant, Expression, FieldOf, ItemOf, ListDisplay, Name, Operation

LIST_LENGTHS = MAX_RANGE  # of lists whose length is an input


def is_generated(expression: Expression, names: Names) -> bool:
    """True when the value depends on what the model writes."""
    match expression:
        case Name(_, name):
            return name in names and names[name].is_generated
        case Constant():
            return False
        case ListDisplay(_, items) | Operation(_, _, items) | Call(_, _, items):
            return any(is_generated(item, names) for item in items)
        case FieldOf(_, value, _):
            return is_generated(value, names)
        case ItemOf(_, value, index):
            return is_generated(value, names) or is_generated(index, names)


def length_of(expression: Expression, names: Names) -> int | None:
    """Return how many items a list has at most; None when only the model decides it.

    Lists that come from inputs may be as long as any loop: their length is checked when a run begins it.
    """
    match expression:
        case Name(_, name):
            return names[name].length if name in names else None
        case ListDisplay(_, items):
            return len(items)
        case FieldOf(_, value, _):  # of a list of records it is a list as long; else it is part of a value
            return length_of(value, names) or (None if is_generated(value, names) else LIST_LENGTHS)
        case Operation(_, "+", operands):
            lengths = [length_of(operand, names) for operand in operands]
            total = sum(length for length in lengths if length is not None)
            return None if None in lengths else min(total, LIST_LENGTHS) if LIST_LENGTHS in lengths else total
        case Operation(_, "and" | "or", operands):
            lengths = [length_of(operand, names) for operand in operands]
            return None if None in lengths else max(length for length in lengths if length is not None)
        case Call(_, label, arguments) if label.name == "range":
            bounds = [constant_of(argument) for argument in arguments]
            if all(isinstance(bound, int) for bound in bounds) and 0 not in bounds[2:]:
                return len(range(*bounds))
            return None if is_generated(expression, names) else LIST_LENGTHS
        case ItemOf():
            return None if is_generated(expression, names) else LIST_LENGTHS
        case _:
            return None


def input_length(kind: Kind) -> int | None:
    """Return the same for the value of an input."""
    return LIST_LENGTHS if is_all(kind, "list") or isinstance(kind, ListOf) else None
