"""The baselines: transformers as a user writes it, and with the cache of the shared prefix reused by hand.

Prompts are tokenised inside the timed part, as on the other side; the answers are token ids (or the picked choices).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from workloads import LABELS, ForkTree, Generate, Select, Workload

Answer = list[list[int]] | list[int]


class TransformersSide:
    """One loaded model and tokenizer of transformers."""

    def __init__(self, folder: Path, dtype: str) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)

    def plain(self, workload: Workload) -> Answer:
        """As a user writes it: one padded batch, `use_cache` inside a call, nothing kept between calls."""
        match workload:
            case Generate():
                return self._generate(self._ids(workload.prompts), workload.num_new)
            case ForkTree():
                return self._tree(workload)
            case Select():
                return self._select(workload)

    def by_hand(self, workload: Workload) -> Answer | None:
        """With the prefix's cache computed once, copied and repeated by hand; None where nothing is shared."""
        match workload:
            case Generate(shared=0):
                return None
            case Generate():
                ids = self._ids(workload.prompts)
                cache = self._prefill(ids[:1, : workload.shared])
                cache.batch_repeat_interleave(len(ids))
                return self._generate(ids, workload.num_new, past_key_values=cache)
            case ForkTree():
                return self._tree_by_hand(workload)
            case Select():
                return self._select_by_hand(workload)

    def _ids(self, texts: tuple[str, ...] | list[str]) -> torch.Tensor:
        """(batch, tokens); the texts of a workload are equally long, so the batch needs no padding."""
        return torch.tensor(self.tokenizer(list(texts))["input_ids"])

    def _generate(self, ids: torch.Tensor, num_new: int, **options: Any) -> list[list[int]]:
        with torch.inference_mode():
            mask = torch.ones_like(ids)
            out = self.model.generate(ids, attention_mask=mask, max_new_tokens=num_new, do_sample=False, **options)
        return out[:, ids.shape[1] :].tolist()

    def _prefill(self, ids: torch.Tensor) -> Any:
        with torch.inference_mode():
            return self.model(ids, use_cache=True, logits_to_keep=1).past_key_values

    def _tree(self, work: ForkTree) -> list[list[int]]:
        labels = self._ids([*LABELS[: work.width]])  # (width, 1)
        context, answers = self._ids([work.root]), []
        for _ in range(work.depth):
            prompts = torch.cat([context.expand(work.width, -1), labels], dim=1)
            new = self._generate(prompts, work.num_new)
            answers += new
            context = torch.cat([prompts[:1], torch.tensor(new[:1])], dim=1)
        return answers

    def _tree_by_hand(self, work: ForkTree) -> list[list[int]]:
        labels = self._ids([*LABELS[: work.width]])
        context, answers = self._ids([work.root]), []
        cache = self._prefill(context)
        for _ in range(work.depth):
            prompts = torch.cat([context.expand(work.width, -1), labels], dim=1)
            cache.batch_repeat_interleave(work.width)
            new = self._generate(prompts, work.num_new, past_key_values=cache)
            answers += new
            context = torch.cat([prompts[:1], torch.tensor(new[:1])], dim=1)
            cache.batch_select_indices(torch.tensor([0]))
        return answers

    def _select(self, work: Select) -> list[int]:
        picks = []
        for question in work.questions:
            ids = self._ids([work.prefix + question + choice for choice in work.choices])
            picks.append(self._pick(ids, len(work.choices[0])))
        return picks

    def _select_by_hand(self, work: Select) -> list[int]:
        cache = self._prefill(self._ids([work.prefix]))
        cache.batch_repeat_interleave(len(work.choices))
        picks = []
        for question in work.questions:
            ids = self._ids([question + choice for choice in work.choices])
            picks.append(self._pick(ids, len(work.choices[0]), past_key_values=cache))
            cache.crop(-len(question) - len(work.choices[0]))
        return picks

    def _pick(self, ids: torch.Tensor, choice_len: int, **options: Any) -> int:
        with torch.inference_mode():
            logits = self.model(ids, **options).logits[:, -choice_len - 1 : -1].float()
            logprobs = logits.log_softmax(-1).gather(-1, ids[:, -choice_len:, None])
        return int(logprobs.mean(dim=(1, 2)).argmax())
