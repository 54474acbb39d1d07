"""The `ramify` command, put together from the modules of its commands.

It lives here because it runs programs, and like everything here it knows no engine: the composition root (the package's
`__main__`, which may import everything) passes in how backends are opened, and the plugins and commands there are.
"""

from __future__ import annotations

import dataclasses
import io
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from .cli_chat import chat, generate
from .cli_flags import SectionedCommand
from .cli_graph import graph
from .cli_options import Composition, ExitCode
from .cli_report import complain, reported
from .cli_run import run
from .cli_scripts import check, explain, fmt


@dataclass(frozen=True, slots=True)
class LateCommands:
    """Commands of another part of the package, which is imported when one of them is called.

    `helps`: what they are called and what the list of commands says of them. `add` adds them to a command line.
    `extra`: the extra that brings the modules they need.
    """

    helps: Mapping[str, str]
    add: Callable[[typer.Typer], None]
    extra: str


def command_line(late: LateCommands | None = None) -> typer.Typer:
    """Make the command line; it is called with a `Composition` as `obj`."""
    app = typer.Typer(
        name="ramify",
        cls=TyperGroup if late is None else _group_with(late),
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,  # plain text: the same on a terminal, in a pipe and in a log
        pretty_exceptions_enable=False,
    )
    app.callback(invoke_without_command=True)(_options)
    for command in (run, check, fmt, graph, explain, generate, chat, plugins):
        app.command(cls=SectionedCommand)(command)
    return app


def _group_with(late: LateCommands) -> type[TyperGroup]:
    class Group(TyperGroup):
        def list_commands(self, ctx: Any) -> list[str]:
            return [*super().list_commands(ctx), *late.helps]

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            """Return a command; of a late one what the list of commands needs."""
            if cmd_name in late.helps:
                return TyperCommand(cmd_name, help=late.helps[cmd_name])
            return super().get_command(ctx, cmd_name)

        def resolve_command(self, ctx: Any, args: list[str]) -> Any:
            """Return the command that is called."""
            name, *rest = args
            return (name, _load(late, ctx, name), rest) if name in late.helps else super().resolve_command(ctx, args)

    return Group


def _load(late: LateCommands, context: Any, name: str) -> Any:
    app = typer.Typer(rich_markup_mode=None, add_completion=False)
    try:
        late.add(app)
    except ModuleNotFoundError as error:
        extra = f"pip install 'ramify[{late.extra}]'"
        complain(f"ramify {name} needs the module {error.name!r}, which an extra adds: {extra}")
        raise typer.Exit(ExitCode.USAGE) from None
    return typer.main.get_group(app).get_command(context, name)


def _options(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Programs for structured generation, and the engine that runs them."""
    composition: Composition = context.obj
    if os.environ.get("NO_COLOR"):
        context.color = False
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what a terminal or locale cannot show must not end a run
            stream.reconfigure(errors="backslashreplace")
    if version:
        typer.echo(f"ramify {composition.version}")
        raise typer.Exit
    context.obj = dataclasses.replace(composition, debug=debug)


def plugins(context: typer.Context) -> None:
    """List the plugins that are installed, by group."""
    composition: Composition = context.obj
    with reported(debug=composition.debug):
        for group, found in composition.plugins().items():
            typer.secho(group, bold=True)
            width = max((len(plugin.name) for plugin in found), default=0)
            for plugin in found:
                typer.echo(f"  {plugin.name:{width}}  {plugin.target}  ({plugin.distribution})")
            if not found:
                typer.echo("  none")
