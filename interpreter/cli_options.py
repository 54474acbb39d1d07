"""What the commands share: what the command line is put together from, exit codes, and options spelled once.

Nothing heavy is imported here: `ramify --help` reads every option of every command. Used by the `cli_*.py` modules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Any, Final, Protocol

import typer

from ..backend.api import Backend

SCRIPT: Final = ".rmf"  # how the names of scripts end
GRAPH: Final = ".json"  # and of graphs, as `ramify graph` writes them


class ExitCode(IntEnum):
    """How a command ended; `docs/cli.md` has the same table."""

    OK = 0
    RUN_FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    SOME_ROWS_FAILED = 4
    INTERRUPTED = 130  # 128 + SIGINT, as a shell says
    READER_GONE = 141  # 128 + SIGPIPE
    TERMINATED = 143  # 128 + SIGTERM


class Misuse(typer.BadParameter):
    """Flags or arguments that cannot be; typer shows it under the usage line, with exit code 2."""

    def format_message(self) -> str:
        """Return the message alone; it says itself what is wrong with what."""
        return self.message


class PluginFacts(Protocol):
    """What is shown of a plugin."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def target(self) -> str:
        """The `module:attribute` it stands for."""
        ...

    @property
    def distribution(self) -> str:
        """The package it is from."""
        ...


OpenBackend = Callable[[str, str | None, Mapping[str, Any]], AbstractContextManager[Backend]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """What the command line is put together from: `open_backend(name, model, options)`, and the plugins by group."""

    version: str
    open_backend: OpenBackend
    plugins: Callable[[], Mapping[str, Sequence[PluginFacts]]]
    debug: bool = False


Target = Annotated[
    str,
    typer.Argument(metavar="FILE", help="A script (x.rmf), a Python file (x.py, x.py:PROGRAM) or a graph (x.json)."),
]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        "-i",
        metavar="NAME=VALUE",
        help="An argument: name=text, name=@file (- is stdin), or name:=json. Typed arguments take JSON too.",
    ),
]
Model = Annotated[
    str | None,
    typer.Option("--model", "-m", metavar="MODEL", help="A model's folder or hub id; the embedded model if left out."),
]
BackendName = Annotated[
    str,
    typer.Option(
        "--backend", "-b", metavar="BACKEND", help="Who answers: a server's URL, a model's folder, or a plugin's name."
    ),
]
BackendOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--backend-option",
        metavar="NAME=VALUE",
        help="An argument the backend is made with, as max_running=8; may be repeated.",
    ),
]
System = Annotated[str | None, typer.Option("--system", metavar="TEXT", help="A system prompt.")]


@dataclass(frozen=True, slots=True)
class BackendChoice:
    """The backend that the flags of a command name."""

    name: str
    model: str | None
    options: Mapping[str, Any]

    @classmethod
    def of(cls, name: str, model: str | None, options: Sequence[str] | None) -> BackendChoice:
        """Read the flags; `Misuse` for an option that is not `name=value`."""
        return cls(name, model, dict(_option(item) for item in options or ()))


def _option(item: str) -> tuple[str, Any]:
    import json

    name, equals, value = item.partition("=")
    if not equals or not name.isidentifier():
        raise Misuse(f"--backend-option {item!r} is not of the form name=value")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
