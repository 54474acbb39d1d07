"""The error tree of ramify: every failure a user can meet is one of these types.

RamifyError
├── ProgramError        the program is wrong            (GenError wraps what a node met at run time)
│   ├── GenError        a gen or select failed: node, file:line, cause, partial text
│   ├── RoleError       roles nested or left open
│   ├── VariableError   unknown, duplicate or unreadable variable
│   ├── TraceError      the body cannot be recorded without running it
│   └── ScriptError     a script is wrong; holds one diagnostic per place
├── ParameterError      a sampling parameter, choice list or constraint is wrong (also a ValueError)
│   └── ConstraintError a regex, schema or type that cannot be enforced
├── RequestError        one request was refused or ended early
│   ├── PromptError     empty prompt, or longer than the model's context
│   ├── CapacityError   the request alone exceeds the engine's memory
│   ├── DeadlineError   its deadline or timeout passed (also a TimeoutError)
│   ├── AbortError      it was aborted
│   ├── DeadEndError    its constraint left no legal token
│   ├── TruncationError max_tokens ended inside a constrained value
│   └── ParseError      the text is not a value of the type asked for (also a ValueError)
├── ModelError          weights or config cannot be loaded
├── PluginError         an unknown or broken plugin
└── BackendError        the backend failed or is closed
    ├── ClosedError     used after close()
    ├── UnreachableError nobody answers at its address (also a ConnectionError)
    └── UnsupportedError the backend cannot do what was asked
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class RamifyError(Exception):
    """Base of every error that ramify raises on purpose."""


class ProgramError(RamifyError):
    """The program itself is wrong, or one of its nodes failed."""


class GenError(ProgramError):
    """A gen or select failed.

    Attributes: `node` (the variable's name), `location` (`file:line` of the call or None),
    `partial` (text generated before the failure), and `__cause__` (the typed error underneath).
    """

    def __init__(
        self, message: str, *, node: str | None = None, location: str | None = None, partial: str = ""
    ) -> None:
        super().__init__(message)
        self.node = node
        self.location = location
        self.partial = partial


class RoleError(ProgramError):
    """A role was opened inside another role, or closed without being open."""


class VariableError(ProgramError, KeyError):
    """A variable is unknown, written twice, or cannot be read here."""

    def __str__(self) -> str:  # KeyError shows the repr of its argument; a message reads better plain
        return str(self.args[0]) if self.args else ""


class TraceError(ProgramError):
    """The body's control flow depends on a generated value, so it cannot be recorded without running it."""


class ScriptError(ProgramError):
    """A script cannot be compiled; `diagnostics` say what is wrong where (see `lang/script/diagnostics.py`).

    The message shows all of them as a terminal would; `to_json()` is for editors and servers.
    """

    def __init__(self, message: str, diagnostics: tuple[Any, ...] = ()) -> None:
        super().__init__(message)
        self.diagnostics = diagnostics

    def to_json(self) -> list[dict[str, Any]]:
        """Return the diagnostics as JSON values."""
        return [diagnostic.to_json() for diagnostic in self.diagnostics]


class ParameterError(RamifyError, ValueError):
    """A parameter has a value that cannot work; the message says which and what is allowed."""


class ConstraintError(ParameterError):
    """A regex, schema, grammar or type that cannot be enforced exactly."""


class RequestError(RamifyError):
    """One request was refused or ended early; `partial` holds the text generated before that."""

    def __init__(self, message: str, *, partial: str = "") -> None:
        super().__init__(message)
        self.partial = partial


class PromptError(RequestError, ValueError):
    """The prompt is empty or does not fit the model's context."""


class CapacityError(RequestError):
    """The request alone needs more memory than the engine has."""


class DeadlineError(RequestError, TimeoutError):
    """The deadline or timeout of a request or run has passed."""


class AbortError(RequestError):
    """The request was aborted before it finished."""


class DeadEndError(RequestError):
    """No token is legal under the constraint at this point."""


class TruncationError(RequestError):
    """`max_tokens` ended the output inside a constrained value."""


class ParseError(RequestError, ValueError):
    """The generated text is not a value of the type asked for; `partial` holds the text."""


class ModelError(RamifyError):
    """A model's files are missing, damaged or of an unsupported kind."""


class PluginError(RamifyError):
    """A plugin is unknown or failed to load."""


class BackendError(RamifyError):
    """The backend failed as a whole."""


class ClosedError(BackendError):
    """The backend was used after it was closed."""


class UnreachableError(BackendError, ConnectionError):
    """Nobody answers at the backend's address, or not in time."""


class UnsupportedError(BackendError):
    """The backend cannot do what the program asks of it."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `" (did you mean 'x'?)"` for the known name closest to `name`, or the empty string."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
