"""What can be the body of a program, and the signature it has without the state. Called by `Program` alone."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import MethodType
from typing import Any

from ..lang.errors import ProgramError

RESERVED = ("backend", "timeout")


def check_body(body: object, program: type) -> None:
    """Raise `ProgramError` for what cannot be the body of a program; `program` is the class of programs."""
    name = getattr(body, "__name__", repr(body))
    if isinstance(body, classmethod | staticmethod):
        kind = type(body).__name__
        raise ProgramError(f"{name}: write @{kind} above @ramify.function, not below it")
    if isinstance(body, program | type) or not callable(body):
        raise ProgramError(f"@ramify.function takes a function whose first parameter is the state, got {body!r}")
    if inspect.isgeneratorfunction(body) or inspect.isasyncgenfunction(body):
        raise ProgramError(
            f"{name} has a yield in it, so calling it runs nothing; append to the state and return instead"
        )


def signature_of(body: Callable[..., Any]) -> inspect.Signature:
    """Return the signature without the state (and without `self`)."""
    signature = inspect.signature(body)
    parameters = list(signature.parameters.values())
    if parameters and parameters[0].name == "self" and not isinstance(body, MethodType):
        parameters = parameters[1:]
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    name = getattr(body, "__name__", "program")
    if not parameters or parameters[0].kind not in positional:
        raise ProgramError(f"{name} needs a first parameter for the state, as in def {name}(s): ...")
    for parameter in parameters[1:]:
        if parameter.name in RESERVED:
            raise ProgramError(f"{name} has a parameter {parameter.name!r}, which run() needs itself; rename it")
    return signature.replace(parameters=parameters[1:])
