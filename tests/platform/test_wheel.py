"""The wheel is complete, small, and works where only its dependencies are installed, even without a compiler."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

MAX_WHEEL_BYTES = 25 * 2**20


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel installed and nothing else."""
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target]
    subprocess.run([*pip, wheel], check=True, timeout=60)
    return target


def run(installed: Path, cwd: Path, *arguments: str | Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(installed), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, "-P", *arguments],
        env=environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout


def test_the_sources_of_the_kernels_travel_with_it(names: set[str], sources: Path) -> None:
    kernels = {path.name for path in (sources / "kernels" / "csrc").iterdir()}
    assert kernels and {f"ramify/kernels/csrc/{name}" for name in kernels} <= names


def test_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size <= MAX_WHEEL_BYTES


def test_holds_every_module_and_nothing_else(names: set[str], sources: Path) -> None:
    folders = ("lang", "interpreter", "backend", "kernels")
    modules = {path.relative_to(sources).as_posix() for folder in folders for path in (sources / folder).rglob("*.py")}
    modules |= {path.name for path in sources.glob("*.py") if path.name != "setup.py"}
    expected = {f"ramify/{module}" for module in modules}
    assert {name for name in names if name.endswith(".py")} == expected


def test_holds_the_embedded_model_and_the_type_marker(names: set[str], sources: Path) -> None:
    embedded = sources / "backend" / "engine" / "models" / "embedded"
    data = {
        path.relative_to(sources).as_posix() for path in embedded.iterdir() if path.suffix != ".py" and path.is_file()
    }
    assert any(path.endswith(".safetensors") for path in data) and any(path.endswith("tokenizer.json") for path in data)
    assert {"ramify/py.typed", *(f"ramify/{path}" for path in data)} <= names


def test_names_its_command_and_its_plugins(wheel: Path, sources: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (entry_points,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
    text = archive.read(entry_points).decode()
    project = tomllib.loads((sources / "pyproject.toml").read_text())["project"]
    for name, target in project["scripts"].items():
        assert f"{name} = {target}" in text
    for group, plugins in project["entry-points"].items():
        assert f"[{group}]" in text
        assert all(f"{name} = {target}" in text for name, target in plugins.items())


def test_runs_away_from_the_checkout(installed: Path, tmp_path: Path) -> None:
    assert Path(run(installed, tmp_path, "-c", "import ramify; print(ramify.__file__)").strip()).is_relative_to(
        installed
    )
    assert "run" in run(installed, tmp_path, installed / "bin" / "ramify", "--help")
    program = 'import ramify\nwith ramify.Engine() as engine:\n    print(engine.generate("Hello", max_tokens=4))\n'
    assert run(installed, tmp_path, "-c", program).strip()
