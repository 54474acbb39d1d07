"""The examples in docstrings of the script language run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import ramify.lang.script


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(ramify.lang.script.__path__)])
def test_examples_in_docstrings(name: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(f"ramify.lang.script.{name}"))
    assert failed == 0
