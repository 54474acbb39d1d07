"""`Detokenizer`: the text of one sequence as it grows, cut where a stop string or pattern says.

Implements `OutputText` of `req.py`; knows nothing of batches or models. Made by the front, pushed to by the scheduler.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ...lang.sampling import Sampling
from ..api import Finish
from .stop_text import StopMatch, StopScanner
from .text_decoder import TextDecoder
from .vocabulary import Vocabulary

_NOT_WHOLE = -1

MayEnd = Callable[[int, str], bool]
"""Whether the text may end without its last so many tokens, but with so much text after those that stay."""


class Detokenizer:
    """Text of one output. The cost of a token is constant but for stop patterns, which search a bounded window.

    Text that may still become a stop is held back and never sent. A stop counts when it is completed by output token
    number `min_tokens` or a later one, and only where `may_end` (of a constraint) agrees that the text before it is
    whole. `at_start`: see `TextDecoder`.

    >>> vocabulary = Vocabulary((b"Hel", b"lo.", b" End"))
    >>> text = Detokenizer(vocabulary, Sampling(stop=("o.",)), at_start=True)
    >>> text.push(0), text.take(), text.push(1), text.take()
    (None, 'Hel', Finish(reason='stop', matched='o.', num_kept=1, tail='l'), 'l')
    """

    def __init__(
        self, vocabulary: Vocabulary, sampling: Sampling, *, at_start: bool, may_end: MayEnd | None = None
    ) -> None:
        self._may_end = may_end
        self._decoder = TextDecoder(vocabulary, at_start=at_start)
        self._scanner = (
            StopScanner(sampling.stop, sampling.stop_regex) if sampling.stop or sampling.stop_regex else None
        )
        self._min_tokens = sampling.min_tokens
        self._num_tokens = 0
        self._is_healed = False  # its first token belongs to the prompt in part, so no token can be reused
        self._ready: list[str] = []
        self._sent_len = 0  # characters in `_ready` so far, taken or not; used with a scanner only
        self._whole_len = 0  # text length after the last token that ended a character
        self._ends: list[int] = []  # text length after each token, or `_NOT_WHOLE` inside a character

    def skip(self, num_bytes: int) -> None:
        """The next token begins with so many bytes of the prompt, which are no part of the text."""
        self._is_healed = True
        self._decoder.skip(num_bytes)

    def push(self, token_id: int) -> Finish | None:
        """Add one output token; a `Finish` when a stop string or pattern ended the text."""
        self._num_tokens += 1
        text = self._decoder.push(token_id)
        if self._scanner is None:
            if text:
                self._ready.append(text)
            return None
        return self._scan(self._scanner, text)

    def end(self, finish: Finish) -> Finish:
        """Flush held-back text for a sequence that ends for another reason; fills `num_kept` and `tail`.

        The token that ended it, if one did, must not have been pushed. A stop found in the flushed text wins.
        """
        text = self._decoder.flush()
        if self._scanner is None:
            self._ready.append(text)
        else:
            stopped = self._scan(self._scanner, text, is_token=False)
            if stopped is not None:
                return stopped
            self._release(self._scanner, self._scanner.text_len)
        return replace(finish, num_kept=0 if self._is_healed else self._num_tokens, tail="")

    def take(self) -> str:
        """Return the text that became safe to send since the last call."""
        text = "".join(self._ready)
        self._ready.clear()
        return text

    def _scan(self, scanner: StopScanner, text: str, *, is_token: bool = True) -> Finish | None:
        match = scanner.feed(text, keep_from=self._whole_len, may_stop=self._may_stop) if text else None
        if is_token:
            self._ends.append(scanner.text_len if self._decoder.is_whole else _NOT_WHOLE)
            self._whole_len = max(self._whole_len, self._ends[-1])
        self._release(scanner, scanner.safe_len)
        if match is None:
            return None
        return Finish("stop", match.matched, *((0, "") if self._is_healed else self._cut(scanner, match)))

    def _release(self, scanner: StopScanner, end: int) -> None:
        if end > self._sent_len:
            self._ready.append(scanner.text(self._sent_len, end))
            self._sent_len = end

    def _may_stop(self, match: StopMatch) -> bool:
        if self._num_tokens < self._min_tokens:
            return False
        if self._may_end is None:
            return True
        assert self._scanner is not None
        num_kept, tail = self._cut(self._scanner, match)
        return self._may_end(self._num_tokens - num_kept, tail)

    def _cut(self, scanner: StopScanner, match: StopMatch) -> tuple[int, str]:
        """Where the text ends at `match.start`: how many tokens lie wholly before it, and the text after these."""
        num_kept = len(self._ends)
        while num_kept and not 0 <= self._ends[num_kept - 1] <= match.start:
            num_kept -= 1
        kept_len = self._ends[num_kept - 1] if num_kept else 0
        return num_kept, scanner.text(kept_len, match.start)
