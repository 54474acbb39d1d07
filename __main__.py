"""`python -m ramify`, and the `ramify` command: the composition root of the command line.

It may import everything and puts together what `interpreter/cli.py` must not know: backends by name, plugins, the
server. Nothing of that is imported before a command needs it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import __version__
from .backend.api import Backend
from .interpreter.cli import LateCommands, command_line
from .interpreter.cli_options import Composition, PluginFacts
from .lang.errors import ParameterError, did_you_mean


@contextmanager
def open_backend(name: str, model: str | None, options: Mapping[str, Any]) -> Iterator[Backend]:
    """Make a backend, ask it what it can do, so that one that nobody answers for is told at once, and close it.

    `name`: a server's URL, a model's folder or a plugin. `options`: keyword arguments it is made with.
    """
    import asyncio
    import inspect

    from .backend import registry

    plugin, first = _plugin_of(name, model)
    make = registry.load("backends", plugin)
    known = inspect.signature(make).parameters
    if model is not None and "model" not in known:
        raise ParameterError(f"the backend {plugin!r} loads no model; leave out --model")
    for option in options:
        if option not in known:
            hint = did_you_mean(option, known) or f"; there are {', '.join(known)}"
            raise ParameterError(f"the backend {plugin!r} has no option {option!r}{hint}")
    backend: Backend = make(**options) if first is None else make(first, **options)
    try:
        _ = backend.capabilities
        yield backend
    finally:
        asyncio.run(backend.close())


def _plugin_of(name: str, model: str | None) -> tuple[str, str | None]:
    """Return the plugin that `--backend` stands for, and its first argument."""
    if name.startswith(("http://", "https://")):
        plugin = "remote"
    elif "/" in name or Path(name).is_dir():
        plugin = "engine"
    else:
        return name, model
    if model is not None:
        raise ParameterError(f"--backend {name} says which model answers; leave out --model")
    return plugin, name


def plugins() -> Mapping[str, Sequence[PluginFacts]]:
    """Return the installed plugins by group."""
    from .backend import registry

    return {group: registry.plugins(group) for group in registry.GROUPS}


def _add_server(app: Any) -> None:
    from .backend.server.command import add_commands

    add_commands(app)


SERVER = LateCommands(
    helps={
        "serve": "Serve a model over HTTP.",
        "config": "Print a server's settings, and where each comes from.",
    },
    add=_add_server,
    extra="serve",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line (`sys.argv` unless `arguments` are given) and exit."""
    composition = Composition(version=__version__, open_backend=open_backend, plugins=plugins)
    command_line(SERVER)(args=arguments, prog_name="ramify", obj=composition)


if __name__ == "__main__":
    main()
