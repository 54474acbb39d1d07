"""What a graph is given: arguments, checked against the inputs and schemas it declares.

Called before a graph runs and when arguments are bound to it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from ..errors import ParameterError, did_you_mean
from ..ir import Input

# What the commonest schemas mean, so that only richer ones pay for importing a validator.
PLAIN_TYPES: dict[str, tuple[type, ...]] = {
    '{"type":"string"}': (str,),
    '{"type":"integer"}': (int,),
    '{"type":"number"}': (int, float),
    '{"type":"boolean"}': (bool,),
}


def check_known(inputs: Sequence[Input], names: Iterable[str]) -> None:
    """Raise `ParameterError` for a name that is not one of the inputs."""
    known = [given.name for given in inputs]
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or f"; it takes {', '.join(known) or 'none'}"
            raise ParameterError(f"the graph has no input {name!r}{hint}")


def check_input(given: Input, value: Any) -> None:
    """Raise `ParameterError` unless `value` fits the schema of the input."""
    if given.schema is None:
        return
    plain = PLAIN_TYPES.get(given.schema.replace(" ", ""))
    if plain is not None:
        if not isinstance(value, plain) or (isinstance(value, bool) and bool not in plain):
            kind = json.loads(given.schema)["type"]
            raise ParameterError(f"input {given.name!r} takes a value of type {kind}, got {value!r}")
        return
    from jsonschema import Draft202012Validator

    error = next(Draft202012Validator(json.loads(given.schema)).iter_errors(_as_json(given, value)), None)
    if error is not None:
        place = "".join(f"[{key!r}]" for key in error.absolute_path)
        raise ParameterError(f"input {given.name!r}{place}: {error.message}")


def _as_json(given: Input, value: Any) -> Any:
    """Return the value as a validator knows values: tuples are lists there."""
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError) as error:
        raise ParameterError(f"input {given.name!r} takes a JSON value, got {value!r}: {error}") from error
