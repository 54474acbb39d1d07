"""The examples in docstrings of the language and the interpreter run as they stand."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest


@pytest.mark.parametrize(
    "name",
    [
        *("lang.expressions", "lang.sampling", "lang.types", "lang.schema_keywords", "lang.partial_json"),
        "lang.unheld_regex",
        *("interpreter.default_backend", "interpreter.program", "interpreter.result", "interpreter.streams"),
    ],
)
def test_examples_run(name):
    outcome = doctest.testmod(import_module(f"ramify.{name}"))
    assert outcome.attempted and not outcome.failed
