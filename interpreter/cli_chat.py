"""`ramify generate` and `ramify chat`: the two programs that the command line brings along.

They run as any program does; part of the command line that `cli.py` composes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..backend.api import Backend
from ..lang.errors import GenError, PromptError
from .cli_flags import sampling_flags
from .cli_options import BackendChoice, BackendName, BackendOptions, Composition, Model, System
from .cli_report import opened, reported, show_text
from .cli_run import AsJson, show_result

if TYPE_CHECKING:
    from .program import Program

GREEDY: Mapping[str, Any] = {"temperature": 0.0}  # what chat and generate do unless a flag says otherwise
CHAT_HELP = "/reset forgets the conversation, /system TEXT starts a new one under TEXT, /quit ends (as does Ctrl-D)"


@sampling_flags
def generate(
    context: typer.Context,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="The text to continue; - reads it from stdin.")],
    *,
    chat: Annotated[bool, typer.Option("--chat", help="Send the prompt as a user message.")] = False,
    regex: Annotated[str | None, typer.Option("--regex", metavar="REGEX", help="What the text must match.")] = None,
    backend: BackendName = "engine",
    model: Model = None,
    backend_options: BackendOptions = None,
    as_json: AsJson = False,
    sampling: Mapping[str, Any],
) -> None:
    """Continue a prompt and print the text as it comes.

    The most likely tokens are taken, unless --temperature says otherwise.
    """
    composition: Composition = context.obj
    choice = BackendChoice.of(backend, model, backend_options)
    with reported(debug=composition.debug):
        text = sys.stdin.read() if prompt == "-" else prompt
        program = _continuation(text, chat=chat, regex=regex).with_sampling(**{**GREEDY, **sampling})
        with opened(choice, composition) as answering, _only_the_cause():
            if as_json:
                show_result(program.run(backend=answering), as_json=True)
            else:
                with program.stream(backend=answering) as streamed:
                    show_text(streamed.text_iter("text"))


@sampling_flags
def chat(
    context: typer.Context,
    *,
    system_prompt: System = None,
    backend: BackendName = "engine",
    model: Model = None,
    backend_options: BackendOptions = None,
    sampling: Mapping[str, Any],
) -> None:
    """Talk to the model; one line is one message.

    The most likely tokens are taken, unless --temperature says otherwise.
    """
    composition: Composition = context.obj
    choice = BackendChoice.of(backend, model, backend_options)
    with reported(debug=composition.debug), opened(choice, composition) as answering, _only_the_cause():
        program = _turn().with_sampling(**{**GREEDY, **sampling})
        if sys.stdin.isatty():
            typer.echo(f"Model: {answering.capabilities.model}. {CHAT_HELP}.")
        start = [("system", system_prompt)] if system_prompt else []
        messages = list(start)
        for line in _lines():
            match line.split(maxsplit=1):
                case []:
                    continue
                case ["/quit" | "/exit"]:
                    return
                case ["/reset"]:
                    messages = list(start)
                case ["/system", text]:
                    messages = start = [("system", text)]
                case [word, *_] if word.startswith("/"):
                    typer.echo(f"Commands: {CHAT_HELP}.", err=True)
                case _:
                    messages = _reply(program, [*messages, ("user", line)], answering) or messages


@contextmanager
def _only_the_cause() -> Iterator[None]:
    """The programs of this module are no business of whoever runs a command: say what failed, not which gen where."""
    try:
        yield
    except GenError as error:
        raise error.__cause__ or error from None


def _continuation(prompt: str, *, chat: bool, regex: str | None) -> Program:
    from ..lang.expressions import assistant, gen, user
    from .program import function

    @function
    def continuation(s: Any) -> None:
        s += user(prompt) + assistant(gen("text", regex=regex)) if chat else prompt + gen("text", regex=regex)

    return continuation


def _turn() -> Program:
    from ..lang.expressions import assistant, gen, system, user
    from .program import function

    roles = {"system": system, "user": user, "assistant": assistant}

    @function
    def turn(s: Any, messages: Sequence[tuple[str, str]]) -> None:
        """The conversation so far, and the next answer. Earlier turns are in the engine's prefix cache."""
        for role, content in messages:
            s += roles[role](content)
        s += assistant(gen("answer"))

    return turn


def _reply(program: Program, messages: list[tuple[str, str]], backend: Backend) -> list[tuple[str, str]] | None:
    """Print the answer as it comes and return the longer conversation; None when there is no answer to keep."""
    try:
        with program.stream(messages, backend=backend) as streamed:
            show_text(streamed.text_iter("answer"))
            return [*messages, ("assistant", streamed["answer"])]
    except KeyboardInterrupt:  # ends the answer, not the conversation
        typer.echo("\n(interrupted)", err=True)
    except GenError as error:
        if not isinstance(error.__cause__, PromptError):
            raise
        typer.echo(f"{error.__cause__}\nThe conversation is too long now; /reset starts a new one.", err=True)
    return None


def _lines() -> Iterator[str]:
    """Yield the lines of stdin, with a prompt on a terminal."""
    while True:
        try:
            yield input("> " if sys.stdin.isatty() else "").strip()
        except EOFError:
            return
