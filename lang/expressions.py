"""The values users append to a state: `gen(...)`, `select(...)`, roles, and their sums with strings.

Expressions are immutable and may be reused. They are checked here, where they are written, and turned into nodes by
the recorder; they know nothing of states or backends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, Unpack

from .constraints import (
    CONSTRAINT_KINDS,
    Constraint,
    Grammar,
    JsonSchema,
    check_characters,
    check_choices,
    constraint_of,
)
from .errors import ParameterError, ProgramError, TraceError, did_you_mean
from .ir import ROLES
from .location import at, caller_location
from .marks import MarkedText
from .sampling import PARAMETERS, Sampling, SamplingArguments
from .schema_value import SchemaReader

SELECT_METHODS: tuple[str, ...] = (
    "token_length_normalized",
    "greedy_token_selection",
    "unconditional_likelihood_normalized",
    "constrained",
)
CONSTRAINT_PARAMETERS: tuple[str, ...] = ("type", *CONSTRAINT_KINDS)


class Expression:
    """Something that can be appended to a state; `+` joins it with strings and other expressions."""

    __slots__ = ()

    def __add__(self, other: object) -> Expression:
        return concat(self, other)

    def __radd__(self, other: object) -> Expression:
        return concat(other, self)

    def __format__(self, spec: str) -> NoReturn:
        """Refuse: in an f-string it would become its own description, and nothing would be generated."""
        raise ProgramError(
            f"an f-string cannot hold what is generated later{at(caller_location())}; "
            'write "..." + ramify.gen(...) + "..." instead'
        )


@dataclass(frozen=True, slots=True)
class Concat(Expression):
    """Parts to be appended one after the other."""

    parts: tuple[str | Expression, ...]


@dataclass(frozen=True, slots=True)
class GenExpression(Expression):
    """What `gen(...)` returns: the parameters as written, checked; defaults are merged when it is appended."""

    name: str | None
    parameters: Mapping[str, Any]
    constraint: Constraint | None
    parse: Callable[[str], Any] | None = field(compare=False)
    location: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class SelectExpression(Expression):
    """What `select(...)` returns."""

    name: str | None
    choices: tuple[str | Expression, ...]
    method: str
    location: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class RoleExpression(Expression):
    """A whole message: `role` with its content."""

    role: str
    content: str | Expression
    location: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class RoleMark(Expression):
    """The beginning or the end of a message."""

    role: str
    is_begin: bool
    location: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class CallExpression(Expression):
    """Another program to be run inside the state it is appended to: `inline(state)` does it."""

    label: str
    inline: Callable[[Any], Any] = field(repr=False)


def as_part(value: object) -> str | Expression:
    """Return `value` if it can be appended, or raise `ProgramError` (`ParameterError` for text that is broken)."""
    match value:
        case str():
            check_characters(value)
            return value
        case Expression():
            return value
        case int() | float():
            hint = "write str(...) around it"
        case None:
            hint = "a variable or argument has no value here"
        case _ if callable(value):
            hint = "call it, as in s += program(...)"
        case _:
            hint = "append text, gen(...), select(...) or a role"
    raise ProgramError(f"cannot append a value of type {type(value).__name__}{at(caller_location())}; {hint}")


def concat(left: object, right: object) -> Concat:
    """Join two values that can be appended; nested sums are kept flat."""
    parts: list[str | Expression] = []
    for value in (as_part(left), as_part(right)):
        parts.extend(value.parts if isinstance(value, Concat) else (value,))
    return Concat(tuple(parts))


def gen(
    name: str | None = None,
    *,
    type: Any = None,
    regex: str | None = None,
    json_schema: Any = None,
    grammar: str | Grammar | None = None,
    choices: Iterable[str] | None = None,
    strict: bool = True,
    **sampling: Unpack[SamplingArguments],
) -> GenExpression:
    r"""Generate text here; its value can be read as `state[name]`.

    - `type`: int, float, bool, str, a Literal, an Enum, ...: the text is held to it and the value is of that type.
    - `regex`, `json_schema` (a dict, JSON text or pydantic model), `grammar`, `choices`: other constraints. At most
      one of these five is given.
    - `strict=False`: what no mask can hold (`set[str]`, `uniqueItems`, ...) is checked when the value is complete, with
      a `ParseError`, instead of being refused here.
    - everything else is a parameter of `Sampling`: `max_tokens`, `temperature`, `top_p`, `top_k`, `stop`, `seed`, `n`,
      `logprobs`, `heal`, `backend_hint`, ... What is left out comes from the program's `with_sampling`, then from
      `Sampling`'s defaults.
    - `n > 1`: the value is a tuple of n values and the text does not go on by itself: `state.keep(name, i)` chooses.

    Raises `ParameterError` (also a ValueError) for wrong names and values, and `ConstraintError` for a constraint that
    cannot be enforced.

    >>> gen("answer", max_tokens=8, stop="\n").name
    'answer'
    """
    given = {"type": type, "regex": regex, "json_schema": json_schema, "grammar": grammar, "choices": choices}
    _check_known({"name": name, **given, **sampling})
    _check_name(name)
    for parameter in sampling:
        if parameter not in PARAMETERS:
            known = (*CONSTRAINT_PARAMETERS, "strict", *PARAMETERS)
            raise ParameterError(f"gen has no parameter {parameter!r}{did_you_mean(parameter, known)}")
    check_parameters(sampling)
    constraint, parse = _constraint(
        {key: value for key, value in given.items() if value is not None},
        strict=strict,
        has_hint=sampling.get("backend_hint") is not None,
    )
    frozen = {key: _copied(value) for key, value in sampling.items() if value is not None}
    return GenExpression(name, frozen, constraint, parse, caller_location())


def gen_int(name: str | None = None, **sampling: Unpack[SamplingArguments]) -> GenExpression:
    """Generate an integer: `gen(name, type=int, ...)`."""
    return gen(name, type=int, **sampling)


def gen_string(name: str | None = None, **sampling: Unpack[SamplingArguments]) -> GenExpression:
    """Generate a string: `gen(name, type=str, ...)`."""
    return gen(name, type=str, **sampling)


def select(
    name: str | None = None, choices: Iterable[str] | None = None, method: Any = "token_length_normalized"
) -> SelectExpression:
    """Append the choice that the model finds most likely here; `state[name]` is the chosen string.

    `method` is one of `token_length_normalized` (default), `greedy_token_selection`,
    `unconditional_likelihood_normalized` (the functions or their names), or `"constrained"` (decode greedily under a
    mask that allows the choices only). `state.meta(name).scores` is the table of all choices. Raises `ParameterError`
    for choices that are empty or given twice, and for unknown methods.
    """
    _check_name(name)
    if choices is None or isinstance(choices, str) or not isinstance(choices, Iterable):
        raise ParameterError(f"select needs choices: a list of strings, got {choices!r}")
    parts = tuple(choices)
    if not any(isinstance(part, Expression | MarkedText) for part in parts):  # while tracing some may not be known
        check_choices(parts)
    label = method if isinstance(method, str) else getattr(method, "__name__", repr(method))
    if label not in SELECT_METHODS:
        known = ", ".join(SELECT_METHODS)
        raise ParameterError(f"select has no method {label!r}{did_you_mean(label, SELECT_METHODS)}; there are {known}")
    return SelectExpression(name, parts, label, caller_location())


def system(content: object) -> RoleExpression:
    """A system message."""
    return RoleExpression("system", as_part(content), caller_location())


def user(content: object) -> RoleExpression:
    """A user message. Text in it is data: it never opens another role, whatever it spells.

    It may hold a `gen(...)`: the model then speaks for the user.
    """
    return RoleExpression("user", as_part(content), caller_location())


def assistant(content: object) -> RoleExpression:
    """A message of the model, usually with a `gen(...)` in it."""
    return RoleExpression("assistant", as_part(content), caller_location())


def system_begin() -> RoleMark:
    """Open a system message; close it with `system_end()`."""
    return RoleMark("system", True, caller_location())


def system_end() -> RoleMark:
    """Close the system message."""
    return RoleMark("system", False, caller_location())


def user_begin() -> RoleMark:
    """Open a user message; close it with `user_end()`."""
    return RoleMark("user", True, caller_location())


def user_end() -> RoleMark:
    """Close the user message."""
    return RoleMark("user", False, caller_location())


def assistant_begin() -> RoleMark:
    """Open a message of the model; close it with `assistant_end()`."""
    return RoleMark("assistant", True, caller_location())


def assistant_end() -> RoleMark:
    """Close the message of the model."""
    return RoleMark("assistant", False, caller_location())


def check_parameters(sampling: Mapping[str, Any]) -> None:
    """Raise `ParameterError` for sampling parameters that cannot be right, whatever defaults they are laid over."""
    least = sampling.get("min_tokens")
    if sampling.get("max_tokens") is None and isinstance(least, int) and least > Sampling().max_tokens:
        sampling = {**sampling, "max_tokens": least}  # the greater limit may come from the other place
    Sampling.of(**sampling)


def check_role(role: str) -> None:
    """Raise `ParameterError` unless `role` is one of `ROLES`."""
    if role not in ROLES:
        raise ParameterError(f"there is no role {role!r}{did_you_mean(role, ROLES)}; roles are {', '.join(ROLES)}")


def _check_known(parameters: Mapping[str, Any]) -> None:
    """Raise `TraceError` for a parameter that is the value of something not known while tracing."""
    for name, value in parameters.items():
        if isinstance(value, Expression | MarkedText):
            raise TraceError(
                f"gen{at(caller_location())} needs {name}=, which is not known while tracing; give the argument that "
                "it comes from when tracing, or run the program instead of tracing it"
            )


def _check_name(name: object) -> None:
    if name is not None and (not isinstance(name, str) or not name):
        raise ParameterError(f"a variable's name must be a non-empty string, got {name!r}")


def _copied(value: Any) -> Any:
    """A list or dict that a user passed in may change later; keep what it holds now."""
    if isinstance(value, Mapping):
        return dict(value)
    return tuple(value) if isinstance(value, list | set) else value


def _constraint(
    given: Mapping[str, Any], *, strict: bool, has_hint: bool
) -> tuple[Constraint | None, Callable[[str], Any] | None]:
    """Turn the one constraint parameter that was given into a constraint and a parser for its text."""
    if len(given) > 1:
        raise ParameterError(f"gen has {' and '.join(f'{name}=' for name in given)}; give at most one of them")
    if not isinstance(strict, bool):
        raise ParameterError(f"strict must be True or False, got {strict!r}")
    if not strict and not given.keys() & {"type", "json_schema"}:
        raise ParameterError("strict=False says how type= or json_schema= is held; this gen has neither")
    for name, value in given.items():
        if name == "type" or (name == "json_schema" and not isinstance(value, dict | str)):
            from .types import type_spec  # pydantic is heavy: only programs with typed gens pay for it

            spec = type_spec(value, strict=strict)
            return spec.constraint, spec
        constraint = constraint_of(name, value, strict=strict)
        if isinstance(constraint, JsonSchema):
            from .constraint_checks import check_schema  # jsonschema too

            check_schema(constraint.schema, strict=strict and not has_hint)
            return constraint, SchemaReader(constraint)
        return constraint, None
    return None, None
