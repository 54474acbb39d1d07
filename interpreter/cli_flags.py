"""The sampling flags of the command line, spelled once and added to each command that samples.

It knows `Sampling` and how typer reads signatures. Called by `cli.py`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, Final

import typer

from ..lang.errors import ParameterError
from ..lang.sampling import Sampling

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


def sampling_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` one option per entry of `FLAGS`; it gets those that were given, checked, as `sampling`."""

    @functools.wraps(command)
    def wrapper(**given: Any) -> None:
        flags = {name: given.pop(name) for name in FLAGS}
        sampling = {name: value for name, value in flags.items() if value not in (None, [])}
        try:
            Sampling.of(**sampling)
        except ParameterError as error:
            raise typer.BadParameter(str(error)) from error
        command(**given, sampling=sampling)

    own = inspect.signature(command, eval_str=True)
    parameters = [parameter for name, parameter in own.parameters.items() if name != "sampling"]
    parameters += [_parameter(name, kind, text) for name, (kind, text) in FLAGS.items()]
    signature = own.replace(parameters=parameters)
    wrapper.__signature__ = signature  # type: ignore[attr-defined]
    wrapper.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    return wrapper


def _parameter(name: str, kind: Any, text: str) -> inspect.Parameter:
    option = typer.Option(f"--{name.replace('_', '-')}", help=text, show_default=False, rich_help_panel="Sampling")
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )
