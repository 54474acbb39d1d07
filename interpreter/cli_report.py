"""How the command line speaks: values as JSON, errors in a line or two on stderr, and the exit code of each.

It knows the error tree and nothing of commands. Used by the `cli_*.py` modules.
"""

from __future__ import annotations

import functools
import os
import sys
import textwrap
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import typer

from ..backend.api import Backend
from ..lang.errors import ClosedError, GenError, ParameterError, RamifyError, ScriptError, UnreachableError
from .cli_options import BackendChoice, Composition, ExitCode, Misuse
from .progress import ERASE_LINE, can_redraw, width_of

if TYPE_CHECKING:
    from pydantic import TypeAdapter

MODULE_NAME = "ramify_command_line_program"  # not `__main__`, so that a file's own `if __name__` block does not run


@contextmanager
def reported(*, debug: bool) -> Iterator[None]:
    """Turn an error into a message on stderr and an exit code; with `debug` let it through with its traceback."""
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except BrokenPipeError:  # whoever read our output has enough
        silence_stdout()
        raise typer.Exit(ExitCode.READER_GONE) from None
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except ScriptError as error:
        if debug:
            raise
        from ..lang.script import render_all

        typer.echo(render_all(error.diagnostics, **look_of(sys.stderr)), err=True)
        raise typer.Exit(ExitCode.USAGE) from None
    # The program is the user's own code: whatever it raises is shown with its place, not with our frames.
    except Exception as error:
        if debug:
            raise
        complain(described(error))
        raise typer.Exit(ExitCode.UNREACHABLE if is_unreachable(error) else ExitCode.RUN_FAILED) from None


@contextmanager
def opened(choice: BackendChoice, composition: Composition) -> Iterator[Backend]:
    """Open the backend that the flags name. That there is none is exit code 3, whatever the reason.

    An argument that it does not take is misuse of the command line.
    """
    with ExitStack() as stack:
        try:
            with _waiting(f"opening {choice.name} ..."):
                backend = stack.enter_context(composition.open_backend(choice.name, choice.model, choice.options))
        except ParameterError as error:
            raise Misuse(str(error)) from error
        except (RamifyError, OSError) as error:
            if composition.debug:
                raise
            complain(described(error))
            raise typer.Exit(ExitCode.UNREACHABLE) from None
        yield backend


@contextmanager
def _waiting(message: str) -> Iterator[None]:
    """Show a message on a terminal for as long as something takes."""
    if not can_redraw(sys.stderr):
        yield
        return
    sys.stderr.write(message)
    sys.stderr.flush()
    try:
        yield
    finally:
        sys.stderr.write(ERASE_LINE)
        sys.stderr.flush()


def silence_stdout() -> None:
    """Send what Python still wants to write to nowhere, so that it does not complain at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(message: str) -> None:
    """Write an error message."""
    say(message, label="error: ")


def say(message: str, *, label: str = "") -> None:
    """Write a message to stderr, on a terminal in lines that fit; `label` comes first and is red."""
    if sys.stderr.isatty():
        lines = [line for text in f"{label}{message}".splitlines() for line in _wrapped(text)]
        message = "\n".join(lines).removeprefix(label)
    if label:
        typer.secho(label, fg="red", bold=True, err=True, nl=False)
    typer.echo(message, err=True)


def _wrapped(text: str) -> list[str]:
    width = max(width_of(sys.stderr), 20)
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]


def look_of(stream: IO[str]) -> dict[str, Any]:
    """Return how diagnostics look on a stream: as wide as it is, coloured on a terminal that may be."""
    return {"width": max(width_of(stream), 40), "color": stream.isatty() and not os.environ.get("NO_COLOR")}


def plural(count: int, noun: str) -> str:
    """Return a count with its noun.

    >>> plural(1, "file"), plural(2, "file")
    ('1 file', '2 files')
    """
    return f"{count} {noun}{'s' * (count != 1)}"


def is_unreachable(error: BaseException | None) -> bool:
    """Tell whether an error, or its cause, says that there is no backend (any more)."""
    while error is not None:
        if isinstance(error, UnreachableError | ClosedError):
            return True
        error = error.__cause__
    return False


def described(error: BaseException) -> str:
    """Return an error in words: ours as they are, others with their type and their place in the user's file."""
    kind = "" if isinstance(error, RamifyError) else f"{type(error).__name__}: "
    return f"{kind}{_message(error)}"


def error_facts(error: BaseException) -> dict[str, Any]:
    """Return an error as a line of output holds it."""
    facts: dict[str, Any] = {"type": type(error).__name__, "message": _message(error)}
    if error.__cause__ is not None:
        facts["cause"] = type(error.__cause__).__name__
    if isinstance(error, GenError):
        facts |= {"node": error.node, "location": _shortened(error.location or "") or None, "partial": error.partial}
    return facts


def result_facts(result: Any, include: Sequence[str] = ()) -> dict[str, Any]:
    """Return a result as output holds it: value, variables, usage, and what of `text` and `messages` is asked for.

    A variable whose failure the program has handled is left out of the variables and listed under `failed`.
    """
    variables, failed = {}, {}
    for name in result:
        try:
            variables[name] = result[name]
        except RamifyError as error:
            failed[name] = described(error)
    facts: dict[str, Any] = {"value": result.value, "variables": variables}
    if failed:
        facts["failed"] = failed
    if "text" in include:
        facts["text"] = result.text()
    if "messages" in include:
        facts["messages"] = result.messages()
    usage = result.usage
    facts["usage"] = {
        "prompt_tokens": usage.prompt_tokens,
        "cached_tokens": usage.cached_tokens,
        "completion_tokens": usage.completion_tokens,
    }
    return facts


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Return `value` as JSON; what JSON has no form for is shown as text, and NaN is null."""
    import json

    adapter = _adapter_of_anything()
    try:
        return adapter.dump_json(value, fallback=str, indent=indent).decode()
    except ValueError:  # a lone surrogate, which is no Unicode text: written as an escape
        plain = adapter.dump_python(value, mode="json", fallback=str)
        return json.dumps(plain, indent=indent)


@functools.cache
def _adapter_of_anything() -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(Any)


def show_text(pieces: Iterator[str]) -> None:
    """Write text as it comes, and end the line."""
    last = ""
    for piece in pieces:
        typer.echo(piece, nl=False)
        last = piece or last
    if not last.endswith("\n"):
        typer.echo()


def _message(error: BaseException) -> str:
    place = "" if isinstance(error, RamifyError) else _place(error)
    return _shortened("\n".join([f"{error}{place}", *getattr(error, "__notes__", ())]))


def _place(error: BaseException) -> str:
    """Return where the user's file raised, if it did."""
    module = sys.modules.get(MODULE_NAME)
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if module and frame.filename == module.__file__]
    return f" ({own[-1].filename}:{own[-1].lineno})" if own else ""


def _shortened(text: str) -> str:
    """Name files of the working directory as one would type them."""
    return text.replace(f"{Path.cwd()}{os.sep}", "")
