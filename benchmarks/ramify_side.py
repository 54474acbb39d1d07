"""The same workloads on ramify, as its user writes them: one call for a batch, a program with fork, one with select."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ramify

from transformers_side import Answer
from workloads import LABELS, ForkTree, Generate, Select, Workload


@ramify.function
def grow_tree(s: Any, work: ForkTree) -> list[list[int]]:
    """Fork, generate in all branches, go on from the first one."""
    s += work.root
    answers: list[list[int]] = []
    for level in range(work.depth):
        branches = s.fork(work.width)
        for label, branch in zip(LABELS, branches, strict=False):
            branch += label + ramify.gen(f"step{level}", max_tokens=work.num_new, ignore_eos=True)
        answers += [list(branch.meta(f"step{level}").token_ids) for branch in branches]
        s = branches[0]
    return answers


@ramify.function
def choose(s: Any, prefix: str, question: str, choices: tuple[str, ...]) -> int:
    """Pick one choice."""
    s += prefix + question
    s += ramify.select("pick", list(choices))
    return choices.index(s["pick"])


class RamifySide:
    """One engine."""

    def __init__(self, folder: Path, dtype: str) -> None:
        self.engine = ramify.Engine(str(folder), dtype=dtype)

    def forget(self) -> None:
        """Empty the prefix cache, so that every run starts cold."""
        self.engine.flush_cache()

    def run(self, workload: Workload) -> Answer:
        """Answer a workload."""
        match workload:
            case Generate():
                outputs = self.engine.generate(
                    list(workload.prompts), max_tokens=workload.num_new, temperature=0, ignore_eos=True
                )
                return [list(output.token_ids) for output in outputs]
            case ForkTree():
                program = grow_tree.with_sampling(temperature=0)
                return program.run(workload, backend=self.engine).value
            case Select():
                rows = [dict(prefix=workload.prefix, question=q, choices=workload.choices) for q in workload.questions]
                results = choose.run_batch(rows, backend=self.engine, progress=False)
                return [result.value.value for result in results]

    def close(self) -> None:
        """Stop the engine."""
        self.engine.close()
