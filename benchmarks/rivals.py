"""outlines and guidance on transformers against ramify: same model, same prompts, same schema, same limit of tokens.

They run in virtual environments of their own, which see this one's torch. One that does not install or does not run
is reported with its last words.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sysconfig
import tempfile
import time
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ramify
from ramify.backend.api import Text
from ramify.backend.engine.tokenizer import load_tokenizer

BATCH = 16
MAX_TOKENS = 64
# Within what all three hold: no bounds on numbers, which outlines-core's schemas leave out.
SCHEMA = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "maxLength": 24},
        "language": {"enum": ["de", "en", "fr"]},
        "is_public": {"type": "boolean"},
        "labels": {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "minItems": 2, "maxItems": 4},
    },
    "required": ["title", "language", "is_public", "labels"],
    "additionalProperties": False,
}
LIBRARIES = {"outlines": ["outlines"], "guidance": ["guidance", "transformers<5"]}  # guidance crops caches the old way


@dataclass(frozen=True, slots=True)
class Result:
    """Tokens a second of one library, median over rounds; `failure`: why there are none."""

    name: str
    version: str
    rate: float | None
    failure: str = ""


def compare(folder: Path, environment: Path, *, rounds: int) -> list[Result]:
    """Run ramify, then each of the others in turn."""
    prompts = [f"Record {row}. Answer as JSON: " for row in range(BATCH)]
    vocabulary_size = json.loads((folder / "config.json").read_text())["vocab_size"]
    tokenizer = load_tokenizer(folder, vocab_size=vocabulary_size)
    found = [_ours(folder, prompts, rounds)]
    job = dict(folder=str(folder), schema=SCHEMA, prompts=prompts, max_tokens=MAX_TOKENS, rounds=min(rounds, 3))
    for name, requirements in LIBRARIES.items():
        try:
            answer = _run(name, job, _python(environment / name, requirements))
        except subprocess.CalledProcessError as error:
            found.append(Result(name, "", None, (error.stderr or "").strip().splitlines()[-1:][0]))
            continue
        except subprocess.TimeoutExpired as error:
            found.append(Result(name, "", None, f"no answer in {error.timeout:.0f} s"))
            continue
        rates = [
            sum(len(tokenizer.encode_prompt((Text(text),))) for text in texts) / seconds
            for seconds, texts in answer["rounds"]
        ]
        found.append(Result(name, answer["version"], statistics.median(rates)))
    return found


def _ours(folder: Path, prompts: list[str], rounds: int) -> Result:
    rates = []
    with ramify.Engine(folder, dtype="float32") as engine:
        for _ in range(rounds + 1):
            engine.flush_cache()
            start = time.perf_counter()
            answers = engine.generate(prompts, json_schema=SCHEMA, temperature=0, max_tokens=MAX_TOKENS)
            rates.append(sum(len(answer.token_ids) for answer in answers) / (time.perf_counter() - start))
    return Result("ramify", ramify.__version__, statistics.median(rates[1:]))


def _python(folder: Path, requirements: list[str]) -> Path:
    """The Python of a virtual environment that has `requirements`, and this one's packages behind them."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        packages = next((folder / "lib").glob("python*")) / "site-packages"
        (packages / "shared.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
        command = [str(python), "-m", "pip", "install", "--quiet", *requirements]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=900)
    return python


def _run(name: str, job: dict[str, Any], python: Path) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(job, file)
        file.flush()
        script = Path(__file__).with_name("structured_rivals.py")
        command = [str(python), str(script), name, file.name]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=1200)
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer
