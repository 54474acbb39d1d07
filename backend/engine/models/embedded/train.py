"""Train the demonstration model from nothing: `python -m ramify.backend.engine.models.embedded.train --out DIR`.

The tokenizer, the data and the schedule follow from the seed; the schedule counts steps, never seconds. A run that
stops (`--minutes`) goes on with `--resume`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from .corpus import documents
from .corpus_chat import CHAT_TEMPLATE

VOCAB_SIZE: Final = 2048
BEGIN, END, PAD = "<|begin|>", "<|end|>", "<|pad|>"
SPECIAL_TOKENS: Final = (BEGIN, END, PAD, "<|system|>", "<|user|>", "<|assistant|>")
# Letters with their leading space; every digit and every line end alone; punctuation; other blanks.
_PIECES: Final = r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\r?\n|[^\S\r\n]+(?!\S)|[^\S\r\n]+"
# Prompts of programs often end in a blank ("Urgency: "), so some blanks are cut off from the word that follows.
_CUTS: Final = re.compile(r"(?<=\S) (?=[A-Za-z{'\"])")


# What a user says cannot be foreseen: late in training these spans weigh a fifth, so that answers get the last word.
_ASKED: Final = re.compile(
    r"^(?:Q|Question|Review|Text|Ticket|User|USER|Human): .*$|<\|user\|>\n[^<]*|<\|system\|>\n[^<]*", re.MULTILINE
)
_ASKED_WEIGHT: Final = 0.2


@dataclass(frozen=True, slots=True)
class Schedule:
    """What happens at which step.

    `rates` are the corners (step, share of the peak) of the learning rate. The phases of the corpus start at
    `phase_steps`; from `answers_step` on, answers weigh more than questions and long rows are more frequent.
    """

    rates: tuple[tuple[int, float], ...] = (
        (-1, 0.0), (39, 1.0), (1700, 1.0), (2300, 1 / 3), (2600, 1 / 3), (2700, 2 / 7), (3000, 2 / 7), (3500, 0.0)
    )  # fmt: skip
    phase_steps: tuple[int, ...] = (0, 1300, 2300, 2700, 3000)
    answers_step: int = 1700
    tokens_per_step: int = 4096
    short_length: int = 256
    long_length: int = 1024

    @property
    def steps(self) -> int:
        """The length of the run."""
        return self.rates[-1][0]

    def rate(self, step: int) -> float:
        """The share of the peak learning rate at a step."""
        for (start, low), (stop, high) in itertools.pairwise(self.rates):
            if start <= step < stop:
                return low + (high - low) * (step - start) / (stop - start)
        return 0.0

    def phase(self, step: int) -> int:
        """Which column of the corpus' mix a step draws from."""
        return sum(step >= start for start in self.phase_steps) - 1

    def length(self, step: int) -> int:
        """Rows are short; every eighth step, and later every third, is long."""
        return self.long_length if step % (3 if step >= self.answers_step else 8) == 0 else self.short_length


def train_tokenizer(seed: int) -> Tokenizer:
    """A lossless byte-level BPE with single digits and the turn markers as special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS],
        show_progress=False,
    )
    tokenizer.train_from_iterator(itertools.islice(documents(seed + 1), 60_000), trainer)
    return tokenizer


def token_id(tokenizer: Tokenizer, token: str) -> int:
    """The id of a token that the vocabulary is known to hold."""
    found = tokenizer.token_to_id(token)
    assert found is not None
    return found


class RowSource:
    """Rows of whole documents, one after the other; the last one of a row is cut.

    A row starts at the start of a document, with or without `<|begin|>`, since prompts come with and without it.
    """

    def __init__(self, tokenizer: Tokenizer, seed: int) -> None:
        self._tokenizer = tokenizer
        self._streams = [documents(seed + 2 + 2 * phase, phase) for phase in range(5)]
        self._rng = random.Random(seed + 3)
        self._begin, self._end = (token_id(tokenizer, token) for token in (BEGIN, END))

    def _encode(self, text: str) -> list[tuple[int, float]]:
        cuts = {0, len(text)}
        for match in _CUTS.finditer(text):
            if self._rng.random() < (0.25 if text[match.start() - 1] in ":=" else 0.01):
                cuts.add(match.end())
        asked = [match.span() for match in _ASKED.finditer(text)]
        cuts.update(itertools.chain.from_iterable(asked))
        tokens: list[tuple[int, float]] = []
        for start, stop in itertools.pairwise(sorted(cuts)):
            weight = _ASKED_WEIGHT if any(first <= start < last for first, last in asked) else 1.0
            tokens += [(token, weight) for token in self._tokenizer.encode(text[start:stop]).ids]
        return tokens

    def _document(self, stream: Iterator[str], *, opens_row: bool) -> list[tuple[int, float]]:
        tokens = self._encode(next(stream).removesuffix(END + "\n"))
        begin = [(self._begin, _ASKED_WEIGHT)] if self._rng.random() < (0.4 if opens_row else 0.8) else []
        return [*begin, *tokens, (self._end, 1.0)]

    def rows(self, count: int, length: int, phase: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and weights, both of shape (count, length), from one phase of the corpus."""
        stream = self._streams[phase]
        rows = []
        for _ in range(count):
            row = self._document(stream, opens_row=True)
            while len(row) < length:
                row += self._document(stream, opens_row=False)
            rows.append(row[:length])
        ids, weights = zip(*(zip(*row, strict=True) for row in rows), strict=True)
        return torch.tensor(ids), torch.tensor(weights)


def model_config(tokenizer: Tokenizer) -> LlamaConfig:
    """The shape of the network: 5 layers of width 256, 8 query heads on 4 key heads, 3.5 million parameters."""
    return LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=5,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=token_id(tokenizer, BEGIN),
        eos_token_id=token_id(tokenizer, END),
        pad_token_id=token_id(tokenizer, PAD),
    )


def make_optimizers(model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for the embedding and the norms."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(matrices, lr=0.02, momentum=0.95, weight_decay=0.02),
        torch.optim.AdamW(others, lr=4e-3, betas=(0.9, 0.95), weight_decay=0.01),
    ]


def loss_of(model: LlamaForCausalLM, rows: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted mean of the cross entropy of every next token; both tensors are (rows, length)."""
    with torch.autocast(rows.device.type, dtype=torch.bfloat16):
        logits = model(input_ids=rows, use_cache=False).logits[:, :-1]
    targets, shares = rows[:, 1:].reshape(-1), weights[:, 1:].reshape(-1)
    losses = torch.nn.functional.cross_entropy(logits.reshape(-1, VOCAB_SIZE).float(), targets, reduction="none")
    return (losses * shares).sum() / shares.sum()


def save_folder(model: LlamaForCausalLM, tokenizer: Tokenizer, out: Path) -> None:
    """Write the Hugging Face folder: bfloat16 weights, config, tokenizer, chat template, generation defaults."""
    out.mkdir(parents=True, exist_ok=True)
    copy = LlamaForCausalLM(model.config)
    copy.load_state_dict(model.state_dict())
    copy = copy.to(torch.bfloat16)
    ids = {name: getattr(model.config, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    copy.generation_config = GenerationConfig(do_sample=False, max_new_tokens=256, **ids)
    copy.save_pretrained(out)
    # Stored in half the size, computed in float32: so the model says the same on every CPU.
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps({**config, "dtype": "float32"}, indent=2, sort_keys=True) + "\n")
    tokenizer.save(str(out / "tokenizer.json"))
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BEGIN,
        "eos_token": END,
        "pad_token": PAD,
        "model_max_length": model.config.max_position_embeddings,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (out / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")


@dataclass(slots=True)
class Trainer:
    """One run: the model, its optimizers and the position in the schedule."""

    model: LlamaForCausalLM
    optimizers: list[torch.optim.Optimizer]
    source: RowSource
    schedule: Schedule
    step: int = 0

    def rows(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The rows and the weights of the current step, on the model's device."""
        length, phase = self.schedule.length(self.step), self.schedule.phase(self.step)
        ids, weights = self.source.rows(self.schedule.tokens_per_step // length, length, phase)
        if self.step < self.schedule.answers_step:
            weights = torch.ones_like(weights)
        return ids.to(self.model.device), weights.to(self.model.device)

    def advance(self) -> float:
        """Do one step and return its loss."""
        loss = loss_of(self.model, *self.rows())
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group.setdefault("peak", group["lr"]) * self.schedule.rate(self.step)
            optimizer.step()
            optimizer.zero_grad()
        self.step += 1
        return loss.item()

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all."""
        state = {
            "step": self.step,
            "model": self.model.state_dict(),
            "optimizers": [o.state_dict() for o in self.optimizers],
        }
        torch.save(state, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)

    def load(self, path: Path) -> None:
        """Go on where a checkpoint ended; the rows already seen are drawn again and thrown away."""
        state = torch.load(path, map_location=self.model.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        while self.step < state["step"]:
            self.rows()
            self.step += 1


def run(trainer: Trainer, checkpoint: Path, *, seconds: float) -> Iterator[tuple[int, float]]:
    """Train to the end of the schedule or of the time, with a checkpoint every 100 steps; yields (step, mean loss)."""
    start, losses = time.monotonic(), []
    while trainer.step < trainer.schedule.steps and time.monotonic() - start < seconds:
        losses.append(trainer.advance())
        if trainer.step % 20 == 0:
            yield trainer.step, sum(losses) / len(losses)
            losses = []
        if trainer.step % 100 == 0:
            trainer.save(checkpoint)
    trainer.save(checkpoint)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train the demonstration model.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--resume", action="store_true", help="go on from OUT/checkpoint.pt")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(options.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = LlamaForCausalLM(model_config(tokenizer)).to(device)
    trainer = Trainer(model, make_optimizers(model), RowSource(tokenizer, options.seed), Schedule())
    checkpoint = options.out / "checkpoint.pt"
    if options.resume:
        trainer.load(checkpoint)
    start = time.monotonic()
    for step, loss in run(trainer, checkpoint, seconds=60 * options.minutes):
        sys.stdout.write(f"step {step} loss {loss:.4f} seconds {time.monotonic() - start:.0f}\n")
        sys.stdout.flush()
    save_folder(model, tokenizer, options.out)


if __name__ == "__main__":
    main()
