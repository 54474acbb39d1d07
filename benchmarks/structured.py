"""Measure constrained decoding: `python benchmarks/structured.py`, or `-h`; the report goes to `results/structured.md`.

Compile and mask times over three vocabularies; decode rates of a batch with JSON schemas against the same batch
without, forced runs on and off; and outlines and guidance on transformers, in environments that are made for them.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ramify
from ramify.backend.api import Request, Text
from ramify.backend.engine.generation import Generation
from ramify.backend.engine.tokenizer import load_tokenizer
from ramify.lang.constraints import Constraint, constraint_of

import rivals
from contest import Contestant, hold
from grammar_costs import GrammarCosts, measure
from schemas import schemas
from structured_report import Rates, write
from vocabularies import copy_tokenizer, save_large_model, save_tokenizer

BATCH = 32
FREE, PLAIN, JUMP = "unconstrained", "constrained", "constrained, forced runs"

# Long keys, short values: what a configuration or a tool call looks like.
KEY_HEAVY = {
    "type": "object",
    "properties": {
        "notification_channel_preference": {"enum": ["email", "push", "none"]},
        "maximum_number_of_retries": {"type": "integer", "minimum": 0, "maximum": 9},
        "is_two_factor_authentication_enabled": {"type": "boolean"},
        "preferred_interface_language": {"enum": ["de", "en", "fr", "it"]},
        "weekly_summary_day_of_week": {"enum": ["monday", "wednesday", "friday"]},
        "subscription_renewal_in_days": {"type": "integer", "minimum": 1, "maximum": 90},
    },
    "additionalProperties": False,
}
KEY_HEAVY["required"] = [*KEY_HEAVY["properties"]]  # type: ignore[misc]


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch: a constraint a row, and the tokens that each row gives at most."""

    name: str
    constraints: tuple[Constraint, ...]
    max_tokens: int

    def requests(self, lens: Sequence[int] | None) -> list[Request]:
        """The rows with their constraints, or without and with exactly so many tokens."""
        rows = []
        for row, constraint in enumerate(self.constraints):
            parameters: dict[str, Any] = dict(temperature=1.0, seed=row, ignore_eos=True)
            sampling = ramify.Sampling(max_tokens=self.max_tokens if lens is None else lens[row], **parameters)
            prompt = (Text(f"Record {row}. Answer as JSON: "),)
            rows.append(
                Request(prompt=prompt, sampling=sampling, constraint=None if lens else constraint, stream=False)
            )
        return rows


def main() -> None:
    """Run everything, then write the report."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.cache or Path(temporary)
        folders = {size: _tokenizer(size, arguments, work) for size in arguments.sizes}
        costs = [_costs(None, arguments.texts), *(_costs(folder, arguments.texts) for folder in folders.values())]
        for one in costs:
            print(f"{one.vocabulary_size}: compile {one.compile.p50 / 1e3:.1f} ms, masks {one.masks}", flush=True)
        large = work / "large"
        if not large.exists():
            save_large_model(folders[max(folders)], large)
        rates = [
            rate
            for name, folder in (("embedded", None), ("100M parameters", large))
            for rate in decode_rates(name, folder, arguments)
        ]
        table = rivals.compare(large, arguments.rivals, rounds=arguments.rounds) if arguments.rivals else None
        path = write(costs, rates, table, arguments.output, note=arguments.note)
    print(path.read_text())


def decode_rates(name: str, folder: Path | None, arguments: argparse.Namespace) -> list[Rates]:
    """Hold a contest of the same token counts with and without constraints, and with forced runs."""
    chosen = list(schemas().values())[:BATCH]
    found = []
    engines = [ramify.Engine(folder, jump_forward=jump, max_total_tokens=1 << 14) for jump in (False, True)]
    for batch in (
        Batch("32 schemas", tuple(constraint_of("json_schema", schema) for schema in chosen), arguments.tokens),
        Batch("key-heavy schema", (constraint_of("json_schema", KEY_HEAVY),) * BATCH, 200),
    ):
        answers = [_run(engine, batch, None) for engine in engines]
        lens = [len(answer.token_ids) for answer in answers[0]]
        if [answer.token_ids for answer in answers[0]] != [answer.token_ids for answer in answers[1]]:
            raise AssertionError("forced runs changed an output")
        before = engines[1].stats().forced_tokens
        _run(engines[1], batch, None)
        forced = (engines[1].stats().forced_tokens - before) / sum(lens)
        contestants = [
            Contestant(FREE, partial(_run, engines[0], batch, lens), engines[0].flush_cache),
            Contestant(PLAIN, partial(_run, engines[0], batch, None), engines[0].flush_cache),
            Contestant(JUMP, partial(_run, engines[1], batch, None), engines[1].flush_cache),
        ]
        standings = hold(contestants, rounds=arguments.rounds, budget_s=arguments.budget)
        seconds = {standing.name: standing.seconds for standing in standings}
        found.append(Rates(name, batch.name, sum(lens), forced, seconds))
        print(found[-1], flush=True)
    for engine in engines:
        engine.close()
    return found


def _run(engine: ramify.Engine, batch: Batch, lens: Sequence[int] | None) -> list[Generation]:
    return [samples[0] for samples in engine._front.generate_blocking(batch.requests(lens))]


def _tokenizer(size: int, arguments: argparse.Namespace, work: Path) -> Path:
    folder = work / f"tokenizer-{size}"
    if arguments.tokenizer is not None and size == max(arguments.sizes):
        return copy_tokenizer(arguments.tokenizer, folder)
    return folder if folder.exists() else save_tokenizer(size, folder)


def _costs(folder: Path | None, texts: int) -> GrammarCosts:
    """Measure over the tokenizer of a folder, or over the embedded model's."""
    if folder is None:
        with ramify.Engine() as engine:
            return measure(engine.tokenizer.vocabulary, texts=texts)
    from transformers import AutoTokenizer

    size = len(AutoTokenizer.from_pretrained(folder))
    return measure(load_tokenizer(folder, vocab_size=size).vocabulary, texts=texts)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", type=int, default=[50_000, 150_000], help="vocabularies to learn")
    parser.add_argument("--tokenizer", type=Path, help="a model folder whose tokenizer stands for the largest size")
    parser.add_argument("--tokens", type=int, default=64, help="most tokens of a row")
    parser.add_argument("--texts", type=int, default=4, help="texts drawn from each constraint for the mask times")
    parser.add_argument("--rounds", type=int, default=9, help="most rounds of a contest")
    parser.add_argument("--budget", type=float, default=90, help="seconds after which a contest starts no new round")
    parser.add_argument(
        "--rivals", type=Path, help="where to make (or find) the virtual environment of the other libraries"
    )
    parser.add_argument("--cache", type=Path, help="folder that keeps tokenizers and models between runs")
    parser.add_argument("--note", default="", help="a remark for the report")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results", help="folder of the report")
    return parser.parse_args()


if __name__ == "__main__":
    main()
