"""Computing values: the pure functions that `Apply` names, and `evaluate`, which applies them. No I/O, bounded work.

Scripts and f-strings in traced programs compile to these; Python programs compute in Python. Called by the evaluator
of graphs and by passes that fold constants.
"""

from __future__ import annotations

import json
import operator
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .errors import ProgramError
from .ir import Apply, Argument, Reference, Value

MAX_RANGE = 10_000
# Of one computed value. A graph may come from anywhere, and doubling a text forty times is forty operations.
MAX_CHARACTERS = 16_000_000
MAX_ITEMS = 1_000_000
MAX_WIDTH = 10_000  # of a number or text in a format
MAX_SPEC = 100  # characters of what stands behind the colon of a format

Lookup = Callable[[Reference | Argument], Any]


def evaluate(value: Value, lookup: Lookup) -> Any:
    """Return what `value` is; `lookup` gives the values of references and arguments, their paths not yet applied.

    Raises `ProgramError` where a function does not take its arguments, a path leads nowhere, or the value gets too big.

    >>> evaluate(Apply("len", (("a", "b"),)), lambda name: None)
    2
    """
    found = _evaluated(value, lookup)
    if isinstance(found, list | tuple | Mapping):
        _check_size(found)
    return found


def _evaluated(value: Value, lookup: Lookup) -> Any:
    match value:
        case Reference(path=path) | Argument(path=path):
            found = lookup(value)
            for key in path:
                found = item_of(found, key)
            return found
        case Apply("and" | "or" as function, (left, right)):  # the right side counts only when the left does not decide
            decided = _evaluated(left, lookup)
            return decided if bool(decided) == (function == "or") else _evaluated(right, lookup)
        case Apply(function, arguments):
            return FUNCTIONS[function](*(_evaluated(argument, lookup) for argument in arguments))
        case tuple():
            return tuple(_evaluated(item, lookup) for item in value)
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


def _check_size(value: Any) -> None:
    """Raise `ProgramError` for a list or record that holds too much, whatever parts of it are the same object."""
    pending, num_items, num_characters = [value], 0, 0
    while pending:
        found = pending.pop()
        if isinstance(found, str):
            num_characters += len(found)
        elif isinstance(found, Mapping | list | tuple):
            num_items += len(found)
            pending.extend(found.values() if isinstance(found, Mapping) else found)
        if num_items > MAX_ITEMS or num_characters > MAX_CHARACTERS:
            raise ProgramError(f"a value holds more than {MAX_ITEMS} items or {MAX_CHARACTERS} characters")


def _joined(separator: str, texts: Sequence[str]) -> str:
    if sum(map(len, texts)) + len(separator) * len(texts) > MAX_CHARACTERS:
        raise ProgramError(f"a text of more than {MAX_CHARACTERS} characters")
    return separator.join(texts)


def _sum(*parts: Any) -> Any:
    total = parts[0]
    for part in parts[1:]:
        if {type(total), type(part)} == {list, tuple}:  # a list is the same list wherever it comes from
            total, part = tuple(total), tuple(part)
        total = total + part
        if isinstance(total, str | list | tuple):
            limit = MAX_CHARACTERS if isinstance(total, str) else MAX_ITEMS
            if len(total) > limit:
                raise ProgramError(f"a sum of {len(total)} characters or items; at most {limit} are allowed")
    return total


def _format(value: Any, spec: str = "") -> str:
    if len(spec) > MAX_SPEC or any(int(number) > MAX_WIDTH for number in re.findall("[0-9]+", spec)):
        raise ProgramError(f"the format {spec[:MAX_SPEC]!r} is longer than {MAX_SPEC} or wider than {MAX_WIDTH}")
    return format(value, spec)


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
    "format": _format,
    "concat": lambda *parts: _joined("", list(map(text_of, parts))),
    "+": lambda *parts: _sum(*map(_as_tuple, parts)),
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
    "join": lambda items, separator=", ": _joined(separator, list(map(text_of, items))),
    "lower": lambda text: text.lower(),
    "json": _json,
    "majority": _majority,
    "list": lambda *items: list(items),
    "record": lambda *pairs: dict(zip(pairs[::2], pairs[1::2], strict=True)),
    "repr": repr,
}

FUNCTIONS: Mapping[str, Callable[..., Any]] = {name: _typed(name, function) for name, function in _PLAIN.items()}
