"""`ramify serve` and `ramify config`: the settings as flags, and where each value came from.

The flags are read off `Settings`, so there is one list of them. Added to the command line by the package's `__main__`.
"""

from __future__ import annotations

import inspect
import json
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from ...interpreter.cli_report import reported
from ...lang.errors import ParameterError
from .settings import Settings, load_settings

ConfigFile = Annotated[Path | None, typer.Option("--config", help="A TOML file with settings.")]


def add_commands(app: typer.Typer) -> None:
    """Add `serve` and `config` to a command line."""
    app.command("serve", help="Serve a model over HTTP: our own protocol, OpenAI's and SGLang's.")(_with_flags(_serve))
    config = _with_flags(_show, show=typer.Option("--show", help="Print the settings; it is what this command does."))
    app.command("config", help="Print the settings a server would have, and where each comes from.")(config)


def _serve(settings: Settings, file: Path | None, flags: dict[str, Any]) -> None:
    from .serve import serve

    try:
        serve(settings)
    except OSError as error:
        raise ParameterError(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}") from error


def _show(settings: Settings, file: Path | None, flags: dict[str, Any]) -> None:
    stored = tomllib.loads(file.read_text(encoding="utf-8")) if file is not None else {}
    for name in Settings.model_fields:
        value = getattr(settings, name)
        shown = "(secret)" if isinstance(value, SecretStr) else json.dumps(value)
        line = f"# {name} is not set" if value is None else f"{name} = {shown}"
        typer.echo(f"{line:<40} # {_source(name, flags, stored)}")


def _source(name: str, flags: dict[str, Any], stored: dict[str, Any]) -> str:
    variable = f"RAMIFY_{name.upper()}"
    if name in flags:
        return "flag"
    if any(given.upper() == variable for given in os.environ):
        return f"environment {variable}"
    return "file" if name in stored else "default"


def _with_flags(run: Callable[[Settings, Path | None, dict[str, Any]], None], **switches: Any) -> Callable[..., None]:
    """Return a command with one flag per setting; flags that were not given are left to the other sources.

    `switches`: options that are accepted beside them and change nothing.
    """

    def command(**given: Any) -> None:
        with reported(debug=False):
            file = given.pop("config")
            for name in switches:
                del given[name]
            flags = {name: value for name, value in given.items() if value is not None}
            run(load_settings(flags, file), file, flags)

    parameters = [inspect.Parameter("config", inspect.Parameter.KEYWORD_ONLY, annotation=ConfigFile, default=None)]
    for name, field in Settings.model_fields.items():
        annotation: Any = Annotated[_flag_type(field) | None, _option(name, field)]
        parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=None))
    for name, option in switches.items():
        annotation = Annotated[bool, option]
        parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=True))
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _option(name: str, field: FieldInfo) -> Any:
    flag = "--" + name.replace("_", "-")
    declaration = f"{flag}/--no-{flag.removeprefix('--')}" if field.annotation is bool else flag
    default = "" if field.default is None else f" Default: {json.dumps(field.default)}."
    return typer.Option(declaration, help=f"{field.description}{default}", show_default=False)


def _flag_type(field: FieldInfo) -> Any:
    """The type of a flag: the field's without None, as text where the settings themselves check it."""
    kinds = [kind for kind in get_args(field.annotation) or (field.annotation,) if kind is not type(None)]
    return kinds[0] if kinds[0] in (int, float, bool) else str
