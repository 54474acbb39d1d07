"""What the command line names: a program in a file, and its arguments as text, JSON or the fields of a row.

It knows programs only by their public face and nothing of commands. Used by the `cli_*.py` modules.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Final, get_type_hints

from pydantic import PydanticUserError, TypeAdapter, ValidationError

from ..lang.errors import ParameterError, did_you_mean
from ..lang.typed_dicts import adapter_of
from .cli_options import GRAPH, SCRIPT, Misuse
from .cli_report import MODULE_NAME
from .program import Program
from .request_graph import RequestGraph
from .script_program import load_script

MODULES: Final = re.compile(r"""('[^']*'|"[^"]*")|\b(?:\w+\.)+(?=\w)""")  # text in quotes, or the prefix of a name


def load_program(target: str) -> Program:
    """Return the program of a script, a graph as JSON, or a Python file: NAME of `FILE.py:NAME`, else the only one."""
    path, name = split_target(target)
    if path.suffix == SCRIPT:
        return load_script(path)
    if path.suffix == GRAPH:
        return RequestGraph.from_json(path.read_bytes()).program()
    programs = programs_of(path)
    if not programs:
        raise Misuse(f"{path} holds no program; decorate a function with @ramify.function")
    if name is None and len(programs) > 1:
        raise Misuse(f"{path} holds several programs: {', '.join(programs)}; name one, as {path}:NAME")
    if name is not None and name not in programs:
        hint = did_you_mean(name, programs)
        raise Misuse(f"{path} holds no program {name!r}{hint}; it holds {', '.join(programs)}")
    return programs[name] if name is not None else next(iter(programs.values()))


def programs_of(path: Path) -> dict[str, Program]:
    """Import a Python file and return its programs by name, those it only imports left out if it has its own."""
    module = _import(path)
    found = {key: value for key, value in vars(module).items() if isinstance(value, Program)}
    own = {key: value for key, value in found.items() if getattr(value, "__module__", None) == MODULE_NAME}
    return own or found


def split_target(target: str) -> tuple[Path, str | None]:
    """Split `FILE:NAME`; the file must be there, and one that can hold several programs where there is a name."""
    path, colon, name = target.rpartition(":")
    if not colon or Path(target).is_file():
        path, name = target, ""
    if not Path(path).is_file():
        raise Misuse(f"there is no file {path}")
    if name and Path(path).suffix in (SCRIPT, GRAPH):
        raise Misuse(f"{path} is one program; leave out :{name}")
    return Path(path), name or None


def _import(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(MODULE_NAME, path)
    if spec is None or spec.loader is None:
        raise Misuse(f"{path} is neither a script (.rmf) nor a Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE_NAME] = module  # where pickling, dataclasses and typing look a module up
    sys.path.insert(0, str(path.resolve().parent))  # as `python FILE.py` does
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True, slots=True)
class Given:
    """An argument as it was given: text of the command line, or a value out of JSON."""

    value: Any
    is_text: bool


class Arguments:
    """What a program takes: its names and the declared types, to which what is given is converted."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._parameters = inspect.signature(program).parameters
        self._bound = set(program.bound)
        self._types = declared_types(program.body)
        self._adapters: dict[str, TypeAdapter[Any]] = {}
        self._takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in self._parameters.values())

    def knows(self, name: str) -> bool:
        """Tell whether the program has an argument of this name."""
        return self._takes_any or name in self._parameters

    def convert(self, given: Mapping[str, Given], *, partial: bool = False) -> dict[str, Any]:
        """Return the values as the program declares them; `ParameterError` names the argument that does not fit.

        `partial`: arguments may be missing.
        """
        self._check_names(given)
        missing = [] if partial else self._missing(given)
        if missing:
            raise ParameterError(f"missing arguments: {', '.join(missing)}; give them as in -i {missing[0]}=...")
        converted = {name: self._converted(name, item) for name, item in given.items()}
        if not partial:
            self._program.check_row(converted)
        return converted

    def _check_names(self, names: Iterable[str]) -> None:
        for name in names:
            if not self.knows(name):
                known = self._parameters
                takes = f"it takes {', '.join(known)}" if known else "it takes no arguments"
                raise ParameterError(f"the program has no argument {name!r}{did_you_mean(name, known)}; {takes}")

    def _missing(self, names: Iterable[str]) -> list[str]:
        there = {*names, *self._bound}
        variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        return [
            name
            for name, parameter in self._parameters.items()
            if parameter.default is parameter.empty and parameter.kind not in variadic and name not in there
        ]

    def _converted(self, name: str, given: Given) -> Any:
        value, declared = given.value, self._types.get(name, Any)
        if declared is Any or (declared is str and isinstance(value, str)):
            return value
        reason = None
        if declared is not str:
            adapter = self._adapter(name, declared)
            try:
                return adapter.validate_python(value)
            except ValidationError as error:
                reason = error
            if given.is_text:
                try:
                    return adapter.validate_json(value)
                except ValidationError as error:
                    reason = reason if error.errors()[0]["type"] == "json_invalid" else error
        detail = "" if reason is None else f" ({_detail(reason)})"
        raise ParameterError(
            f"{name}={_shown(value)} is not of type {_spelled(declared)}, which the program declares{detail}"
        )

    def _adapter(self, name: str, declared: Any) -> TypeAdapter[Any]:
        if name not in self._adapters:
            try:
                self._adapters[name] = adapter_of(declared)
            except (PydanticUserError, TypeError) as error:
                raise ParameterError(
                    f"{name} is of type {_spelled(declared)}, which no text or JSON stands for: "
                    "give it a default, or declare a type of plain values"
                ) from error
        return self._adapters[name]


def declared_types(body: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations of a function as types; those that only a type checker can resolve are left out."""
    try:
        return get_type_hints(body)
    except NameError:
        pass
    found: dict[str, Any] = {}
    for name, annotation in inspect.get_annotations(body).items():
        holder = SimpleNamespace(__annotations__={name: annotation})
        with suppress(NameError):
            found |= get_type_hints(holder, globalns=getattr(body, "__globals__", {}))
    return found


def read_inputs(inputs: Sequence[str], *, stdin_is_free: bool = True) -> dict[str, Given]:
    """Read `name=text`, `name=@file` and `name:=json`; `Misuse` for what is neither."""
    if sum(item.endswith("=@-") for item in inputs) > stdin_is_free:
        raise Misuse("stdin can be read once only")
    found: dict[str, Given] = {}
    for item in inputs:
        name, equals, value = item.partition("=")
        is_json = name.endswith(":")
        name = name.removesuffix(":")
        if not equals or not name.isidentifier():
            raise Misuse(f"{item!r} is not of the form name=value, name=@file or name:=json")
        if name in found:
            raise Misuse(f"{name!r} is given twice")
        text = _read(name, value[1:]) if value.startswith("@") else value
        found[name] = Given(_from_json(name, text), is_text=False) if is_json else Given(text, is_text=True)
    return found


def parse_inputs(program: Program, inputs: Sequence[str], *, partial: bool = False) -> dict[str, Any]:
    """Return the arguments that `-i` gives, converted; with `partial` some may be missing."""
    try:
        return Arguments(program).convert(read_inputs(inputs), partial=partial)
    except ParameterError as error:
        raise Misuse(str(error)) from error


def _read(name: str, path: str) -> str:
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Misuse(f"cannot read {name}=@{path}: {error}") from error


def _from_json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise Misuse(f"{name}:= is not JSON: {error}") from error


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _spelled(declared: Any) -> str:
    """The type as one writes it: without the modules that its parts come from."""
    return declared.__name__ if isinstance(declared, type) else MODULES.sub(lambda found: found[1] or "", str(declared))


def _detail(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else str(first["msg"])
