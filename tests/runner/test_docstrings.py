"""The examples in docstrings of the language, the interpreter and the light part of the backend give what they show."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import ramify.backend
import ramify.interpreter
import ramify.lang

MODULES = [
    f"{package.__name__}.{found.name}"
    for package in (ramify.lang, ramify.interpreter, ramify.backend)
    for found in pkgutil.iter_modules(package.__path__)
    if not found.ispkg
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


def test_the_entry_points_to_the_library_have_examples():
    for name in ("program", "streams", "result", "default_backend"):
        module = importlib.import_module(f"ramify.interpreter.{name}")
        assert any(test.examples for test in doctest.DocTestFinder().find(module)), name
