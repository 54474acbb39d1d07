"""ramify: a small program language for structured generation (gen / select / fork) and the engine that runs it.

The public API and nothing else. Names are loaded when first used, so that `import ramify` stays light; with no backend
set, the embedded engine is made when a program first needs one.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .interpreter.default_backend import set_default_factory

if TYPE_CHECKING:
    from .backend.api import Backend
    from .backend.engine.engine import Engine
    from .backend.fake import FakeBackend
    from .backend.remote.openai import OpenAIBackend
    from .backend.remote.remote import RemoteBackend
    from .backend.remote.sglang import SGLangBackend
    from .interpreter.batch import BatchInterrupted, Failed, Ok
    from .interpreter.default_backend import set_default_backend, use
    from .interpreter.hints import hints
    from .interpreter.program import Program, function
    from .interpreter.request_graph import RequestGraph
    from .interpreter.result import Result
    from .interpreter.script_program import load_script, parse_script
    from .interpreter.select import (
        greedy_token_selection,
        token_length_normalized,
        unconditional_likelihood_normalized,
    )
    from .interpreter.state import AsyncState, State
    from .lang import errors
    from .lang.errors import (
        AbortError,
        BackendError,
        CapacityError,
        ClosedError,
        ConstraintError,
        DeadEndError,
        DeadlineError,
        GenError,
        ModelError,
        ParameterError,
        ParseError,
        PluginError,
        ProgramError,
        PromptError,
        RamifyError,
        RequestError,
        RoleError,
        ScriptError,
        TraceError,
        TruncationError,
        UnreachableError,
        UnsupportedError,
        VariableError,
    )
    from .lang.expressions import (
        assistant,
        assistant_begin,
        assistant_end,
        gen,
        gen_int,
        gen_string,
        select,
        system,
        system_begin,
        system_end,
        user,
        user_begin,
        user_end,
    )
    from .lang.sampling import Sampling

__version__ = "0.1.0"

__all__ = [
    # writing programs
    "function",
    "gen",
    "gen_int",
    "gen_string",
    "select",
    "system",
    "system_begin",
    "system_end",
    "user",
    "user_begin",
    "user_end",
    "assistant",
    "assistant_begin",
    "assistant_end",
    "token_length_normalized",
    "greedy_token_selection",
    "unconditional_likelihood_normalized",
    "Sampling",
    "load_script",
    "parse_script",
    # running them
    "Program",
    "State",
    "AsyncState",
    "Result",
    "Ok",
    "Failed",
    "BatchInterrupted",
    "RequestGraph",
    "Engine",
    "RemoteBackend",
    "OpenAIBackend",
    "SGLangBackend",
    "FakeBackend",
    "Backend",
    "set_default_backend",
    "use",
    "hints",
    # what can go wrong
    "errors",
    "RamifyError",
    "ProgramError",
    "GenError",
    "RoleError",
    "VariableError",
    "TraceError",
    "ScriptError",
    "ParameterError",
    "ConstraintError",
    "RequestError",
    "PromptError",
    "CapacityError",
    "DeadlineError",
    "AbortError",
    "DeadEndError",
    "TruncationError",
    "ParseError",
    "ModelError",
    "PluginError",
    "BackendError",
    "ClosedError",
    "UnreachableError",
    "UnsupportedError",
    "__version__",
]

_HOMES = {
    "backend.api": ("Backend",),
    "backend.engine.engine": ("Engine",),
    "backend.fake": ("FakeBackend",),
    "backend.remote.openai": ("OpenAIBackend",),
    "backend.remote.remote": ("RemoteBackend",),
    "backend.remote.sglang": ("SGLangBackend",),
    "interpreter.batch": ("BatchInterrupted", "Failed", "Ok"),
    "interpreter.default_backend": ("set_default_backend", "use"),
    "interpreter.hints": ("hints",),
    "interpreter.program": ("Program", "function"),
    "interpreter.request_graph": ("RequestGraph",),
    "interpreter.result": ("Result",),
    "interpreter.script_program": ("load_script", "parse_script"),
    "interpreter.select": (
        "greedy_token_selection",
        "token_length_normalized",
        "unconditional_likelihood_normalized",
    ),
    "interpreter.state": ("AsyncState", "State"),
    "lang.errors": tuple(name for name in __all__ if name.endswith("Error")),
    "lang.expressions": (
        *("gen", "gen_int", "gen_string", "select"),
        *("system", "system_begin", "system_end"),
        *("user", "user_begin", "user_end"),
        *("assistant", "assistant_begin", "assistant_end"),
    ),
    "lang.sampling": ("Sampling",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module(".lang.errors", __name__)
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)


def _embedded_engine() -> Backend:
    from .backend.engine.engine import Engine

    return Engine()


set_default_factory(_embedded_engine)
