"""Plugins are found by name, loaded only when named, and fail loudly with what to do."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest

import ramify
from ramify.backend import registry

PYPROJECT = Path(registry.__file__).resolve().parent.parent / "pyproject.toml"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a distribution with entry points and one module on the path, as pip would."""

    def put(name: str, entry_points: str, *, module: str = "", source: str = "", requires: str = "") -> None:
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{requires}")
        (info / "entry_points.txt").write_text(entry_points)
        if module:
            (tmp_path / f"{module}.py").write_text(source)
            monkeypatch.delitem(sys.modules, module, raising=False)

    monkeypatch.syspath_prepend(tmp_path)
    return put


def test_built_in_plugins_are_registered_without_an_installation():
    assert "fake" in registry.names("backends")
    assert registry.load("backends", "fake") is ramify.FakeBackend


def test_every_declared_plugin_loads():
    declared = tomllib.loads(PYPROJECT.read_text())["project"]["entry-points"]
    assert {group.removeprefix("ramify.") for group in declared} <= set(registry.GROUPS)
    for group, entries in declared.items():
        for name in entries:
            try:
                assert registry.load(group.removeprefix("ramify."), name) is not None
            except ramify.PluginError as error:  # of an extra that is not installed here
                assert isinstance(error.__cause__, ModuleNotFoundError) and "pip install 'ramify[" in str(error)


def test_a_foreign_plugin_is_listed_without_being_imported(install):
    install(
        "acme",
        "[ramify.policies]\nshortest = acme_policy:Shortest\n",
        module="acme_policy",
        source="class Shortest: ...",
    )
    assert "shortest" in registry.names("policies")
    assert "acme_policy" not in sys.modules
    assert registry.load("policies", "shortest").__name__ == "Shortest"


def test_unknown_names_say_what_there_is():
    with pytest.raises(ramify.PluginError, match=r"unknown plugin 'fakee' .*.did you mean 'fake'\?.; there are .*fake"):
        registry.load("backends", "fakee")
    with pytest.raises(ramify.PluginError, match=r"unknown plugin group 'backend' .did you mean 'backends'\?"):
        registry.names("backend")


def test_a_plugin_that_breaks_on_import_carries_the_cause(install):
    install("acme", "[ramify.models]\nbroken = acme_broken:Model\n", module="acme_broken", source="1 / 0")
    with pytest.raises(
        ramify.PluginError, match=r"'broken' .* from acme\) cannot be loaded: ZeroDivisionError"
    ) as caught:
        registry.load("models", "broken")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_plugin_that_names_nothing_is_broken(install):
    install("acme", "[ramify.models]\nabsent = acme_empty:Model\n", module="acme_empty")
    with pytest.raises(ramify.PluginError, match=r"acme_empty:Model.*AttributeError"):
        registry.load("models", "absent")


def test_a_missing_extra_gives_the_pip_line(install):
    install(
        "acme",
        "[ramify.grammars]\nfast = acme_fast:Compiler\n",
        module="acme_fast",
        source="import acme_native_core.fast",
        requires='Requires-Dist: acme-native.core>=1; extra == "native"\n',
    )
    with pytest.raises(ramify.PluginError, match=r"module 'acme_native_core'.*pip install 'acme\[native\]'"):
        registry.load("grammars", "fast")


def test_a_missing_module_of_no_extra_is_named(install):
    install("acme", "[ramify.grammars]\nslow = acme_slow:Compiler\n", module="acme_slow", source="import acme_nowhere")
    with pytest.raises(ramify.PluginError, match=r"needs the module 'acme_nowhere', which is not installed"):
        registry.load("grammars", "slow")


def test_a_name_claimed_twice_is_refused(install):
    install("acme", "[ramify.backends]\nfake = acme_fake:Backend\n", module="acme_fake", source="class Backend: ...")
    with pytest.raises(ramify.PluginError, match=r"claimed by .*acme_fake:Backend of acme.*uninstall one"):
        registry.load("backends", "fake")
