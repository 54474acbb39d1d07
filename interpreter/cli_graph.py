"""`ramify graph`: a program as a graph, in words, as JSON or as a drawing.

It knows graphs by their public face. Part of the command line that `cli.py` composes.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ..lang.errors import did_you_mean
from .cli_options import Composition, Inputs, Misuse, Target
from .cli_report import reported

if TYPE_CHECKING:
    from .request_graph import RequestGraph


class Form(StrEnum):
    """How a graph is written."""

    TEXT = "text"
    JSON = "json"


SUFFIXES: Final[Mapping[str, Form]] = {
    ".txt": Form.TEXT,
    ".json": Form.JSON,
}


def graph(
    context: typer.Context,
    target: Target,
    *,
    given: Inputs = None,
    out: Annotated[
        str | None, typer.Option("--out", "-o", metavar="FILE", help="Where it goes; its name says in which form.")
    ] = None,
    form: Annotated[Form | None, typer.Option("--format", help="The form, whatever the file is called.")] = None,
) -> None:
    """Print or draw the graph of a program without running it. Arguments that are not given stay open."""
    composition: Composition = context.obj
    with reported(debug=composition.debug):
        chosen = form or _form_of(out)

        from .cli_inputs import load_program, parse_inputs

        program = load_program(target)
        text = _written(program.compile(**parse_inputs(program, given or [], partial=True)), chosen)
        text = text if text.endswith("\n") else f"{text}\n"
        if out is None:
            typer.echo(text, nl=False)
        else:
            _write(Path(out), text)


def _form_of(out: str | None) -> Form:
    if out is None:
        return Form.TEXT
    suffix = Path(out).suffix.lower()
    if suffix not in SUFFIXES:
        hint = did_you_mean(suffix, SUFFIXES) or f"; there are {', '.join(SUFFIXES)}"
        raise Misuse(f"{out} does not say in which form{hint}, or give --format")
    return SUFFIXES[suffix]


def _written(graph: RequestGraph, form: Form) -> str:
    match form:
        case Form.TEXT:
            return str(graph)
        case Form.JSON:
            return graph.to_json(indent=2)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Misuse(f"cannot write {path}: {error.strerror}") from error
