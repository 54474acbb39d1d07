"""`ramify graph`: a program as a graph, in words, as JSON or as a drawing.

It knows graphs by their public face. Part of the command line that `cli.py` composes.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ..lang.errors import did_you_mean
from .cli_options import BackendChoice, BackendName, BackendOptions, Composition, Inputs, Misuse, Model, Target
from .cli_report import opened, reported

if TYPE_CHECKING:
    from ..backend.api import Backend
    from .request_graph import RequestGraph


class Form(StrEnum):
    """How a graph is written."""

    TEXT = "text"
    JSON = "json"
    MERMAID = "mermaid"
    DOT = "dot"
    SVG = "svg"
    HTML = "html"


SUFFIXES: Final[Mapping[str, Form]] = {
    ".txt": Form.TEXT,
    ".json": Form.JSON,
    ".mmd": Form.MERMAID,
    ".mermaid": Form.MERMAID,
    ".dot": Form.DOT,
    ".gv": Form.DOT,
    ".svg": Form.SVG,
    ".html": Form.HTML,
}
COUNTED: Final = (Form.TEXT, Form.SVG, Form.HTML)


def graph(
    context: typer.Context,
    target: Target,
    *,
    given: Inputs = None,
    out: Annotated[
        str | None, typer.Option("--out", "-o", metavar="FILE", help="Where it goes; its name says in which form.")
    ] = None,
    form: Annotated[Form | None, typer.Option("--format", help="The form, whatever the file is called.")] = None,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="Count tokens, shared and computed, with the model's tokenizer.")
    ] = False,
    backend: BackendName = "engine",
    model: Model = None,
    backend_options: BackendOptions = None,
) -> None:
    """Print or draw the graph of a program without running it.

    Arguments that are not given stay open. The forms are text, json, mermaid (.mmd), dot, svg and html.
    """
    composition: Composition = context.obj
    choice = BackendChoice.of(backend, model, backend_options)
    with reported(debug=composition.debug):
        chosen = form or _form_of(out)
        if tokens and chosen not in COUNTED:
            raise Misuse(f"--tokens counts for {', '.join(COUNTED)}, not for {chosen}")

        from .cli_inputs import load_program, parse_inputs

        program = load_program(target)
        compiled = program.compile(**parse_inputs(program, given or [], partial=True))
        with opened(choice, composition) if tokens else nullcontext() as counting:
            text = _written(compiled, chosen, counting, title=target)
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


def _written(graph: RequestGraph, form: Form, counting: Backend | None, *, title: str) -> str:
    match form:
        case Form.TEXT:
            return str(graph) if counting is None else f"{graph}\n\n{graph.cost(counting)}"
        case Form.JSON:
            return graph.to_json(indent=2)
        case Form.MERMAID:
            return graph.to_mermaid()
        case Form.DOT:
            return graph.to_dot()
        case Form.SVG:
            return graph.to_svg(counting)
        case Form.HTML:
            return graph.to_html(counting, title=title)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Misuse(f"cannot write {path}: {error.strerror}") from error
