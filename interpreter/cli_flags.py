"""Flags in groups: the sampling flags of each command that samples, and the fields of a dataclass as flags.

It knows `Sampling`, how typer reads signatures and how help is laid out. Used by the `cli_*.py` modules.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, get_type_hints

import typer
from typer.core import TyperCommand

from ..lang.errors import ParameterError
from ..lang.sampling import Sampling
from .cli_options import Misuse

# name of the parameter of `Sampling` -> type on the command line, help
FLAGS: Final[dict[str, tuple[Any, str]]] = {
    "max_tokens": (int, "Most tokens to generate for one gen."),
    "min_tokens": (int, "Fewest tokens to generate for one gen."),
    "temperature": (float, "0 always takes the most likely token."),
    "top_p": (float, "Sample from the most likely tokens that hold this share of probability."),
    "top_k": (int, "Sample from this many most likely tokens."),
    "min_p": (float, "Drop tokens less likely than this share of the most likely one."),
    "frequency_penalty": (float, "Penalty for each earlier use of a token."),
    "presence_penalty": (float, "Penalty for tokens used before."),
    "repetition_penalty": (float, "Factor against tokens of prompt and output."),
    "seed": (int, "Same seed, same prompt: same tokens."),
    "stop": (list[str], "End the text before this string; may be repeated."),
    "stop_regex": (list[str], "End the text before a match of this pattern; may be repeated."),
}
METAVARS: Final[Mapping[Any, str]] = {int: "N", float: "X", list[str]: "TEXT"}


def sampling_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` one option per entry of `FLAGS`; it gets those that were given, checked, as `sampling`."""

    @functools.wraps(command)
    def wrapper(**given: Any) -> None:
        flags = {name: given.pop(name) for name in FLAGS}
        sampling = {name: value for name, value in flags.items() if value not in (None, [])}
        try:
            Sampling.of(**sampling)
        except ParameterError as error:
            raise Misuse(str(error)) from error
        command(**given, sampling=sampling)

    return _with_parameters(wrapper, command, "sampling", [_flag(name, *facts) for name, facts in FLAGS.items()])


def flags_of(name: str, record: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option per field of the dataclass `record`; it gets an instance of it as `name`.

    The fields are annotated as parameters of a command are.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        fields, types = dataclasses.fields(record), get_type_hints(record, include_extras=True)

        @functools.wraps(command)
        def wrapper(**given: Any) -> None:
            made = record(**{field.name: given.pop(field.name) for field in fields})
            command(**given, **{name: made})

        parameters = [
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=types[field.name]
            )
            for field in fields
        ]
        return _with_parameters(wrapper, command, name, parameters)

    return decorate


class SectionedCommand(TyperCommand):
    """A command whose help shows its options in sections, as plain text."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write a section for the arguments, one for plain options and one for each `rich_help_panel`."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                kind = "Options" if parameter.param_type_name == "option" else "Arguments"
                sections.setdefault(getattr(parameter, "rich_help_panel", None) or kind, []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def _with_parameters(
    wrapper: Callable[..., None], command: Callable[..., None], replaced: str, added: list[inspect.Parameter]
) -> Callable[..., None]:
    """Return `wrapper` with the signature of `command`, in which `added` stands for the parameter `replaced`."""
    own = inspect.signature(command, eval_str=True)
    kept = [parameter for name, parameter in own.parameters.items() if name != replaced]
    signature = own.replace(parameters=[*kept, *added])
    wrapper.__signature__ = signature  # type: ignore[attr-defined]
    wrapper.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    return wrapper


def _flag(name: str, kind: Any, text: str) -> inspect.Parameter:
    flag, metavar = f"--{name.replace('_', '-')}", METAVARS[kind]
    option = typer.Option(flag, help=text, metavar=metavar, show_default=False, rich_help_panel="Sampling")
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )
