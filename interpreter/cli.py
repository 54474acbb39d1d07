"""The `ramify` command, put together from the modules of its commands.

It lives here because it runs programs, and like everything here it knows no engine: the composition root (the package's
`__main__`, which may import everything) passes in how backends are opened and which plugins there are.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Annotated

import typer

from .cli_chat import chat, generate
from .cli_flags import SectionedCommand
from .cli_graph import graph
from .cli_options import Composition, ExitCode
from .cli_report import complain, reported
from .cli_run import run
from .cli_scripts import check, explain, fmt


def command_line() -> typer.Typer:
    """Make the command line; it is called with a `Composition` as `obj`."""
    app = typer.Typer(
        name="ramify",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,  # plain text: the same on a terminal, in a pipe and in a log
        pretty_exceptions_enable=False,
    )
    app.callback(invoke_without_command=True)(_options)
    for command in (run, check, fmt, graph, explain, generate, chat, plugins):
        app.command(cls=SectionedCommand)(command)
    return app


def add_missing(app: typer.Typer, name: str, extra: str, module: str | None) -> None:
    """Add a command that cannot run for want of a module, to say how to get it."""

    def missing() -> None:
        complain(f"ramify {name} needs the module {module!r}, which an extra adds: pip install 'ramify[{extra}]'")
        raise typer.Exit(ExitCode.USAGE)

    app.command(name, help=f"Needs an extra: pip install 'ramify[{extra}]'.")(missing)


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
    if version:
        typer.echo(f"ramify {composition.version}")
        raise typer.Exit
    context.obj = dataclasses.replace(composition, debug=debug)


def plugins(context: typer.Context) -> None:
    """List the plugins that are installed, by group."""
    composition: Composition = context.obj
    with reported(debug=composition.debug):
        for group in composition.groups:
            typer.secho(group, bold=True)
            found = composition.plugins(group)
            width = max((len(plugin.name) for plugin in found), default=0)
            for plugin in found:
                typer.echo(f"  {plugin.name:{width}}  {plugin.target}  ({plugin.distribution})")
            if not found:
                typer.echo("  none")
