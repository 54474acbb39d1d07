"""`import ramify` is light, every public name exists once, and the lists of names agree."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ramify

HEAVY = ("torch", "transformers", "numpy", "pydantic", "lark", "typer", "rich", "jinja2", "asyncio", "httpx")


def in_a_fresh_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_loads_nothing_heavy():
    modules = in_a_fresh_process(
        "import sys; before = set(sys.modules); import ramify; print(*set(sys.modules) - before, sep='\\n')"
    ).split()
    assert not [name for name in modules if name.split(".")[0] in HEAVY]
    ours = [name for name in modules if name.startswith("ramify")]
    assert len(ours) <= 12 and len(modules) <= 80, sorted(modules)


def test_writing_and_faking_a_program_loads_neither_torch_nor_transformers():
    out = in_a_fresh_process(
        "import sys, ramify\n"
        "@ramify.function\n"
        "def ask(s):\n"
        "    s += 'Q' + ramify.gen('answer')\n"
        "print(ask.run(backend=ramify.FakeBackend(['A']))['answer'])\n"
        "print([name for name in ('torch', 'transformers', 'numpy') if name in sys.modules])\n"
    )
    assert out.split("\n")[:2] == ["A", "[]"]


@pytest.mark.parametrize("name", ramify.__all__)
def test_every_public_name_exists(name):
    assert getattr(ramify, name) is not None


def test_every_error_of_the_tree_is_public():
    tree = {
        name for name, value in vars(ramify.errors).items() if isinstance(value, type) and issubclass(value, Exception)
    }
    assert tree <= set(ramify.__all__)
    assert ramify.errors.GenError is ramify.GenError


def test_type_checkers_see_the_same_names():
    source = Path(ramify.__file__).read_text()
    blocks = [node for node in ast.parse(source).body if isinstance(node, ast.If)]
    typed = {alias.name for block in blocks for line in block.body for alias in line.names}
    assert typed | {"__version__"} == set(ramify.__all__)
    assert len(ramify.__all__) == len(set(ramify.__all__))


def test_dir_lists_the_public_names_only():
    assert dir(ramify) == sorted(ramify.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'genn'"):
        _ = ramify.genn
