"""The project's own files agree with each other: make targets, pinned versions, plugins."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, Any]:
    pyproject: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text())
    return pyproject["project"]


@pytest.fixture(scope="module")
def pinned(root: Path) -> dict[str, str]:
    lines = (line for line in (root / "constraints.txt").read_text().splitlines() if line and not line.startswith("#"))
    return {normalised(name): version for name, _, version in (line.partition("==") for line in lines)}


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirement_names(requirements: list[str]) -> set[str]:
    return {normalised(re.split(r"[^\w.-]", requirement, maxsplit=1)[0]) for requirement in requirements}


def test_every_dependency_is_pinned(project: dict[str, Any], pinned: dict[str, str]) -> None:
    extras = project["optional-dependencies"]
    wanted = requirement_names([*project["dependencies"], *extras["serve"], *extras["test"]]) - {"ramify"}
    assert wanted <= set(pinned), f"add to constraints.txt: {sorted(wanted - set(pinned))}"
    assert all(pinned.values()), "a line of constraints.txt has no =="


def test_torch_is_pinned_without_a_build(pinned: dict[str, str]) -> None:
    """A local version would make pip refuse the same release built for another machine."""
    assert re.fullmatch(r"\d+\.\d+\.\d+", pinned["torch"])


def test_every_import_is_a_dependency(root: Path, project: dict[str, Any]) -> None:
    imported = set[str]()
    for folder in ("lang", "interpreter", "backend", "kernels"):
        for path in (root / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    imported |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.level == 0:
                    imported.add((node.module or "").split(".")[0])
    third_party = {normalised(name) for name in imported - set(sys.stdlib_module_names)}
    extras = project["optional-dependencies"]
    assert third_party <= requirement_names([*project["dependencies"], *extras["serve"], *extras["xgrammar"]])


@pytest.mark.parametrize("target", ["demo", "test", "lint", "types", "pytest", "bench", "clean", "help"])
def test_make_target(root: Path, target: str) -> None:
    dry_run = subprocess.run(
        ["make", "-n", "-C", root, target], capture_output=True, text=True, timeout=20, check=False
    )
    assert dry_run.returncode == 0, dry_run.stderr


def test_continuous_integration_runs_make_test(root: Path) -> None:
    script = root / ".ci" / "run"
    assert script.stat().st_mode & 0o111, "make .ci/run executable"
    assert "make test" in script.read_text()


def test_the_root_package_is_imported_under_its_own_name_only(root: Path) -> None:
    names = {name for name, module in sys.modules.items() if getattr(module, "__file__", None) == f"{root}/__init__.py"}
    assert names <= {"ramify"}, "pytest must not climb above tests/: run it from the root, with its confcutdir"


def test_folders_of_the_checkout_are_no_top_level_modules() -> None:
    code = "import sys, importlib.util as u; print([n for n in ('lang', 'backend', 'kernels') if u.find_spec(n)])"
    found = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=20, check=True)
    assert found.stdout.strip() == "[]"
