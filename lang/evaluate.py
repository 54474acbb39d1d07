"""Computing values: the pure functions that `Apply` names, and `evaluate`, which applies them. No I/O, bounded work.

Scripts and f-strings in traced programs compile to these; Python programs compute in Python. Called by the evaluator
of graphs and by passes that fold constants.
"""

from __future__ import annotations

import functools
import json
import operator
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .errors import ProgramError
from .ir import Apply, Argument, Reference, Value

MAX_RANGE = 10_000

Lookup = Callable[[Reference | Argument], Any]


def evaluate(value: Value, lookup: Lookup) -> Any:
    """Return what `value` is; `lookup` gives the values of references and arguments, their paths not yet applied.

    Raises `ProgramError` where a function does not take its arguments, or a path leads nowhere.

    >>> evaluate(Apply("len", (("a", "b"),)), lambda name: None)
    2
    """
    match value:
        case Reference(path=path) | Argument(path=path):
            found = lookup(value)
            for key in path:
                found = item_of(found, key)
            return found
        case Apply("and" | "or" as function, (left, right)):  # the right side counts only when the left does not decide
            decided = evaluate(left, lookup)
            return decided if bool(decided) == (function == "or") else evaluate(right, lookup)
        case Apply(function, arguments):
            return FUNCTIONS[function](*(evaluate(argument, lookup) for argument in arguments))
        case tuple():
            return tuple(evaluate(item, lookup) for item in value)
        case _:
            return value


def text_of(value: Any) -> str:
    """Return the text of a value where it stands in a prompt: strings as they are, everything else as JSON.

    >>> text_of("a"), text_of(3), text_of(True), text_of(("a", 1))
    ('a', '3', 'true', '["a", 1]')
    """
    return value if isinstance(value, str) else _json(value)


def item_of(value: Any, key: Any) -> Any:
    """Return an item of a list or text, a field of a record, or that field of every record of a list."""
    if value is None:
        raise ProgramError(f"{key!r} is read of a value that is not there (its gen did not run)")
    match value, key:
        case Mapping(), str() if key in value:
            return value[key]
        case str(), int() if not isinstance(key, bool) and -len(value) <= key < len(value):
            return value[key]
        case Sequence(), int() if not isinstance(key, bool) and -len(value) <= key < len(value):
            return value[key]
        case list() | tuple(), str():
            return tuple(item_of(item, key) for item in value)
        case _, str() if not isinstance(value, str | Mapping) and not key.startswith("_") and hasattr(value, key):
            return getattr(value, key)
        case _:
            raise ProgramError(f"{_kind(value)} has no {'field' if isinstance(key, str) else 'item'} {key!r}")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    """Dataclasses, models, enums, dates and the like as what their JSON is made of."""
    from pydantic import TypeAdapter  # heavy: only values that are no JSON themselves pay for it

    return TypeAdapter(Any).dump_python(value, mode="json")


def _as_tuple(value: Any) -> Any:
    """Lists as tuples, also inside them: a list is the same list whether it was generated, given or written."""
    if isinstance(value, list | tuple):
        return tuple(map(_as_tuple, value))
    if isinstance(value, dict):
        return {key: _as_tuple(item) for key, item in value.items()}
    return value


def _kind(value: Any) -> str:
    return f"a value of type {type(value).__name__}"


def _majority(values: Sequence[Any]) -> Any:
    """The value that stands most often, the first of equals; values that are not there do not count."""
    present = [value for value in values if value is not None]
    if not present:
        raise ProgramError("majority() of no values")
    keys = [_json(value) for value in present]
    best = Counter(keys).most_common(1)[0][0]  # counts equal keys in the order of their first appearance
    return present[keys.index(best)]


def _range(*bounds: int) -> tuple[int, ...]:
    numbers = range(*bounds)
    if len(numbers) > MAX_RANGE:
        raise ProgramError(f"range() of {len(numbers)} numbers; at most {MAX_RANGE} are allowed")
    return tuple(numbers)


def _typed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, with Python's complaints about its arguments turned into `ProgramError`."""

    def apply(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except (TypeError, ValueError, AttributeError) as error:
            kinds = ", ".join(type(argument).__name__ for argument in arguments)
            raise ProgramError(f"{name} cannot be computed of {kinds}: {error}") from error

    return apply


_PLAIN: Mapping[str, Callable[..., Any]] = {
    "text": text_of,
    "format": lambda value, spec="": format(value, spec),
    "concat": lambda *parts: "".join(map(text_of, parts)),
    "+": lambda *parts: functools.reduce(operator.add, map(_as_tuple, parts)),
    "==": lambda left, right: _as_tuple(left) == _as_tuple(right),
    "!=": lambda left, right: _as_tuple(left) != _as_tuple(right),
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda item, items: _as_tuple(item) in _as_tuple(items),
    "and": lambda left, right: left and right,
    "or": lambda left, right: left or right,
    "not": operator.not_,
    "item": item_of,
    "len": len,
    "range": _range,
    "join": lambda items, separator=", ": separator.join(map(text_of, items)),
    "lower": lambda text: text.lower(),
    "json": _json,
    "majority": _majority,
    "list": lambda *items: list(items),
    "record": lambda *pairs: dict(zip(pairs[::2], pairs[1::2], strict=True)),
    "repr": repr,
}

FUNCTIONS: Mapping[str, Callable[..., Any]] = {name: _typed(name, function) for name, function in _PLAIN.items()}
