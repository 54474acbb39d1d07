"""`python -m ramify`, and the `ramify` command: the composition root of the command line.

It may import everything and puts together what `interpreter/cli.py` must not know: backends by name, and plugins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from . import __version__
from .backend import registry
from .backend.api import Backend
from .interpreter.cli import Composition, app


@contextmanager
def open_backend(name: str, model: str | None) -> Iterator[Backend]:
    """Make the backend plugin `name` (with `model`, if one is given) and close it at the end."""
    make = registry.load("backends", name)
    backend: Backend = make() if model is None else make(model)
    try:
        yield backend
    finally:
        asyncio.run(backend.close())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line (`sys.argv` unless `arguments` are given) and exit."""
    app(
        args=arguments,
        prog_name="ramify",
        obj=Composition(
            version=__version__,
            open_backend=open_backend,
            groups=registry.GROUPS,
            plugins=registry.plugins,
        ),
    )


if __name__ == "__main__":
    main()
