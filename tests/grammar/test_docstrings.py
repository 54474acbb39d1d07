"""The examples in docstrings of the grammar engines run as they stand."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest


@pytest.mark.parametrize(
    "name", ["conformance", "integer_ranges", "json_formats", "json_regex", "json_text", "regex_syntax"]
)
def test_examples_run(name: str) -> None:
    outcome = doctest.testmod(import_module(f"ramify.backend.engine.grammar.{name}"))
    assert outcome.attempted and not outcome.failed
