"""Measure the demonstration model on held-out phrasings: `python -m ramify.backend.engine.models.embedded.evaluate`.

Greedy and batched, through transformers alone, so it also checks the folder. Exits 1 below 95 % exact answers.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from . import MODEL_DIR
from .corpus import Case, held_out_cases
from .corpus_chat import Turn, render

GOAL: Final = 0.95


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the model wrote after one case's prompt."""

    case: Case
    text: str

    @property
    def exact(self) -> bool:
        """Whether the text is the answer followed at once by its stop."""
        return self.text.startswith(self.case.answer + self.case.stop)


def load(folder: Path) -> tuple[Any, Any]:
    """The model in float32 and its tokenizer, padding on the left."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    return model.to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer


def complete(model: Any, tokenizer: Any, prompts: Sequence[str], *, max_new_tokens: int) -> list[str]:
    """Greedy continuations, special tokens included."""
    inputs = tokenizer(list(prompts), return_tensors="pt", padding=True, add_special_tokens=False).to(model.device)
    with torch.inference_mode():
        output = model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            max_new_tokens=max_new_tokens,
            do_sample=False,
        )
    return list(tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=False))


def answer_cases(model: Any, tokenizer: Any, cases: Sequence[Case], *, batch: int = 64) -> list[Outcome]:
    """All cases, similar lengths together."""
    lengths = {case: (len(tokenizer(case.answer)["input_ids"]), len(case.prompt)) for case in cases}
    ordered = sorted(cases, key=lambda case: lengths[case])
    outcomes: list[Outcome] = []
    for start in range(0, len(ordered), batch):
        part = ordered[start : start + batch]
        # A model may spell a word in more tokens than the tokenizer would.
        limit = max(lengths[case][0] for case in part) + 12
        texts = complete(model, tokenizer, [case.prompt for case in part], max_new_tokens=limit)
        outcomes += [Outcome(case, text) for case, text in zip(part, texts, strict=True)]
    return outcomes


def check_template(tokenizer: Any) -> None:
    """The folder's chat template must write what the corpus wrote, else the figures say nothing."""
    turns = [Turn("system", "Be brief."), Turn("user", "Hello!"), Turn("assistant", "Hello")]
    messages = [{"role": turn.role, "content": turn.content} for turn in turns]
    whole = tokenizer.apply_chat_template(messages, tokenize=False)
    opened = tokenizer.apply_chat_template(messages[:2], tokenize=False, add_generation_prompt=True)
    continued = tokenizer.apply_chat_template(messages, tokenize=False, continue_final_message=True)
    expected = (render(turns), render(turns[:2]) + "<|assistant|>\n", render(turns).removesuffix("<|end|>\n"))
    if (whole, opened, continued) != expected:
        raise SystemExit("the chat template of this folder differs from the markup of the corpus")


def table(outcomes: Sequence[Outcome]) -> tuple[str, float]:
    """A line per category and the total share of exact answers."""
    groups: dict[str, list[bool]] = defaultdict(list)
    for outcome in outcomes:
        groups[outcome.case.category].append(outcome.exact)
        groups[f"all of {outcome.case.category.partition('/')[2]}"].append(outcome.exact)
    lines = [
        f"{name:28} {sum(hits):5} / {len(hits):5}  {sum(hits) / len(hits):7.1%}"
        for name, hits in sorted(groups.items())
    ]
    total = sum(outcome.exact for outcome in outcomes) / len(outcomes)
    return "\n".join([*lines, f"total {total:.2%} of {len(outcomes)} cases"]), total


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure the demonstration model on held-out phrasings.")
    parser.add_argument("--model", type=Path, default=MODEL_DIR)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--per-relation", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--misses", type=int, default=0, help="print so many wrong answers")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model, tokenizer = load(options.model)
    check_template(tokenizer)
    outcomes = answer_cases(model, tokenizer, held_out_cases(options.seed, options.per_relation))
    text, total = table(outcomes)
    sys.stdout.write(f"{text}\n")
    for outcome in [outcome for outcome in outcomes if not outcome.exact][: options.misses]:
        case = outcome.case
        sys.stdout.write(f"{case.category}: {case.prompt!r} wanted {case.answer!r}, got {outcome.text!r}\n")
    return 0 if total >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
