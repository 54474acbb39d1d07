"""`load_script` and `parse_script`: scripts as programs, with all that programs can do.

A script runs as its graph; what is added here is that its inputs are checked against its own types.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..lang.errors import ProgramError
from ..lang.expressions import Expression
from ..lang.graph import RequestGraph
from ..lang.script import CompiledScript, compile_text
from .graph_program import GraphProgram


class ScriptProgram(GraphProgram):
    """A program made of a script, which stays readable as `script`.

    >>> hello = parse_script("@program hello(name: str)\\n@user\\nSay hello to {{name}}.\\n@assistant\\n{{gen reply}}")
    >>> from ramify import FakeBackend
    >>> hello.run("Ada", backend=FakeBackend(["Hello, Ada!"]))["reply"]
    'Hello, Ada!'
    """

    def __init__(
        self,
        script: CompiledScript,
        parameters: Mapping[str, Any] | None = None,
        bound: Mapping[str, Any] | None = None,
    ) -> None:
        self.script = script
        super().__init__(_Graphs(script), script.name, parameters, bound)
        self.body.__annotations__ = script.annotations()  # by which the command line reads its inputs

    def _with(self, body: Any, **changes: Any) -> ScriptProgram:
        return ScriptProgram(self.script, **{"parameters": self.parameters, "bound": self.bound, **changes})

    def _check_arguments(self, arguments: Mapping[str, Any]) -> None:
        self.script.check_inputs({k: value for k, value in arguments.items() if not isinstance(value, Expression)})


class _Graphs:
    """Makes the graph of a script for sampling defaults, and keeps the last one, which a batch asks for every row."""

    def __init__(self, script: CompiledScript) -> None:
        self._script = script
        self._last: tuple[dict[str, Any], RequestGraph] | None = None

    def __call__(self, defaults: Mapping[str, Any]) -> RequestGraph:
        last = self._last
        if last is None or last[0] != defaults:
            self._last = last = (dict(defaults), self._script.graph(defaults))
        return last[1]


def load_script(path: str | os.PathLike[str]) -> ScriptProgram:
    """Return the program of a script file, checked whole before it runs.

    Raises `ScriptError`, with a diagnostic for every place that is wrong, and `ProgramError` for a file that cannot be
    read.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ProgramError(f"the script {os.fspath(path)} cannot be read: {error.strerror}") from error
    return parse_script(data.decode("utf-8", "surrogateescape"), os.fspath(path))  # the rest is a diagnostic


def parse_script(text: str, name: str = "script") -> ScriptProgram:
    """Return the program of a script's text; `name` is what diagnostics and errors call it."""
    return ScriptProgram(compile_text(text, name))
