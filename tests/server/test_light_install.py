"""`import ramify` and a remote backend work where neither an engine's nor a server's libraries are installed."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = [
    line for line in (ROOT / "requirements-client.txt").read_text().splitlines() if line[:1] not in ("#", "")
]

PROGRAM = '''
import json, sys
from dataclasses import dataclass

MISSING = set(json.loads(sys.argv[2]))

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in MISSING:
            raise ModuleNotFoundError(f"{name} is not installed here", name=name)

sys.meta_path.insert(0, Missing())
import ramify

@dataclass
class City:
    name: str
    size: int

@ramify.function
def everything(s):
    s += ramify.user("Name a city.")
    s += ramify.assistant(ramify.gen("city", type=City, temperature=0, max_tokens=60))
    branches = s.fork(2)
    for branch in branches:
        branch += "Number:" + ramify.gen("number", type=int, temperature=0)
    s.join(branches)
    s += ramify.select("size", ["small", "large"])
    return s["city"], s["number"], s["size"]

script = ramify.parse_script("""@program capital(country: str) -> str
@user
What is the capital of {{country}}?
@assistant
{{gen answer: str, max=8, temp=0}}
@return answer
""")
backends = [ramify.RemoteBackend(sys.argv[1], ship=ship) for ship in ("auto", "never")]
said = [[repr(everything.run(backend=b).value), script.run("France", backend=b).value] for b in backends]
print(json.dumps(said))
'''


def name_of(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement, maxsplit=1)[0]).lower()


def closure(requirements: list[str]) -> set[str]:
    """The names of requirements and of all that they need themselves."""
    found: set[str] = set()
    waiting = [name_of(requirement) for requirement in requirements]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            needed = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # wanted on another system or Python only
        found.add(name)
        waiting += [name_of(line) for line in needed if "extra ==" not in line]
    return found


def test_a_client_needs_no_more_than_its_list(server: Any) -> None:
    """Whatever else is installed here cannot be imported there."""
    needed = closure(REQUIREMENTS) | {"ramify"}
    owners = importlib.metadata.packages_distributions()
    missing = [module for module, names in owners.items() if not needed & {name_of(name) for name in names}]
    assert {"torch", "numpy", "transformers", "tokenizers", "llguidance", "fastapi", "msgspec"} <= set(missing)
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, server.url, json.dumps(missing)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd="/",
    )
    assert run.returncode == 0, run.stderr
    shipped, single = json.loads(run.stdout)
    assert shipped == single
    assert "City(name=" in shipped[0]


def test_the_list_is_a_part_of_the_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(REQUIREMENTS) <= set(project["dependencies"])
