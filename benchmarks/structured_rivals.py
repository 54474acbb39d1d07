"""outlines or guidance on transformers, run by the Python of a virtual environment that has them; prints JSON.

Imports nothing of ramify: `python structured_rivals.py NAME JOB`, with the job (model folder, schema, prompts, tokens,
rounds) as a JSON file.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any


def main() -> None:
    """Run one library on one job: seconds and generated tokens of every round, a first one left out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=["outlines", "guidance"])
    parser.add_argument("job", type=Path)
    arguments = parser.parse_args()
    job = json.loads(arguments.job.read_text())
    run = {"outlines": outlines_side, "guidance": guidance_side}[arguments.name](job)
    rounds = []
    for _ in range(job["rounds"] + 1):
        start = time.perf_counter()
        answers = run()
        rounds.append((time.perf_counter() - start, answers))
    print(json.dumps({"rounds": rounds[1:], "version": metadata.version(arguments.name)}))


def load(folder: str) -> tuple[Any, Any]:
    """The model, float32 on the CPU, and its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer.pad_token, tokenizer.padding_side = tokenizer.eos_token, "left"
    return model, tokenizer


def outlines_side(job: dict[str, Any]) -> Callable[[], list[str]]:
    """One padded batch, greedy. Compiling is done before the clock runs."""
    import outlines

    model, tokenizer = load(job["folder"])
    wrapped = outlines.from_transformers(model, tokenizer)
    generator = outlines.Generator(wrapped, outlines.json_schema(json.dumps(job["schema"])))
    return lambda: generator.batch(job["prompts"], max_new_tokens=job["max_tokens"], do_sample=False)


def guidance_side(job: dict[str, Any]) -> Callable[[], list[str]]:
    """One prompt after the other, greedy: guidance has no batches."""
    import guidance

    model = guidance.models.Transformers(*load(job["folder"]), echo=False)

    def one(prompt: str) -> str:
        grammar = guidance.json(name="answer", schema=job["schema"], temperature=0.0, max_tokens=job["max_tokens"])
        return (model + prompt + grammar)["answer"]

    return lambda: [one(prompt) for prompt in job["prompts"]]


if __name__ == "__main__":
    main()
