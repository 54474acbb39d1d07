"""`ramify check`, `fmt` and `explain`: scripts and programs looked at, without a backend.

What is wrong goes to stdout, as it is what was asked for. Part of the command line that `cli.py` composes.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ..lang.errors import ProgramError, RamifyError, ScriptError, TraceError
from .cli_options import GRAPH, SCRIPT, Composition, ExitCode, Misuse
from .cli_report import described, look_of, plural, reported, say, to_json

if TYPE_CHECKING:
    from .program import Program

STDIN: Final = "-"


class Format(StrEnum):
    """How findings are printed."""

    TEXT = "text"
    JSON = "json"


class State(Enum):
    """What formatting did to a file, or would do."""

    SAME = "same"
    CHANGED = "changed"
    BROKEN = "broken"


Paths = Annotated[
    list[str], typer.Argument(metavar="FILE...", help="Scripts, Python files, graphs, or folders of scripts.")
]
Scripts = Annotated[list[str], typer.Argument(metavar="FILE...", help="Scripts or folders of scripts; - is stdin.")]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a file: how it is shown, how JSON has it, and whether it is an error."""

    text: str
    facts: dict[str, Any]
    is_error: bool


def check(
    context: typer.Context,
    paths: Paths,
    *,
    form: Annotated[Format, typer.Option("--format", help="How findings are printed.")] = Format.TEXT,
    strict: Annotated[
        bool, typer.Option("--strict", help="Count warnings, and programs that cannot be compiled, as errors.")
    ] = False,
) -> None:
    """Check scripts and Python programs without running them.

    A script is read and compiled. A Python file is imported, as for `ramify run`, and its programs are traced and
    verified; one whose control flow depends on what the model says runs, but cannot be compiled to a graph.
    """
    composition: Composition = context.obj
    with reported(debug=composition.debug):
        found: list[Finding] = []
        files = list(_files(paths))
        for path in files:
            of_file = list(_check_script(path) if _is_script(path) else _check_programs(path))
            found += of_file
            if form is Format.TEXT:
                typer.echo("\n".join(f"{finding.text}\n" for finding in of_file) if of_file else f"{path}: ok")
        if form is Format.JSON:
            typer.echo(to_json([finding.facts for finding in found], indent=2))
        errors = [finding for finding in found if finding.is_error or strict]
        if len(files) > 1 or found:
            warnings = len(found) - len(errors)
            say(", ".join([plural(len(files), "file"), plural(len(errors), "error"), plural(warnings, "warning")]))
        if errors:
            raise typer.Exit(ExitCode.USAGE)


def fmt(
    context: typer.Context,
    paths: Scripts,
    *,
    check_only: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 1 if a file would change.")
    ] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Write nothing; print what would change.")] = False,
) -> None:
    """Bring scripts into their one spelling. A script with errors is left as it is."""
    composition: Composition = context.obj
    with reported(debug=composition.debug):
        files = list(_files(paths))
        states = [_format_file(path, writes=not (check_only or diff), shows_diff=diff) for path in files]
        changed, broken = states.count(State.CHANGED), states.count(State.BROKEN)
        if len(files) > 1:
            say(f"{changed} of {plural(len(files), 'file')} {'would change' if check_only or diff else 'formatted'}")
        if broken:
            raise typer.Exit(ExitCode.USAGE)
        if changed and (check_only or diff):
            raise typer.Exit(ExitCode.RUN_FAILED)


def explain(
    context: typer.Context,
    target: Annotated[str, typer.Argument(metavar="FILE|CODE", help="A script, or the code of an error as E010.")],
    *,
    python: Annotated[
        bool, typer.Option("--python", help="As a Python program: the form there is, so it may be left out.")
    ] = True,
) -> None:
    """Print the Python twin of a script, or what a code means."""
    composition: Composition = context.obj
    with reported(debug=composition.debug):
        from ..lang.script import explain as twin_of
        from ..lang.script.codes import CODES

        if target.upper() in CODES:
            typer.echo(f"{target.upper()}: {CODES[target.upper()]}")
        elif re.fullmatch(r"[A-Za-z]\d+", target) and not Path(target).exists():
            raise Misuse(f"there is no code {target}; there are {', '.join(CODES)}")
        elif not _is_script(target):
            raise Misuse(f"{target} is neither a script ({SCRIPT}) nor a code such as E010")
        else:
            typer.echo(twin_of(_text_of(target), _name_of(target)), nl=False)


# ---- files ---------------------------------------------------------------------------------------------------------


def _files(paths: Sequence[str]) -> Iterator[str]:
    """Yield the files; of a folder its scripts, however deep."""
    for path in paths:
        if path != STDIN and Path(path).is_dir():
            scripts = sorted(str(script) for script in Path(path).rglob(f"*{SCRIPT}"))
            if not scripts:
                raise Misuse(f"there are no scripts (*{SCRIPT}) in {path}")
            yield from scripts
        else:
            yield path


def _is_script(path: str) -> bool:
    return path == STDIN or Path(path).suffix == SCRIPT


def _name_of(path: str) -> str:
    return "stdin" if path == STDIN else path


def _text_of(path: str) -> str:
    """Return the text of a script; what is no UTF-8 becomes characters that its check complains about."""
    try:
        content = sys.stdin.buffer.read() if path == STDIN else Path(path).read_bytes()
    except OSError as error:
        raise Misuse(f"cannot read {path}: {error.strerror}") from error
    return content.decode("utf-8", errors="surrogateescape")


def _format_file(path: str, *, writes: bool, shows_diff: bool) -> State:
    """Format one script and say what became of it."""
    from ..lang.script import format_script, render_all

    if not _is_script(path):
        raise Misuse(f"{path} is no script; fmt is for {SCRIPT} files")
    before = _text_of(path)
    try:
        after = format_script(before, _name_of(path))
    except ScriptError as error:
        typer.echo(render_all(error.diagnostics, **look_of(sys.stderr)), err=True)
        return State.BROKEN
    if writes and path == STDIN:
        typer.echo(after, nl=False)
    elif shows_diff:
        _show_diff(path, before, after)
    elif after != before:
        say(f"{path}: {'formatted' if writes else 'would change'}")
        if writes:
            _replace(Path(path), after)
    return State.SAME if after == before else State.CHANGED


def _replace(path: Path, text: str) -> None:
    """Write the file anew in one step, with the rights it has."""
    path = path.resolve()  # a link stays a link
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8", newline="")
        temporary.chmod(path.stat().st_mode & 0o777)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _show_diff(path: str, before: str, after: str) -> None:
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"{path}", f"{path} (formatted)"
    )
    for line in lines:
        typer.echo(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n", nl=False)


# ---- findings ------------------------------------------------------------------------------------------------------


def _check_script(path: str) -> Iterator[Finding]:
    from ..lang.script import check as diagnostics_of

    for diagnostic in diagnostics_of(_text_of(path), _name_of(path)):
        yield Finding(diagnostic.render(**look_of(sys.stdout)), diagnostic.to_json(), diagnostic.is_error)


def _check_programs(target: str) -> Iterator[Finding]:
    from .cli_inputs import load_program, programs_of, split_target

    path, name = split_target(target)
    try:
        programs = {path.stem: load_program(target)} if path.suffix == GRAPH else programs_of(path)
    # Importing runs the user's file: whatever it raises is what is wrong with it.
    except Exception as error:  # noqa: BLE001
        yield _finding(path, str(path), error)
        return
    if not programs or (name is not None and name not in programs):
        what = f"{path} holds no program{'' if name is None else f' {name!r}'}"
        yield _finding(path, str(path), ProgramError(f"{what}; it holds {', '.join(programs) or 'none'}"))
    for key, program in programs.items():
        if name in (None, key):
            yield from _check_program(path, f"{path}:{key}", program)


def _check_program(path: Path, where: str, program: Program) -> Iterator[Finding]:
    try:
        program.trace().verify()
    except TraceError as error:
        yield _finding(path, where, error, "warning", "it runs, but cannot be compiled: ")
    except RamifyError as error:
        yield _finding(path, where, error)
    # A body that computes with an open argument may raise anything; given a value it may run well.
    except Exception as error:  # noqa: BLE001
        yield _finding(path, where, error, "warning", "it cannot be compiled with open arguments: ")


def _finding(path: Path, where: str, error: Exception, severity: str = "error", prefix: str = "") -> Finding:
    message = f"{prefix}{described(error)}"
    found = re.findall(rf"{re.escape(path.name)}(?::|, line )(\d+)\)", message)
    facts = {
        "code": type(error).__name__,
        "severity": severity,
        "message": message,
        "file": str(path),
        "line": int(found[-1]) if found else None,
        "column": None,
        "end_column": None,
        "hint": None,
    }
    return Finding(f"{where}: {severity}: {message}", facts, is_error=severity == "error")
