"""`TextDecoder`: token ids in, whole characters out, one token at a time.

Follows what the tokenizer's own decoder does to the whole sequence; knows nothing of stops or requests. Used by the
detokenizer, one for each sequence.
"""

from __future__ import annotations

import codecs

from .vocabulary import Vocabulary

_new_utf8_decoder = codecs.getincrementaldecoder("utf-8")


class TextDecoder:
    """Decodes one sequence. All text that `push` and `flush` return, joined, is the decoding of all ids.

    Special tokens are invisible. A character whose bytes come in several tokens appears when its last byte does; bytes
    that are no character become U+FFFD. A run of SentencePiece's byte tokens appears when it ends, because one bad byte
    turns the whole run into U+FFFD. `at_start`: no text stands before the first token, so a leading space goes the way
    the tokenizer's decoder has it; otherwise it separates words and stays.
    """

    __slots__ = ("_at_start", "_run", "_skipped", "_utf8", "_vocabulary")

    def __init__(self, vocabulary: Vocabulary, *, at_start: bool) -> None:
        self._vocabulary = vocabulary
        self._at_start = at_start and vocabulary.leading_space != "keep"
        self._utf8 = _new_utf8_decoder("replace")
        self._run = bytearray()
        self._skipped = 0

    @property
    def is_whole(self) -> bool:
        """True when no byte waits for a later token."""
        return not self._run and not self._utf8.getstate()[0]

    def skip(self, num_bytes: int) -> None:
        """Leave out so many bytes of the next token."""
        self._skipped = num_bytes

    def push(self, token_id: int) -> str:
        """Return the characters that this token completes."""
        vocabulary = self._vocabulary
        if token_id in vocabulary.special_ids:
            return ""
        data = vocabulary.token_bytes[token_id]
        if self._skipped:
            data, self._skipped = data[self._skipped :], 0
        if token_id in vocabulary.byte_fallback_ids:
            self._run += data
            return ""
        if self._at_start or self._run:
            return self._after_run(data)
        return self._utf8.decode(data)

    def flush(self) -> str:
        """Return what the waiting bytes become when no token follows."""
        return self._end_run() + self._utf8.decode(b"", True)

    def _after_run(self, data: bytes) -> str:
        text = self._end_run()
        if self._at_start:
            strip_all = self._vocabulary.leading_space == "strip-first-token"
            if strip_all:
                data = data.replace(b" ", b"")
            elif data.startswith(b" "):
                data = data[1:]
            self._at_start = not (strip_all or data)
        return text + self._utf8.decode(data)

    def _end_run(self) -> str:
        """Decode the waiting run of byte tokens: as a whole, or one U+FFFD for each byte."""
        if not self._run:
            return ""
        try:
            text = self._run.decode("utf-8")
        except UnicodeDecodeError:
            text = "\N{REPLACEMENT CHARACTER}" * len(self._run)
        self._run.clear()
        if self._at_start:
            self._at_start = False
            text = text[1:] if text.startswith(" ") and self._vocabulary.leading_space == "strip-one" else text
        return text
