"""One fake answer as a model would have given it: cut by limits and stops, in tokens, with made-up log-probabilities.

Pure functions and facts; knows nothing of scripts or streams. Called by `fake.py`.
"""

from __future__ import annotations

import bisect
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

from ..lang.sampling import Sampling
from .api import Chunk, Finish, TokenLogprob, Usage
from .fake_text import EOS_ID, token_id


@dataclass(frozen=True, slots=True)
class Sample:
    """One finished answer: its tokens' text and ids (these with end-of-sequence), the kept text, why it ended."""

    tokens: tuple[str, ...]
    ids: tuple[int, ...]
    text: str
    finish: Finish


def cut(tokens: Sequence[str], sampling: Sampling) -> Sample:
    """Return what is left of an answer after the stops, `max_tokens` and, if it ends before them, end-of-sequence."""
    text = ""
    for count, token in enumerate(tokens[: sampling.max_tokens], 1):
        before, text = text, text + token
        if count < sampling.min_tokens:
            continue
        found = _find_stop(before, text, token_id(token), sampling)
        if found is not None:
            start, matched = found
            return _finished(tokens[:count], text[:start], matched)
    if len(tokens) < sampling.max_tokens and not sampling.ignore_eos:
        sample = _finished(tokens, text, EOS_ID)
        return Sample(sample.tokens, (*sample.ids, EOS_ID), text, sample.finish)
    kept = tuple(tokens[: sampling.max_tokens])
    return Sample(kept, tuple(map(token_id, kept)), text, Finish("length", None, len(kept)))


def _find_stop(before: str, text: str, last_id: int, sampling: Sampling) -> tuple[int, str | int] | None:
    """Return where the text must be cut and what matched, if the last token completed a stop; the earliest wins."""
    if last_id in sampling.stop_token_ids:
        return len(before), last_id
    found: list[tuple[int, str | int]] = []
    for stop in sampling.stop:
        start = text.find(stop, max(0, len(before) - len(stop) + 1))
        if start >= 0:
            found.append((start, stop))
    for pattern in sampling.stop_regex:
        starts = (m.start() for m in re.finditer(pattern, text) if m.end() > len(before))
        found.extend((start, pattern) for start in starts)
    return min(found, key=lambda pair: pair[0]) if found else None


def _finished(tokens: Sequence[str], text: str, matched: str | int) -> Sample:
    """Return the sample that stopped; counts the tokens that lie wholly in the kept `text`."""
    num_kept = kept_len = 0
    for token in tokens:
        if kept_len + len(token) > len(text):
            break
        kept_len += len(token)
        num_kept += 1
    finish = Finish("stop", matched, num_kept, text[kept_len:])
    return Sample(tuple(tokens), tuple(map(token_id, tokens)), text, finish)


def pieces(sample: Sample, *, index: int, piece_len: int, usage: Usage, logprobs: Logprobs) -> Iterator[Chunk]:
    """Yield the chunks of one sample, `piece_len` tokens each; the last one carries finish and usage."""
    shown = 0
    starts = range(0, max(1, len(sample.ids)), piece_len)
    for start in starts:
        tokens, ids = sample.tokens[start : start + piece_len], sample.ids[start : start + piece_len]
        last = start == starts[-1]
        text = sample.text[shown:] if last else sample.text[shown : shown + sum(map(len, tokens))]
        shown += len(text)
        yield Chunk(
            index=index,
            text=text,
            token_ids=ids,
            logprobs=logprobs.of_output(ids, tokens, start),
            prompt_logprobs=logprobs.of_prompt() if index == start == 0 else (),
            finish=sample.finish if last else None,
            usage=usage if last else None,
        )


@dataclass(frozen=True, slots=True)
class Logprobs:
    """Made-up log-probabilities for one request: each in (-1, 0), a function of seed, prompt, position and token."""

    seed: int
    prompt: str
    prompt_ids: tuple[int, ...]
    sampling: Sampling

    def of_output(self, ids: Sequence[int], tokens: Sequence[str], start: int) -> tuple[TokenLogprob, ...]:
        """Return those of the output tokens from position `start` on, or nothing when not asked for."""
        count = self.sampling.logprobs
        if count is None:
            return ()
        texts = [*tokens, *[""] * (len(ids) - len(tokens))]  # end-of-sequence has no text
        return tuple(
            self._one(f"{self.prompt}/{start + i}", token, text, count)
            for i, (token, text) in enumerate(zip(ids, texts, strict=True))
        )

    def of_prompt(self) -> tuple[TokenLogprob, ...]:
        """Return those of the prompt from `logprob_start` on, or nothing when not asked for."""
        count, first, ids = self.sampling.prompt_logprobs, self.sampling.logprob_start, self.prompt_ids
        if count is None:
            return ()
        return tuple(
            self._one(f"prompt/{i}", ids[i], "", count) if i else TokenLogprob(ids[0], None, "")
            for i in range(first, len(ids))
        )

    def _one(self, context: str, token: int, text: str, count: int) -> TokenLogprob:
        logprob = -unit(self.seed, context, str(token))
        others = (((token + step) % EOS_ID, logprob - step) for step in range(1, count))
        return TokenLogprob(token, logprob, text, ((token, logprob), *others)[:count])


def unit(seed: int, *facts: str) -> float:
    """Return a number in (0, 1) that depends on `seed` and `facts` only."""
    digest = hashlib.blake2b("\0".join((str(seed), *facts)).encode(), digest_size=7).digest()
    return (int.from_bytes(digest, "big") + 1) / (2**56 + 1)


class PrefixMemory:
    """What an unlimited prefix cache would hold: all (salt, ids) seen, sorted: the best match is a neighbour."""

    def __init__(self) -> None:
        self._seen: list[tuple[str, tuple[int, ...]]] = []

    def add(self, salt: str, ids: tuple[int, ...]) -> None:
        """Remember `ids` under `salt`."""
        bisect.insort(self._seen, (salt, ids))

    def match(self, salt: str, ids: tuple[int, ...]) -> int:
        """Return the length of the longest prefix of `ids`, but for its last token, that was seen under `salt`."""
        place = bisect.bisect_left(self._seen, (salt, ids))
        neighbours = [seen for other, seen in self._seen[max(0, place - 1) : place + 1] if other == salt]
        return min(max((_common_len(ids, seen) for seen in neighbours), default=0), len(ids) - 1)


def _common_len(left: Sequence[int], right: Sequence[int]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False)))
