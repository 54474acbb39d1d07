"""`ramify run`: one run of a program, or a batch over the rows of a file.

It knows programs and how a backend is opened, and no backend by name. Part of the command line that `cli.py` composes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer

from ..lang.errors import did_you_mean
from .cli_flags import flags_of, sampling_flags
from .cli_options import BackendChoice, BackendName, BackendOptions, Composition, Inputs, Misuse, Model, Target
from .cli_report import opened, reported, result_facts, show_text, to_json

INCLUDED: Final = ("inputs", "text", "messages")


def _rows(*names: str, **settings: Any) -> Any:
    return typer.Option(*names, rich_help_panel="Rows (with --inputs)", **settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFlags:
    """The flags of a batch: the fields are the options of the command line."""

    inputs: Annotated[
        str | None,
        _rows("--inputs", metavar="FILE", help="Run for every row of a .jsonl, .csv, .tsv or .json file; - is stdin."),
    ] = None
    out: Annotated[
        str | None, _rows("--out", "-o", metavar="FILE", help="Write the lines here; to stdout if left out.")
    ] = None
    resume: Annotated[bool, _rows("--resume", help="Run the rows that --out lacks or has for another input.")] = False
    retry_failed: Annotated[bool, _rows("--retry-failed", help="As --resume, and run failed rows again.")] = False
    overwrite: Annotated[bool, _rows("--overwrite", help="Begin --out anew if it is there.")] = False
    limit: Annotated[int | None, _rows("--limit", metavar="N", min=0, help="Only the first N rows.")] = None
    concurrency: Annotated[
        int | None, _rows("--concurrency", metavar="N", min=1, help="Rows that run at once; 128 if left out.")
    ] = None
    include: Annotated[
        list[str] | None,
        _rows("--include", metavar="WHAT", help="Add inputs, text or messages to each line; may be repeated."),
    ] = None
    ignore_unknown: Annotated[
        bool, _rows("--ignore-unknown", help="Skip fields that are no arguments of the program.")
    ] = False
    fail_fast: Annotated[bool, _rows("--fail-fast", help="Stop at the first row that fails.")] = False
    quiet: Annotated[bool, _rows("--quiet", "-q", help="Neither progress nor summary on stderr.")] = False

    def __post_init__(self) -> None:
        if self.inputs is None:
            self._refuse_all()
        if (self.resume or self.retry_failed) and self.out is None:
            raise Misuse("--resume needs --out, the file to go on with")
        if (self.resume or self.retry_failed) and self.overwrite:
            raise Misuse("--resume and --overwrite exclude each other")
        for item in self.include or ():
            if item not in INCLUDED:
                hint = did_you_mean(item, INCLUDED) or f"; there are {', '.join(INCLUDED)}"
                raise Misuse(f"--include does not know {item!r}{hint}")

    @property
    def goes_on(self) -> bool:
        """True when `out` may hold rows of an earlier run."""
        return self.resume or self.retry_failed

    def _refuse_all(self) -> None:
        for name in self.__slots__:
            if getattr(self, name):
                raise Misuse(f"--{name.replace('_', '-')} is for rows; give a file of them with --inputs")


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, with the whole text.")]
Stream = Annotated[bool, typer.Option("--stream", help="Print the whole text as it is written.")]
Timeout = Annotated[
    float | None, typer.Option("--timeout", metavar="SECONDS", help="Longest time for the run, or for each row.")
]


@sampling_flags
@flags_of("rows", RowFlags)
def run(
    context: typer.Context,
    target: Target,
    *,
    given: Inputs = None,
    backend: BackendName = "engine",
    model: Model = None,
    backend_options: BackendOptions = None,
    as_json: AsJson = False,
    stream: Stream = False,
    timeout: Timeout = None,
    rows: RowFlags,
    sampling: Mapping[str, Any],
) -> None:
    """Run a program once, or with --inputs for every row of a file.

    One run prints the program's variables and what it returned. A batch writes a JSON line for each row as soon as it
    is finished, and a summary to stderr.

    The sampling flags are defaults: what the program itself says of a gen stays.
    """
    composition: Composition = context.obj
    choice = BackendChoice.of(backend, model, backend_options)
    if stream and (as_json or rows.inputs is not None):
        raise Misuse(f"--stream and {'--json' if as_json else '--inputs'} exclude each other")
    with reported(debug=composition.debug):
        from .cli_inputs import load_program, parse_inputs, read_inputs

        program = load_program(target).with_sampling(**sampling)
        if rows.inputs is not None:
            from .cli_batch import BatchCommand

            batch = BatchCommand(program, read_inputs(given or [], stdin_is_free=rows.inputs != "-"), rows, timeout)
            raise typer.Exit(batch.run(lambda: opened(choice, composition)))
        arguments = parse_inputs(program, given or [])
        with opened(choice, composition) as answering:
            if stream:
                with program.stream(**arguments, backend=answering, timeout=timeout) as streamed:
                    show_text(streamed.text_iter())
            else:
                show_result(program.run(**arguments, backend=answering, timeout=timeout), as_json=as_json)


def show_result(result: Any, *, as_json: bool) -> None:
    """Print a result for people, or as JSON."""
    if as_json:
        typer.echo(to_json(result_facts(result, ["text"]), indent=2))
        return
    facts = result_facts(result)
    for name, value in facts["variables"].items():
        typer.echo(f"{name}: {value}")
    for name, message in facts.get("failed", {}).items():
        typer.echo(f"{name}: failed: {message}")
    if result.value is not None:
        typer.echo(f"returned: {result.value}")
