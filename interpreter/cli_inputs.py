"""What the command line names: a program in a Python file, its arguments, and how values and errors are printed.

It knows programs only by their public face and nothing of commands. Called by `cli.py`.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_type_hints

import typer
from pydantic import TypeAdapter, ValidationError

from ..lang.errors import RamifyError, did_you_mean
from .program import Program

MODULE_NAME = "ramify_command_line_program"  # not `__main__`, so that a file's own `if __name__` block does not run


def load_program(target: str) -> Program:
    """Import `FILE.py` or `FILE.py:NAME` and return its program; without a name the file must hold exactly one."""
    path, name = _split_target(target)
    spec = importlib.util.spec_from_file_location(MODULE_NAME, path)
    if spec is None or spec.loader is None:
        raise typer.BadParameter(f"{path} is not a Python file; programs live in files that end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE_NAME] = module  # where pickling, dataclasses and typing look a module up
    sys.path.insert(0, str(path.resolve().parent))  # as `python FILE.py` does
    spec.loader.exec_module(module)
    programs = {key: value for key, value in vars(module).items() if isinstance(value, Program)}
    if not programs:
        raise typer.BadParameter(f"{path} holds no program; decorate a function with @ramify.function")
    if name is None and len(programs) > 1:
        raise typer.BadParameter(f"{path} holds several programs: {', '.join(programs)}; name one, as {path}:NAME")
    if name is not None and name not in programs:
        hint = did_you_mean(name, programs)
        raise typer.BadParameter(f"{path} holds no program {name!r}{hint}; it holds {', '.join(programs)}")
    return programs[name] if name is not None else next(iter(programs.values()))


def _split_target(target: str) -> tuple[Path, str | None]:
    path, colon, name = target.rpartition(":")
    if not colon or Path(target).is_file():
        path, name = target, ""
    if not Path(path).is_file():
        raise typer.BadParameter(f"there is no file {path}")
    return Path(path), name or None


def parse_inputs(program: Program, inputs: Sequence[str]) -> dict[str, Any]:
    """Turn `name=text`, `name=@file` and `name:=json` into arguments, converted to the types the program declares."""
    parameters = inspect.signature(program).parameters
    hints = get_type_hints(program.body)
    arguments: dict[str, Any] = {}
    for item in inputs:
        name, equals, value = item.partition("=")
        is_json = name.endswith(":")
        name = name.removesuffix(":")
        if not equals or not name.isidentifier():
            raise typer.BadParameter(f"{item!r} is not of the form name=value, name=@file or name:=json")
        if name in arguments:
            raise typer.BadParameter(f"{name!r} is given twice")
        if name not in parameters and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            takes = f"it takes {', '.join(parameters)}" if parameters else "it takes no arguments"
            raise typer.BadParameter(f"the program has no argument {name!r}{did_you_mean(name, parameters)}; {takes}")
        text = _read(name, value[1:]) if value.startswith("@") else value
        arguments[name] = _from_json(name, text) if is_json else _converted(name, text, hints.get(name, str))
    required = [
        p.name for p in parameters.values() if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    missing = [name for name in required if name not in arguments and name not in program.bound]
    if missing:
        raise typer.BadParameter(f"missing arguments: {', '.join(missing)}; give each as -i name=value")
    return arguments


def _read(name: str, path: str) -> str:
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"cannot read {name}=@{path}: {error}") from error


def _from_json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"{name}:= is not JSON: {error}") from error


def _converted(name: str, text: str, annotation: Any) -> Any:
    if annotation in (str, Any):
        return text
    adapter = TypeAdapter(annotation)
    try:
        return adapter.validate_python(text)
    except ValidationError:
        try:
            return adapter.validate_json(text)
        except ValidationError as error:
            kind = getattr(annotation, "__name__", str(annotation))
            raise typer.BadParameter(f"{name}={text!r} is not of type {kind}, which the program declares") from error


def to_json(value: Any) -> str:
    """Return `value` as JSON; what JSON has no form for is shown as text."""
    plain = TypeAdapter(Any).dump_python(value, mode="json", fallback=str)
    return json.dumps(plain, ensure_ascii=False, indent=2)


@contextmanager
def reported(*, debug: bool) -> Iterator[None]:
    """Turn an error into one line on stderr and exit code 1; with `debug` let it through with its traceback."""
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except BrokenPipeError:  # whoever read our output has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from None
    except RamifyError as error:
        if debug:
            raise
        raise _exit(str(error), error) from None
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    # The program is the user's own code: whatever it raises is shown with its place, not with our frames.
    except Exception as error:
        if debug:
            raise
        raise _exit(f"{type(error).__name__}: {error}{_place(error)}", error) from None


def _exit(message: str, error: BaseException) -> typer.Exit:
    typer.secho("error: ", fg="red", bold=True, err=True, nl=False)
    typer.echo("\n".join([message, *getattr(error, "__notes__", ())]), err=True)
    return typer.Exit(1)


def _place(error: BaseException) -> str:
    """Return where the user's file raised, if it did."""
    module = sys.modules.get(MODULE_NAME)
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if module and frame.filename == module.__file__]
    return f" ({own[-1].filename}:{own[-1].lineno})" if own else ""


def show_text(pieces: Iterator[str]) -> None:
    """Write text as it comes, and end the line."""
    last = ""
    for piece in pieces:
        typer.echo(piece, nl=False)
        last = piece or last
    if not last.endswith("\n"):
        typer.echo()
