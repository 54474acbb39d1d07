"""The prompt of one branch: messages and raw text as they were written, and the pieces that have been sent.

Markup is worked out when it is needed, so a prompt that is sent for the first time is exactly what the model's template
makes of the messages; what was sent once never changes. Owned by one `Chain`; knows no backend.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ..backend.api import Markup, Piece, Text, prompt_text
from .chat import ChatFormat, Layout


@dataclass(slots=True)
class _Block:
    """A message (`role`), or raw text outside messages (None). `closed`: nothing more can be written into it."""

    role: str | None
    pieces: list[Piece] = field(default_factory=list)
    closed: bool = False

    def copy(self) -> _Block:
        return _Block(self.role, list(self.pieces), self.closed)


@dataclass(frozen=True, slots=True)
class _Sent:
    """How far the prompt has been sent: `pieces`, which end inside block `block`, after `count` of its pieces.

    `trim_right`: the template trims that block's end. `closing`: markup sent after the last message's content.
    """

    pieces: tuple[Piece, ...] = ()
    block: int = -1
    count: int = 0
    trim_right: bool = False
    closing: str = ""


class Conversation:
    """One growing prompt."""

    def __init__(self, chat: ChatFormat) -> None:
        self._chat = chat
        self._blocks: list[_Block] = []
        self._sent = _Sent()
        self._written: list[str] = []

    def copy(self) -> Conversation:
        """Return an independent copy, for a branch."""
        copy = Conversation(self._chat)
        copy._blocks = [block.copy() for block in self._blocks]
        copy._sent = self._sent
        copy._written = list(self._written)
        return copy

    def begin(self, role: str) -> None:
        """Open a message."""
        self._blocks.append(_Block(role))

    def end(self) -> None:
        """Close the open message."""
        self._blocks[-1].closed = True

    def write(self, text: str) -> None:
        """Append text to the open message, or as raw text."""
        block = self._open_block()
        self._written.append(text)
        pieces = block.pieces
        is_sent = len(self._blocks) - 1 == self._sent.block and len(pieces) <= self._sent.count
        if pieces and not is_sent and isinstance(pieces[-1], Text):
            pieces[-1] = Text(pieces[-1].text + text)
        elif text:
            pieces.append(Text(text))

    def write_piece(self, piece: Piece) -> None:
        """Append one piece to the open message as it is, or outside messages."""
        self._open_block().pieces.append(piece)
        self._written.append(piece.text)

    def write_answer(self, pieces: Sequence[Piece]) -> None:
        """Append what was generated at the end of the prompt that was sent last; it stays as it is."""
        block = self._blocks[-1]
        assert self._sent.block == len(self._blocks) - 1 and self._sent.count == len(block.pieces)
        self._written.extend(piece.text for piece in pieces)
        block.pieces.extend(pieces)
        self._sent = replace(self._sent, pieces=(*self._sent.pieces, *pieces), count=len(block.pieces))

    @property
    def mark(self) -> int:
        """The present end of what was written, for `since`."""
        return len(self._written)

    def since(self, mark: int) -> str:
        """Return the text written after `mark`, without markup."""
        return "".join(self._written[mark:])

    def send(self) -> tuple[Piece, ...]:
        """Return the prompt for a request at this point; it is fixed from now on."""
        self._open_block()
        self._sent = self._build()
        return self._sent.pieces

    @property
    def sent_text(self) -> str:
        """The text of what was sent so far."""
        return prompt_text(self._sent.pieces)

    def text(self) -> str:
        """Return the whole text, markup included, closed as the template closes it."""
        return prompt_text(self._build().pieces)

    def messages(self) -> list[dict[str, str]]:
        """Return the messages as `{"role": ..., "content": ...}`; raw text outside roles is not among them."""
        return [
            {"role": block.role, "content": prompt_text(tuple(block.pieces))}
            for block in self._blocks
            if block.role is not None
        ]

    def _open_block(self) -> _Block:
        if not self._blocks or self._blocks[-1].closed:
            self._blocks.append(_Block(None))
        return self._blocks[-1]

    def _build(self) -> _Sent:
        """Return what would be sent if everything written so far were sent now."""
        sent = self._sent
        out = list(sent.pieces)
        roles = [block.role for block in self._blocks if block.role is not None]
        num_sent = sum(block.role is not None for block in self._blocks[: sent.block + 1])
        layout = self._layout(roles, num_sent)
        closing, trim_right, message = sent.closing, sent.trim_right, num_sent
        for index in range(max(sent.block, 0), len(self._blocks)):
            block = self._blocks[index]
            skip = sent.count if index == sent.block else 0
            trim_left = False
            if index != sent.block and block.role is not None:
                opening = layout.openings[message - num_sent]
                message += 1
                markup, closing = opening.markup.removeprefix(closing), ""
                trim_left, trim_right = opening.trim_left, opening.trim_right
                out.append(Markup(markup))
            elif index != sent.block and message:
                closing = self._chat.layout(tuple(roles[:message]), start=min(num_sent, message)).tail
                trim_right = False
                out.append(Markup(closing))
            out.extend(_trimmed(block.pieces[skip:], left=trim_left, right=trim_right and block.closed))
        last = self._blocks[-1] if self._blocks else None
        if last is not None and last.role is not None and last.closed:
            out.append(Markup(layout.tail))
        count = len(last.pieces) if last is not None else 0
        return _Sent(tuple(piece for piece in out if piece.text), len(self._blocks) - 1, count, trim_right, closing)

    def _layout(self, roles: list[str], num_sent: int) -> Layout:
        last = self._blocks[-1] if self._blocks else None
        is_open = last is not None and last.role is not None and not last.closed
        if not roles or (is_open and num_sent == len(roles)):
            return Layout((), "")
        return self._chat.layout(tuple(roles), start=num_sent, is_open=is_open)


def _trimmed(pieces: list[Piece], *, left: bool, right: bool) -> list[Piece]:
    """Return the pieces with white space removed from ends that are plain text, as the template would."""
    pieces = list(pieces)
    if left and pieces and isinstance(pieces[0], Text):
        pieces[0] = replace(pieces[0], text=pieces[0].text.lstrip())
    if right and pieces and isinstance(pieces[-1], Text):
        pieces[-1] = replace(pieces[-1], text=pieces[-1].text.rstrip())
    return pieces
