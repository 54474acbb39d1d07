"""ramify: a small program language for structured generation (gen / select / fork) and the engine that runs it.

The public API and nothing else. Every name is loaded when first used, so that `import ramify` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .backend.fake import FakeBackend as FakeBackend
    from .lang import errors as errors
    from .lang.errors import AbortError as AbortError
    from .lang.errors import BackendError as BackendError
    from .lang.errors import CapacityError as CapacityError
    from .lang.errors import ClosedError as ClosedError
    from .lang.errors import ConstraintError as ConstraintError
    from .lang.errors import DeadEndError as DeadEndError
    from .lang.errors import DeadlineError as DeadlineError
    from .lang.errors import GenError as GenError
    from .lang.errors import ModelError as ModelError
    from .lang.errors import ParameterError as ParameterError
    from .lang.errors import PluginError as PluginError
    from .lang.errors import ProgramError as ProgramError
    from .lang.errors import PromptError as PromptError
    from .lang.errors import RamifyError as RamifyError
    from .lang.errors import RequestError as RequestError
    from .lang.errors import RoleError as RoleError
    from .lang.errors import TraceError as TraceError
    from .lang.errors import TruncationError as TruncationError
    from .lang.errors import UnsupportedError as UnsupportedError
    from .lang.errors import VariableError as VariableError
    from .lang.sampling import Sampling as Sampling

__version__ = "0.1.0"

_HOMES = {
    ".backend.fake": ("FakeBackend",),
    ".lang": ("errors",),
    ".lang.errors": (
        "RamifyError",
        *("ProgramError", "GenError", "RoleError", "VariableError", "TraceError"),
        *("ParameterError", "ConstraintError"),
        *("RequestError", "PromptError", "CapacityError", "DeadlineError", "AbortError", "DeadEndError"),
        *("TruncationError", "ModelError", "PluginError", "BackendError", "ClosedError", "UnsupportedError"),
    ),
    ".lang.sampling": ("Sampling",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = ["__version__", *_HOME_OF]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _HOME_OF[name]
    value = import_module(f"{module}.errors" if name == "errors" else module, __name__)
    return globals().setdefault(name, value if name == "errors" else getattr(value, name))


def __dir__() -> list[str]:
    return sorted(__all__)
