"""The rules of docs/architecture.md, checked on the syntax tree of every file: layers, sizes, and house style.

Each rule is a function from a module to complaints that say what to do. `PLANTED` holds one violation per rule, so
that no rule can fall silent.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = ("lang", "interpreter", "backend", "kernels")
OUTSIDE = ("tests", "examples", "benchmarks")

# What a folder may import of the library, as prefixes of dotted names; the longest matching folder counts.
LAYERS: dict[str, tuple[str, ...]] = {
    "lang": ("lang",),
    "interpreter": ("interpreter", "lang", "backend.api"),
    "backend": ("backend", "lang", "kernels"),
    "backend.engine": (
        *("backend.engine", "backend.api", "backend.registry", "kernels"),
        *("lang.errors", "lang.sampling", "lang.constraints"),
        *("lang.schema_keywords", "lang.text_formats", "lang.unheld_regex"),
    ),
    "backend.server": ("backend", "interpreter", "lang"),
    "kernels": ("kernels",),
}
# What a folder may import from outside, besides the standard library.
PACKAGES: dict[str, frozenset[str]] = {
    "": frozenset(),
    "lang": frozenset({"jsonschema", "lark", "pydantic", "pydantic_core", "referencing", "typing_extensions"}),
    "interpreter": frozenset({"jinja2", "pydantic", "rich", "typer"}),
    "backend": frozenset({"httpx", "jinja2", "pydantic", "rich"}),
    "backend.engine": frozenset({"torch", "numpy", "transformers", "tokenizers", "safetensors", "huggingface_hub"})
    | {"jinja2", "lark", "llguidance", "outlines_core", "xgrammar", "regex"},
    "backend.server": frozenset({"fastapi", "h11", "starlette", "uvicorn", "msgspec", "prometheus_client"})
    | {"pydantic", "pydantic_settings", "typer", "rich"},
    "kernels": frozenset({"torch", "triton", "numpy"}),
}
# Modules of the engine that are tested in milliseconds: neither they nor what they import may import torch.
TORCH_FREE = (
    *("scheduler", "intake", "waiting_queue", "policy", "admission", "running_batch", "batch_building", "batch"),
    *("kv_manager", "memory", "radix_cache", "tree_cache", "req", "results", "lifecycle", "messages", "stats"),
    "programs",
    "output",
)
MAX_FILE, MAX_FUNCTION, MAX_POSITIONAL, MAX_DOCSTRING = 400, 50, 6, 6
# The error tree is drawn at the top of its file.
LONG_DOCSTRING = {"lang/errors.py"}
MUTATORS = {"append", "add", "update", "pop", "popitem", "setdefault", "clear", "extend", "insert", "remove", "discard"}


@dataclass(frozen=True)
class Module:
    """One source file: its path below the root and its text."""

    path: str
    source: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source, self.path)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @property
    def name(self) -> str:
        """Dotted name below `ramify`: `lang/errors.py` is `lang.errors`, `lang/__init__.py` is `lang`."""
        return self.path.removesuffix(".py").replace("/", ".").removesuffix("__init__").rstrip(".")

    @property
    def package(self) -> str:
        return self.name if self.path.endswith("__init__.py") else self.name.rpartition(".")[0]

    @property
    def in_library(self) -> bool:
        return "/" not in self.path or self.path.split("/")[0] in LIBRARY

    @property
    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        return (node for node in self.nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))

    def at(self, node: ast.AST, complaint: str) -> str:
        return f"{self.path}:{getattr(node, 'lineno', 1)}: {complaint}"


def read_tree() -> list[Module]:
    paths = sorted(path for path in ROOT.glob("*.py") if path.name != "setup.py")
    for folder in (*LIBRARY, *OUTSIDE):
        paths += sorted((ROOT / folder).rglob("*.py"))
    return [Module(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")) for path in paths]


MODULES = read_tree()


def imports(module: Module) -> Iterator[tuple[ast.AST, str, bool]]:
    """Yield (node, dotted name, is inside the library) of every import, lazy and type-only ones included."""
    for node in module.nodes:
        if isinstance(node, ast.Import):
            yield from ((node, alias.name, False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node, node.module or "", False
        elif isinstance(node, ast.ImportFrom):
            parts = module.package.split(".") if module.package else []
            base = parts[: len(parts) - (node.level - 1)] + ((node.module or "").split(".") if node.module else [])
            for alias in node.names:
                full = ".".join([*base, alias.name])
                yield node, full if full in LIBRARY_NAMES else ".".join(base), True


LIBRARY_NAMES = {module.name for module in MODULES if module.in_library}


def below(name: str, prefixes: tuple[str, ...] | frozenset[str]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def layer(module: Module) -> str:
    """The folder whose import rules hold for `module`; the empty string for the root, which composes everything."""
    return max((folder for folder in LAYERS if below(module.name, (folder,))), key=len, default="")


def check_layers(module: Module) -> Iterator[str]:
    if not module.in_library or not layer(module):
        return
    allowed = LAYERS[layer(module)]
    for node, name, internal in imports(module):
        if internal and not below(name, allowed):
            what = f"{layer(module)} may not import ramify.{name}, only {', '.join(allowed)}"
            yield module.at(node, f"{what}; pass the object in, or move the code to the layer that owns it")


def check_packages(module: Module) -> Iterator[str]:
    if not module.in_library:
        return
    allowed = PACKAGES[layer(module)]
    for node, name, internal in imports(module):
        top = name.split(".")[0]
        if not internal and top not in sys.stdlib_module_names and top not in allowed and top != "ramify":
            where = layer(module) or "the root"
            yield module.at(
                node, f"{where} may not import {top}; allowed besides the standard library: {sorted(allowed)}"
            )


def check_relative(module: Module) -> Iterator[str]:
    for node, name, internal in imports(module):
        if module.in_library and not internal and below(name, ("ramify", *LIBRARY)):
            yield module.at(node, f"imports {name} absolutely; inside the library use a relative import")
        if not module.in_library and not internal and below(name, LIBRARY):
            yield module.at(node, f"imports {name} as a top-level name; write ramify.{name}")


def check_file_size(module: Module) -> Iterator[str]:
    length = len(module.source.splitlines())
    if length > MAX_FILE:
        yield module.at(module.tree, f"{length} lines; split the file by topic, at most {MAX_FILE}")


def check_function_size(module: Module) -> Iterator[str]:
    for node in module.functions:
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        if length > MAX_FUNCTION:
            yield module.at(node, f"{node.name} has {length} lines; give its steps names, at most {MAX_FUNCTION}")


def check_positional(module: Module) -> Iterator[str]:
    if module.path.startswith("kernels/"):
        return
    for node in module.functions:
        names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
        count = len(names) - (names[:1] in (["self"], ["cls"]))
        if count > MAX_POSITIONAL:
            advice = f"pass an object or make them keyword-only, at most {MAX_POSITIONAL}"
            yield module.at(node, f"{node.name} has {count} positional parameters; {advice}")


def check_booleans(module: Module) -> Iterator[str]:
    nested = {inner for outer in module.functions for inner in ast.walk(outer) if inner is not outer}
    for node in module.functions if module.in_library else ():
        if node in nested:  # a callback, whose signature somebody else decides
            continue
        for argument in (*node.args.posonlyargs, *node.args.args):
            if isinstance(argument.annotation, ast.Name) and argument.annotation.id == "bool":
                yield module.at(node, f"{node.name} takes the boolean {argument.arg} by position; make it keyword-only")


def check_docstring(module: Module) -> Iterator[str]:
    docstring = ast.get_docstring(module.tree)
    if docstring is None:
        yield module.at(module.tree, "has no module docstring; say what it does, must not know, and who calls it")
    elif len(docstring.splitlines()) > MAX_DOCSTRING and module.path not in LONG_DOCSTRING:
        yield module.at(
            module.tree, f"module docstring has {len(docstring.splitlines())} lines; at most {MAX_DOCSTRING}"
        )


def check_excepts(module: Module) -> Iterator[str]:
    for node in module.nodes:
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = ast.unparse(node.type) if node.type else ""
        is_broad = not caught or {"Exception", "BaseException"} & set(caught.strip("()").split(", "))
        inside = [child for statement in node.body for child in ast.walk(statement)]
        raises = any(isinstance(child, ast.Raise) for child in inside)
        hands_on = node.name and any(isinstance(child, ast.Name) and child.id == node.name for child in inside)
        if is_broad and not raises and not hands_on:
            yield module.at(node, f"except {caught or 'everything'} swallows; name the error, or raise or hand it on")


def check_module_state(module: Module) -> Iterator[str]:
    if not module.in_library:
        return
    containers = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
    tables: set[str] = set()
    for statement in module.tree.body:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and isinstance(statement.value, containers):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            tables |= {target.id for target in targets if isinstance(target, ast.Name)}
    for name in sorted(name for name in tables if name != name.upper() and name != "__all__"):
        yield module.at(
            module.tree, f"module-level container {name}: a constant table is UPPER_CASE, state has an owner"
        )
    for function in module.functions:
        for node in ast.walk(function):
            if isinstance(node, ast.Global):
                yield module.at(node, f"global {', '.join(node.names)}: give the state an owner and pass it")
            elif changed := tables & changed_names(node):
                yield module.at(node, f"{function.name} changes the module-level {changed.pop()}; state has an owner")


def changed_names(node: ast.AST) -> set[str]:
    """Names that `node` changes in place: `name[...] = x`, `del name[...]`, `name.append(x)` and the like."""
    if (
        isinstance(node, ast.Subscript)
        and isinstance(node.ctx, ast.Store | ast.Del)
        and isinstance(node.value, ast.Name)
    ):
        return {node.value.id}
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
        return {node.func.value.id} if isinstance(node.func.value, ast.Name) else set()
    return set()


def check_dataclasses(module: Module) -> Iterator[str]:
    for node in module.nodes if module.in_library else ():
        for decorator in node.decorator_list if isinstance(node, ast.ClassDef) else ():
            text = ast.unparse(decorator)
            if text.split("(")[0] in ("dataclass", "dataclasses.dataclass") and "slots=True" not in text:
                yield module.at(node, f"the dataclass {ast.unparse(node)[:40]!r}... is not slotted; add slots=True")


def check_names(module: Module) -> Iterator[str]:
    if module.path.rpartition("/")[2] in ("utils.py", "util.py", "helpers.py", "misc.py", "common.py"):
        yield module.at(module.tree, "name the file after what is in it")
    for node in module.nodes:
        if isinstance(node, ast.ClassDef) and (node.name.endswith("Mixin") or node.name.startswith(("Base", "Sgl"))):
            yield module.at(node, f"class {node.name}: compose collaborators, and name a class after what it is")


def check_leftovers(module: Module) -> Iterator[str]:
    for number, line in enumerate(module.source.splitlines(), 1):
        if re.search(r"\b(TO[D]O|FIXM[E]|HAC[K])\b", line):
            yield f"{module.path}:{number}: a note to self; do it, or open an issue and delete the line"


RULES: dict[str, Callable[[Module], Iterator[str]]] = {
    name.removeprefix("check_"): rule for name, rule in list(globals().items()) if name.startswith("check_")
}
PLANTED: dict[str, tuple[str, str]] = {
    "layers": ("lang/x.py", "def f():\n    from ..backend import api"),
    "packages": ("kernels/x.py", "import httpx"),
    "relative": ("lang/x.py", "from ramify.lang import errors"),
    "file_size": ("lang/x.py", "x = 1\n" * (MAX_FILE + 1)),
    "function_size": ("tests/x.py", "def f():\n" + "    x = 1\n" * MAX_FUNCTION),
    "positional": ("backend/x.py", "def f(a, b, c, d, e, f, g): ..."),
    "booleans": ("backend/x.py", "def f(flag: bool = False): ..."),
    "docstring": ("lang/x.py", "x = 1"),
    "excepts": ("lang/x.py", "try:\n    f()\nexcept Exception as error:\n    pass"),
    "module_state": ("lang/x.py", "SEEN = {}\ndef f(x):\n    SEEN[x] = 1"),
    "dataclasses": ("lang/x.py", "@dataclass(frozen=True)\nclass Fact: ..."),
    "names": ("lang/utils.py", "x = 1"),
    "leftovers": ("lang/x.py", "x = 1  # " + "TO" + "DO: later"),
}


@pytest.mark.parametrize("rule", RULES)
def test_the_tree_obeys(rule: str) -> None:
    complaints = [complaint for module in MODULES for complaint in RULES[rule](module)]
    assert not complaints, "\n" + "\n".join(complaints)


@pytest.mark.parametrize("rule", RULES)
def test_a_planted_violation_is_found(rule: str) -> None:
    assert list(RULES[rule](Module(*PLANTED[rule])))


def test_the_scheduling_half_of_the_engine_imports_no_torch() -> None:
    by_name = {module.name: module for module in MODULES if module.in_library}
    pending, seen = [f"backend.engine.{name}" for name in TORCH_FREE], set[str]()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        assert name in by_name, f"TORCH_FREE names {name}, which is gone"
        module = by_name[name]
        for node, imported, internal in runtime_imports(module):
            assert internal or imported.split(".")[0] not in ("torch", "triton", "transformers"), module.at(
                node, f"imports {imported}, and the scheduling half of the engine may not: keep tensors in the worker"
            )
            if internal:
                pending.append(imported)


def runtime_imports(module: Module) -> Iterator[tuple[ast.AST, str, bool]]:
    """The imports of `module` but those under `if TYPE_CHECKING`."""
    type_only: set[ast.AST] = set()
    for node in module.nodes:
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            type_only |= {child for statement in node.body for child in ast.walk(statement)}
    return (found for found in imports(module) if found[0] not in type_only)


def test_every_package_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    folders = {(ROOT / module.path).parent for module in MODULES if module.in_library}
    missing = [folder.relative_to(ROOT).as_posix() for folder in folders if not (folder / "__init__.py").is_file()]
    assert not missing, f"add an __init__.py to {missing}"
    packages = {".".join(["ramify", *folder.relative_to(ROOT).parts]) for folder in folders}
    assert set(project["tool"]["setuptools"]["packages"]) == packages, "fix tool.setuptools.packages in pyproject.toml"
