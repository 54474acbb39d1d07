"""The one plugin mechanism: entry points of the five `ramify.*` groups, the built-in ones declared in the same way.

Nothing is imported until it is named. It knows no plugin and no group's meaning. Called by the engine, the CLI and
whoever turns a name into an object.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from ..lang.errors import PluginError, did_you_mean

GROUPS: Final = ("grammars", "backends", "attention", "policies", "models")

_CHECKOUT: Final = Path(__file__).resolve().parent.parent / "pyproject.toml"


@dataclass(frozen=True, slots=True)
class Plugin:
    """One registered plugin: what it is called, the `module:attribute` it stands for, the distribution it is from.

    `extras`: requirement -> the extra of that distribution which adds it.
    """

    group: str
    name: str
    target: str
    distribution: str
    extras: tuple[tuple[str, str], ...] = ()


def names(group: str) -> tuple[str, ...]:
    """Return the names registered in `group`, sorted; imports none of them.

    >>> import ramify.backend.registry as registry
    >>> "fake" in registry.names("backends")
    True
    """
    return tuple(sorted({plugin.name for plugin in plugins(group)}))


def plugins(group: str) -> tuple[Plugin, ...]:
    """Return everything registered in `group`, by name; imports none of it.

    A source checkout declares its plugins in its own pyproject.toml, so that they work before it is installed.
    """
    if group not in GROUPS:
        raise PluginError(f"unknown plugin group {group!r}{did_you_mean(group, GROUPS)}; there are {_listed(GROUPS)}")
    found: dict[tuple[str, str], Plugin] = {}
    for plugin in (*_of_checkout(group), *_installed(group)):
        found.setdefault((plugin.name, plugin.target), plugin)
    return tuple(sorted(found.values(), key=lambda plugin: (plugin.name, plugin.target)))


def load(group: str, name: str) -> Any:
    """Import and return the plugin `name` of `group`.

    Raises `PluginError` that lists what there is when the name is unknown, that names both when two packages claim it,
    and that carries the cause, with the `pip install` line if an extra would help, when it cannot be imported.

    >>> import ramify.backend.registry as registry
    >>> registry.load("backends", "fake").__name__
    'FakeBackend'
    """
    matching = [plugin for plugin in plugins(group) if plugin.name == name]
    if not matching:
        known = names(group)
        raise PluginError(
            f"unknown plugin {name!r} in ramify.{group}{did_you_mean(name, known)}; there are {_listed(known)}"
        )
    if len(matching) > 1:
        claims = " and ".join(f"{plugin.target} of {plugin.distribution}" for plugin in matching)
        raise PluginError(f"the plugin name {name!r} in ramify.{group} is claimed by {claims}; uninstall one of them")
    return _import(matching[0])


def _import(plugin: Plugin) -> Any:
    where = f"plugin {plugin.name!r} of ramify.{plugin.group} ({plugin.target}, from {plugin.distribution})"
    try:
        return metadata.EntryPoint(plugin.name, plugin.target, f"ramify.{plugin.group}").load()
    except ModuleNotFoundError as error:
        raise PluginError(f"{where} needs the module {error.name!r}{_remedy(plugin, error.name)}") from error
    # Whatever a plugin's module raises while it is imported must come out as one typed error that names the plugin.
    except Exception as error:
        raise PluginError(f"{where} cannot be loaded: {type(error).__name__}: {error}") from error


def _remedy(plugin: Plugin, module: str | None) -> str:
    """Return how to add a missing module: the extra that holds it, if its distribution declares one."""
    if module is None:
        return ""
    wanted = _normalised(module.partition(".")[0])
    for requirement, extra in plugin.extras:
        if requirement == wanted:
            return f", which an extra adds: pip install '{plugin.distribution}[{extra}]'"
    return ", which is not installed"


def _installed(group: str) -> Iterable[Plugin]:
    for entry in metadata.entry_points(group=f"ramify.{group}"):
        distribution = entry.dist
        yield Plugin(
            group,
            entry.name,
            entry.value,
            distribution.name if distribution is not None else "an unnamed distribution",
            tuple(_extras(distribution.requires or ())) if distribution is not None else (),
        )


def _of_checkout(group: str) -> Iterable[Plugin]:
    if not _CHECKOUT.is_file():
        return
    project: Mapping[str, Any] = tomllib.loads(_CHECKOUT.read_text(encoding="utf-8"))["project"]
    optional: Mapping[str, list[str]] = project.get("optional-dependencies", {})
    extras = tuple(
        (_requirement_name(requirement), extra)
        for extra, requirements in optional.items()
        for requirement in requirements
    )
    for name, target in project.get("entry-points", {}).get(f"ramify.{group}", {}).items():
        yield Plugin(group, name, target, project["name"], extras)


def _extras(requires: Iterable[str]) -> Iterable[tuple[str, str]]:
    """Yield (requirement, extra) of the metadata lines like `llguidance>=1.3; extra == "grammar"`."""
    for line in requires:
        extra = re.search(r"""extra\s*==\s*["']([^"']+)["']""", line)
        if extra is not None:
            yield _requirement_name(line), extra.group(1)


def _requirement_name(requirement: str) -> str:
    return _normalised(re.split(r"[^\w.-]", requirement.strip(), maxsplit=1)[0])


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _listed(known: Iterable[str]) -> str:
    return ", ".join(known) or "none"
