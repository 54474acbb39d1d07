"""The options of holes: what they are called, which sampling parameters they set, and their values.

The parameters are checked by the same code as those of Python programs. Called by the checker.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import ParameterError
from ..expressions import SELECT_METHODS, gen
from ..sampling import Sampling
from .diagnostics import Report, suggestion
from .kinds import Kind, Pattern, annotation_of, is_known
from .syntax import Constant, Expression, GenHole, ListDisplay, Option, SelectHole

# option of gen -> parameter of `Sampling`
GEN_OPTIONS: Mapping[str, str] = {
    "max": "max_tokens",
    "min": "min_tokens",
    "temp": "temperature",
    "stop": "stop",
    "stop_regex": "stop_regex",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "repetition_penalty": "repetition_penalty",
    "seed": "seed",
    "n": "n",
    "logprobs": "logprobs",
}
SELECT_OPTIONS = ("method",)
NO_CONSTANT = object()


def gen_parameters(report: Report, hole: GenHole, kind: Kind | None) -> dict[str, Any]:
    """Return the sampling parameters of a gen; what is wrong with them, or with its type, is reported."""
    given: dict[str, Any] = {}
    for option in _known(report, hole.options, tuple(GEN_OPTIONS), "gen"):
        value = constant_of(option.value)
        if value is NO_CONSTANT or value is None:
            hint = "a number, a text or a list of texts"
            report.error("E031", option.value.span, f"{option.label.name!r} takes a constant", hint)
            continue
        parameter = GEN_OPTIONS[option.label.name]
        try:
            Sampling.of(**{"max_tokens": 2**30, parameter: value})
        except ParameterError as error:
            report.error("E031", option.value.span, _in_script_words(str(error)))
            continue
        given[parameter] = value
    if kind is not None and not is_known(kind):
        return given
    try:
        gen(hole.label.name, **constraint_parameters(kind), **given)
    except ParameterError as error:
        is_type = hole.type is not None and "type" in str(error).split(" ")[:2]
        span = hole.type.span if is_type and hole.type else hole.label.span
        report.error("E019" if is_type else "E031", span, _in_script_words(str(error)))
    return given


def constraint_parameters(kind: Kind | None) -> dict[str, Any]:
    """Return what `gen` in Python takes for a type of a script."""
    match kind:
        case None:
            return {}
        case Pattern(pattern):
            return {"regex": pattern}
        case _:
            return {"type": annotation_of(kind)}


def select_method(report: Report, hole: SelectHole) -> str:
    """Return by what a select chooses."""
    method = SELECT_METHODS[0]
    for option in _known(report, hole.options, SELECT_OPTIONS, "select"):
        value = constant_of(option.value)
        if value in SELECT_METHODS:
            method = str(value)
            continue
        hint = suggestion(str(value), SELECT_METHODS) or f"there are {', '.join(SELECT_METHODS)}"
        report.error("E031", option.value.span, "'method' takes the name of a way to choose", hint)
    return method


def constant_of(expression: Expression) -> Any:
    """Return the value of a constant or of a list of constants (a tuple), or `NO_CONSTANT`."""
    match expression:
        case Constant(_, value):
            return value
        case ListDisplay(_, items):
            values = tuple(constant_of(item) for item in items)
            return NO_CONSTANT if NO_CONSTANT in values else values
        case _:
            return NO_CONSTANT


def _known(report: Report, options: Iterable[Option], names: tuple[str, ...], what: str) -> Iterable[Option]:
    """Yield the options that there are, each once."""
    seen: set[str] = set()
    for option in options:
        name, span = option.label.name, option.label.span
        if name not in names:
            ours = next((own for own, parameter in GEN_OPTIONS.items() if parameter == name and own in names), None)
            hint = f"it is called {ours!r}" if ours else suggestion(name, names)
            there_are = f"there are {', '.join(names)}" if len(names) > 1 else f"its only option is {names[0]}"
            report.error("E030", span, f"{what} has no option {name!r}", hint or there_are)
        elif name in seen:
            report.error("E032", span, f"{name!r} is given twice", "leave one of them out")
        else:
            seen.add(name)
            yield option


def _in_script_words(message: str) -> str:
    """Call the parameters what the script calls them."""
    for option, parameter in GEN_OPTIONS.items():
        message = message.replace(parameter, option)
    return message
