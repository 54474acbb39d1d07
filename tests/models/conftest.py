"""Tiny random models of every kind, and a driver that builds batches by hand and compares with transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ramify.backend.engine.batch import ScheduleBatch
from ramify.backend.engine.forward_batch import Logits
from ramify.backend.engine.model_runner import ModelRunner
from ramify.backend.engine.models.api import CausalLM
from ramify.backend.engine.models.random_model import save_random_model
from ramify.backend.engine.req import Req
from ramify.lang.sampling import Sampling

VOCAB = 199
SIZES = dict(
    vocab_size=VOCAB,
    hidden_size=48,
    intermediate_size=80,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=256,
    initializer_range=0.2,  # spreads the logits, so that greedy choices are no ties
    bos_token_id=None,
    eos_token_id=None,
    pad_token_id=0,
)


def make_config(kind: str, **changes: object) -> object:
    """A tiny transformers config of a model type."""
    from transformers import AutoConfig

    return AutoConfig.for_model(kind, **{**SIZES, **changes})


@dataclass
class Row:
    """One sequence of the driver: how far its KV is computed, and its slots."""

    row: int
    tokens: list[int]
    prompt_len: int
    computed: int = 0
    logprob_start_len: int | None = None
    shares: Row | None = None  # whose slots the first `computed` tokens take over, at the first forward


@dataclass
class Driver:
    """A scheduler of three methods: shuffled pages, chunks, shared prefixes; no cache, no eviction."""

    model: CausalLM
    page_size: int = 1
    max_tokens: int = 2048
    runner: ModelRunner = field(init=False)
    table: NDArray[np.int32] = field(init=False)
    rows: list[Row] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.table = np.zeros((64, 256), dtype=np.int32)
        self.runner = ModelRunner(self.model, self.table, max_total_tokens=self.max_tokens, page_size=self.page_size)
        pages = 1 + np.random.default_rng(0).permutation(self.max_tokens // self.page_size)
        self._pages = iter(pages.tolist())

    def add(self, prompt: Sequence[int], *, shares: Row | None = None, logprob_start_len: int | None = None) -> Row:
        """Open a row; `shares`: take over the slots of the longest common prefix (whole pages) of another row."""
        row = Row(len(self.rows) + 1, list(prompt), len(prompt), logprob_start_len=logprob_start_len)
        if shares is not None:
            same = 0
            while same < min(len(prompt) - 1, shares.prompt_len) and prompt[same] == shares.tokens[same]:
                same += 1
            same -= same % self.page_size
            row.computed, row.shares = same, shares
        self.rows.append(row)
        return row

    def forward(self, plan: Sequence[tuple[Row, int]]) -> Logits:
        """Compute the next `n` tokens of each row in one batch."""
        reqs, prefix_lens, ids, slots, samples = [], [], [], [], []
        for row, count in plan:
            end = row.computed + count
            if row.shares is not None:
                self.table[row.row, : row.computed] = self.table[row.shares.row, : row.computed]
                row.shares = None
            for position in range(row.computed, end):
                if position % self.page_size == 0:
                    self._page = next(self._pages) * self.page_size
                    self.table[row.row, position] = self._page
                else:
                    self.table[row.row, position] = self.table[row.row, position - 1] + 1
            reqs.append(Req("r", row.tokens, Sampling(), row=row.row, logprob_start_len=row.logprob_start_len))
            prefix_lens.append(row.computed)
            ids += row.tokens[row.computed : end]
            slots += self.table[row.row, row.computed : end].tolist()
            samples.append(end == len(row.tokens))
            row.computed = end
        batch = ScheduleBatch(
            reqs=reqs,
            rows=np.array([row.row for row, _ in plan], dtype=np.int64),
            prefix_lens=np.array(prefix_lens, dtype=np.int64),
            extend_lens=np.array([count for _, count in plan], dtype=np.int64),
            input_ids=np.array(ids, dtype=np.int64),
            out_cache_loc=np.array(slots, dtype=np.int64),
            samples=np.array(samples, dtype=np.bool_),
        )
        return self.runner.forward(batch)

    def generate(self, rows: Sequence[Row], num_tokens: int, *, chunk: int = 10_000) -> list[list[int]]:
        """Greedy tokens of every row; prompts enter in chunks, mixed with rows that already decode."""
        pending = list(rows)
        while pending:
            plan = [(row, min(chunk, len(row.tokens) - row.computed)) for row in pending]
            logits = self.forward(plan)
            for index, row in enumerate(pending):
                values = logits.values[logits.offsets[index] : logits.offsets[index + 1]]
                if row.computed == len(row.tokens):
                    row.tokens.append(int(values[-1].argmax()))
            pending = [row for row in pending if len(row.tokens) - row.prompt_len < num_tokens]
        return [row.tokens[row.prompt_len :] for row in rows]


class Lab:
    """Models and what transformers answers; one per session, so that each folder is made once."""

    driver = Driver

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._factory = factory
        self._folders: dict[str, Path] = {}

    def folder(self, kind: str, **changes: Any) -> Path:
        """Folder of a random model of a model type, with the sizes above and `changes`."""
        key = f"{kind}-{sorted(changes.items())!r}"
        if key not in self._folders:
            self._folders[key] = save_random_model(
                make_config(kind, **changes), self._factory.mktemp(kind), seed=len(self._folders)
            )
        return self._folders[key]

    def reference(self, folder: Path) -> torch.nn.Module:
        """The same model in transformers itself, with its eager attention."""
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()

    def greedy(self, folder: Path, prompts: Sequence[Sequence[int]], num_tokens: int) -> list[list[int]]:
        """What transformers' own `generate` answers, one prompt at a time."""
        from transformers import GenerationConfig

        model = self.reference(folder)
        # a fresh config: a folder may bring one with an end-of-sequence token, at which our driver does not stop
        model.generation_config = GenerationConfig(max_new_tokens=num_tokens, do_sample=False, pad_token_id=0)
        outputs = []
        for prompt in prompts:
            ids = torch.tensor([list(prompt)])
            answer = model.generate(ids, attention_mask=torch.ones_like(ids))
            outputs.append(answer[0, len(prompt) :].tolist())
        return outputs

    def logits(self, folder: Path, tokens: Sequence[int]) -> torch.Tensor:
        """(tokens, vocab) logits of transformers."""
        with torch.inference_mode():
            return self.reference(folder)(torch.tensor([list(tokens)])).logits[0].float()

    def prompts(self) -> list[list[int]]:
        """Prompts of different lengths; the third and fourth begin like the second."""
        random = np.random.default_rng(7)
        shared = random.integers(3, VOCAB, 33).tolist()
        return [
            random.integers(3, VOCAB, 5).tolist(),
            shared,
            shared[:20] + random.integers(3, VOCAB, 14).tolist(),
            shared + random.integers(3, VOCAB, 1).tolist(),
            random.integers(3, VOCAB, 1).tolist(),
            random.integers(3, VOCAB, 70).tolist(),
        ]


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory)
