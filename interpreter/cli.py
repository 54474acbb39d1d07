"""The `ramify` command: run, chat, generate, plugins.

It lives here because it runs programs, and like everything here it knows no engine: the composition root (the package's
`__main__`, which may import everything) passes in how backends are opened and which plugins there are.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

import typer

from ..backend.api import Backend
from ..lang.errors import GenError, PromptError
from ..lang.expressions import assistant, gen, system, user
from .cli_flags import sampling_flags
from .cli_inputs import load_program, parse_inputs, reported, show_text, to_json
from .program import Program, function

GREEDY: Mapping[str, Any] = {"temperature": 0.0}  # what chat and generate do unless a flag says otherwise
CHAT_HELP = "/reset forgets the conversation, /system TEXT starts a new one under TEXT, /quit ends (as does Ctrl-D)"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """What the command line is put together from: `open_backend(name, model)`, and the plugins by group."""

    version: str
    open_backend: Callable[[str, str | None], AbstractContextManager[Backend]]
    groups: Sequence[str]
    plugins: Callable[[str], Sequence[PluginFacts]]
    debug: bool = False


Target = Annotated[str, typer.Argument(metavar="FILE.py[:PROGRAM]", help="The file, and which of its programs.")]
Inputs = Annotated[
    list[str] | None,
    typer.Option("--input", "-i", help="An argument: name=text, name=@file (- is stdin) or name:=json."),
]
Model = Annotated[
    str | None,
    typer.Option("--model", "-m", help="A model's folder or hub id; the embedded model if left out."),
]
BackendName = Annotated[str, typer.Option("--backend", help="The plugin that answers; see `ramify plugins`.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Stream = Annotated[bool, typer.Option("--stream", help="Print the whole text as it is written.")]
System = Annotated[str | None, typer.Option("--system", help="A system prompt.")]

app = typer.Typer(
    name="ramify",
    help="Programs for structured generation, and the engine that runs them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain text: the same on a terminal, in a pipe and in a log
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Programs for structured generation, and the engine that runs them."""
    composition: Composition = context.obj
    if os.environ.get("NO_COLOR"):
        context.color = False
    if version:
        typer.echo(f"ramify {composition.version}")
        raise typer.Exit
    context.obj = Composition(
        version=composition.version,
        open_backend=composition.open_backend,
        groups=composition.groups,
        plugins=composition.plugins,
        debug=debug,
    )


@app.command()
@sampling_flags
def run(
    context: typer.Context,
    target: Target,
    *,
    inputs: Inputs = None,
    model: Model = None,
    backend: BackendName = "engine",
    as_json: AsJson = False,
    stream: Stream = False,
    sampling: Mapping[str, Any],
) -> None:
    """Run a program of a Python file and print its variables and what it returned.

    The sampling flags are defaults: what the program itself says of a gen stays.
    """
    composition: Composition = context.obj
    if as_json and stream:
        raise typer.BadParameter("--json and --stream exclude each other")
    with reported(debug=composition.debug):
        program = load_program(target)
        arguments = parse_inputs(program, inputs or [])
        with composition.open_backend(backend, model) as opened:
            configured = program.with_sampling(**sampling)
            if stream:
                with configured.stream(**arguments, backend=opened) as streamed:
                    show_text(streamed.text_iter())
                return
            _show_result(configured.run(**arguments, backend=opened), as_json=as_json)


@app.command()
@sampling_flags
def generate(
    context: typer.Context,
    prompt: Annotated[str, typer.Argument(help="The text to continue; - reads it from stdin.")],
    *,
    chat: Annotated[bool, typer.Option("--chat", help="Send the prompt as a user message.")] = False,
    regex: Annotated[str | None, typer.Option("--regex", help="What the text must match.")] = None,
    model: Model = None,
    backend: BackendName = "engine",
    as_json: AsJson = False,
    sampling: Mapping[str, Any],
) -> None:
    """Continue a prompt, greedily unless --temperature says otherwise, and print the text as it comes."""
    composition: Composition = context.obj
    with reported(debug=composition.debug):
        text = sys.stdin.read() if prompt == "-" else prompt
        program = _continuation(text, chat=chat, regex=regex).with_sampling(**{**GREEDY, **sampling})
        with composition.open_backend(backend, model) as opened, _only_the_cause():
            if as_json:
                _show_result(program.run(backend=opened), as_json=True)
            else:
                with program.stream(backend=opened) as streamed:
                    show_text(streamed.text_iter("text"))


@app.command()
@sampling_flags
def chat(
    context: typer.Context,
    *,
    system_prompt: System = None,
    model: Model = None,
    backend: BackendName = "engine",
    sampling: Mapping[str, Any],
) -> None:
    """Talk to the model, greedily unless --temperature says otherwise; one line is one message."""
    composition: Composition = context.obj
    program = _turn.with_sampling(**{**GREEDY, **sampling})
    with reported(debug=composition.debug), composition.open_backend(backend, model) as opened, _only_the_cause():
        if sys.stdin.isatty():
            typer.echo(f"Model: {opened.capabilities.model}. {CHAT_HELP}.")
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
                    messages = _reply(program, [*messages, ("user", line)], opened) or messages


@app.command()
def plugins(context: typer.Context) -> None:
    """List the plugins that are installed, by group."""
    composition: Composition = context.obj
    with reported(debug=composition.debug):
        for group in composition.groups:
            typer.secho(group, bold=True)
            found = composition.plugins(group)
            width = max((len(plugin.name) for plugin in found), default=0)
            for plugin in found:
                typer.echo(f"  {plugin.name:{width}}  {plugin.target}  ({plugin.distribution})")
            if not found:
                typer.echo("  none")


@contextmanager
def _only_the_cause() -> Iterator[None]:
    """The programs of this module are no business of whoever runs a command: say what failed, not which gen where."""
    try:
        yield
    except GenError as error:
        raise error.__cause__ or error from None


def _continuation(prompt: str, *, chat: bool, regex: str | None) -> Program:
    @function
    def continuation(s: Any) -> None:
        s += user(prompt) + assistant(gen("text", regex=regex)) if chat else prompt + gen("text", regex=regex)

    return continuation


@function
def _turn(s: Any, messages: Sequence[tuple[str, str]]) -> None:
    """The conversation so far, and the next answer. Earlier turns are in the engine's prefix cache."""
    roles = {"system": system, "user": user, "assistant": assistant}
    for role, content in messages:
        s += roles[role](content)
    s += assistant(gen("answer"))


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


def _show_result(result: Any, *, as_json: bool) -> None:
    if as_json:
        usage = result.usage
        facts = {
            "variables": dict(result),
            "value": result.value,
            "text": result.text(),
            "usage": {
                "prompt_tokens": usage.prompt_tokens,
                "cached_tokens": usage.cached_tokens,
                "completion_tokens": usage.completion_tokens,
            },
        }
        typer.echo(to_json(facts))
        return
    for name, value in dict(result).items():
        typer.echo(f"{name}: {value}")
    if result.value is not None:
        typer.echo(f"returned: {result.value}")
