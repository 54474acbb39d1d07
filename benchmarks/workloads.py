"""What is measured: prompts of exact token counts for each workload, drawn from a fixed seed."""

from __future__ import annotations

import random
import string
from dataclasses import dataclass

LABELS = string.ascii_lowercase


def letters(length: int, seed: str) -> str:
    """Random lower-case text of `length` letters, which are `length` tokens."""
    return "".join(random.Random(seed).choices(string.ascii_lowercase, k=length))


@dataclass(frozen=True, slots=True)
class Generate:
    """Greedy generation of `num_new` tokens for every prompt; `shared` leading tokens are the same in all of them."""

    name: str
    prompts: tuple[str, ...]
    num_new: int
    shared: int = 0

    @property
    def num_tokens(self) -> int:
        """Tokens that the workload asks for: new ones, or those of the prompts where only one new one is asked for."""
        return sum(map(len, self.prompts)) if self.num_new == 1 else len(self.prompts) * self.num_new


@dataclass(frozen=True, slots=True)
class ForkTree:
    """`depth` times, from `root`: fork `width` branches, each a label and `num_new` tokens; go on from the first."""

    name: str
    root: str
    width: int
    depth: int
    num_new: int

    @property
    def num_tokens(self) -> int:
        """Tokens that the workload asks for."""
        return self.width * self.depth * self.num_new


@dataclass(frozen=True, slots=True)
class Select:
    """For every question behind one shared prefix, the most likely of `choices` by mean log-probability per token."""

    name: str
    prefix: str
    questions: tuple[str, ...]
    choices: tuple[str, ...]

    @property
    def num_tokens(self) -> int:
        """Tokens that have to be scored."""
        return len(self.questions) * sum(map(len, self.choices))


Workload = Generate | ForkTree | Select


def plain(name: str, *, batch: int, length: int, num_new: int) -> Generate:
    """Prompts that share nothing."""
    return Generate(name, tuple(letters(length, f"{name} {row}") for row in range(batch)), num_new)


def shared_prefix(name: str, *, batch: int, shared: int, own: int, num_new: int) -> Generate:
    """Prompts that share their first `shared` tokens."""
    prefix = letters(shared, name)
    # the first own letters differ, so that exactly `shared` tokens are common
    tails = (LABELS[row % 26] + LABELS[row // 26] + letters(own - 2, f"{name} {row}") for row in range(batch))
    return Generate(name, tuple(prefix + tail for tail in tails), num_new, shared)


def select(name: str, *, questions: int, prefix: int, own: int) -> Select:
    """Questions behind one prefix, four choices of four tokens that differ from the first one on."""
    tails = (LABELS[row % 26] + LABELS[row // 26] + letters(own - 2, f"{name} {row}") for row in range(questions))
    choices = tuple(label + letters(3, f"{name} {label}") for label in "abcd")
    return Select(name, letters(prefix, name), tuple(tails), choices)


FULL: tuple[Workload, ...] = (
    plain("decode, batch 1", batch=1, length=16, num_new=64),
    plain("decode, batch 8", batch=8, length=16, num_new=64),
    plain("decode, batch 32", batch=32, length=16, num_new=64),
    plain("prefill of 1,024", batch=1, length=1024, num_new=1),
    shared_prefix("A: 64 behind 512 shared", batch=64, shared=512, own=16, num_new=32),
    ForkTree("B: fork tree 8 x 3", letters(256, "tree"), width=8, depth=3, num_new=32),
    select("D: select 4 x 64", questions=64, prefix=512, own=16),
)
QUICK: tuple[Workload, ...] = (
    plain("decode, batch 1", batch=1, length=8, num_new=6),
    plain("decode, batch 3", batch=3, length=8, num_new=6),
    plain("prefill of 64", batch=1, length=64, num_new=1),
    shared_prefix("A: 4 behind 40 shared", batch=4, shared=40, own=4, num_new=5),
    ForkTree("B: fork tree 3 x 2", letters(24, "tree"), width=3, depth=2, num_new=4),
    select("D: select 4 x 3", questions=3, prefix=30, own=4),
)
