"""Reads a script into its syntax tree, line by line: text with holes, directives, and blocks matched by a stack.

A line that cannot be read is reported and the next one is read as if nothing had happened. Work is linear in the size
of the text. Called by `check` and everything that needs a tree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from .diagnostics import Report, closest
from .line_parser import parse_directive, parse_hole
from .source import Source, Span
from .syntax import (
    Arm,
    Blank,
    Broken,
    Comment,
    Header,
    Hole,
    If,
    Item,
    Line,
    Repeat,
    Role,
    Script,
    TypeDefinition,
)

MAX_BYTES = 256 * 1024
MAX_NESTING = 32
MAX_HOLE = 8_192  # characters between `{{` and `}}`
MAX_PARTS = 10_000  # directives and holes: each is parsed, and most become nodes

ROLES = ("system", "user", "assistant")
DIRECTIVES = ("program", "type", *ROLES, "set", "if", "elif", "else", "for", "fork", "return", "end")
BLOCKS = ("if", "for", "fork")
FOREIGN = {
    "tool": "the roles are @system, @user and @assistant",
    "while": "every loop is bounded: write @for i in range(n)",
    "repeat": "every loop is bounded: write @for i in range(n)",
    "loop": "every loop is bounded: write @for i in range(n)",
    "foreach": "write @for item in items",
    "elseif": "write @elif",
    "elsif": "write @elif",
    "let": "write @set name = value",
    "input": "inputs stand in the parentheses of @program",
    "gen": "write {{gen name}} in the text",
    "select": "write {{select name from choices}} in the text",
    "include": "a script does not include other files",
    "use": "a script does not include other files",
    "import": "a script does not include other files",
    "break": "a loop goes through all its items; put what may be left out into @if",
}
OPENS_BLOCK = ("while", "repeat", "loop", "foreach")

WORD = re.compile(r"@([A-Za-z_][A-Za-z0-9_]*)?")
NAME_AFTER = re.compile(r"@[a-z]+\s+([A-Za-z_][A-Za-z0-9_]*)")
PARAMETER = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\s*:")
RESULT_NAME = re.compile(r"\bas\s+([A-Za-z_][A-Za-z0-9_]*)")
ESCAPE_OR_HOLE = re.compile(r"\\(\{\{|[@\\n])|\{\{")
HOLE_PART = re.compile(r'"(?:\\.|[^"\\])*"|/(?:\\.|[^/\\])+/|[{}]|[^"/{}]+|["/]')


def read(source: Source, report: Report) -> Script:
    """Return the tree of a script; what is wrong with its form is reported."""
    size = len(source.text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        report.error("E060", Span(0, 1), f"the script has {size:,} bytes; at most {MAX_BYTES:,} are allowed")
        return Script(source, (), is_whole=False)
    return _Reader(source, report).read()


@dataclass(slots=True)
class _Block:
    """A block that is still open. `head` is its opening line as read; `arms` are those of an `@if` that are closed."""

    word: str
    span: Span
    head: Arm | Repeat | Broken
    items: list[Item] = field(default_factory=list)
    arms: list[Arm] = field(default_factory=list)
    has_else: bool = False

    def close_arm(self) -> None:
        """Put what was collected into the arm it belongs to."""
        if isinstance(self.head, Arm):
            self.arms.append(replace(self.head, body=tuple(self.items)))
        else:
            self.arms.append(Arm(self.span, None, (self.head, *self.items)))
        self.items = []

    def finished(self) -> If | Repeat | tuple[Item, ...]:
        """Return the whole block; the mere lines of one whose opening line could not be read."""
        match self.head:
            case Repeat():
                return replace(self.head, body=tuple(self.items))
            case Broken() if not self.arms:
                return (self.head, *self.items)
        self.close_arm()
        return If(self.span, tuple(self.arms))


class _Reader:
    def __init__(self, source: Source, report: Report) -> None:
        self.source = source
        self.report = report
        self.items: list[Item] = []
        self.blocks: list[_Block] = []
        self.num_parts = 0
        self.has_header = False
        self.is_whole = True

    def read(self) -> Script:
        for number, text in enumerate(self.source.lines()):
            if self.report.is_full or not self._has_room():
                self.is_whole = False
                break
            self._line(text, self.source.starts[number])
        self.is_whole = self._has_room() and self.is_whole
        if self.is_whole:
            for block in self.blocks:
                hint = "write @end where the block ends"
                self.report.error("E003", _word_span(block.span, block.word), f"'@{block.word}' is never closed", hint)
            if not self.has_header:
                self._missing_header(Span(0, 1))
        is_closed = not self.blocks
        while self.blocks:
            self._close()
        return Script(self.source, tuple(self.items), self.is_whole, is_closed)

    def _has_room(self) -> bool:
        if self.num_parts <= MAX_PARTS:
            return True
        message = f"the script has more than {MAX_PARTS:,} directives and holes"
        self.report.error("E062", Span(0, 1), message, "split it into several scripts")
        return False

    def _line(self, text: str, start: int) -> None:
        indent = text[: len(text) - len(text.lstrip(" \t"))]
        body, at = text[len(indent) :], start + len(indent)
        if not body.strip():
            self._add(Blank(Span(start, start + len(text))))
        elif body.startswith("@#"):
            self._add(Comment(Span(at, at + len(body)), body[2:].strip()))
        elif body.startswith("@") and not body.startswith("@@"):
            self.num_parts += 1
            self._directive(body, at)
        else:
            if not self.has_header:
                self._missing_header(Span(at, at + 1))
            skip = 1 if body.startswith("@@") else 0  # the second one is the text's
            joins = (len(body) - len(body.rstrip("\\"))) % 2 == 1
            pieces = tuple(self._pieces(body[skip : len(body) - joins], at + skip))
            self._add(Line(Span(at, at + len(body)), indent, pieces, joins))

    def _add(self, item: Item) -> None:
        (self.blocks[-1].items if self.blocks else self.items).append(item)

    # ---- text ------------------------------------------------------------------------------------------------------

    def _pieces(self, text: str, start: int) -> Iterator[str | Hole]:
        """Yield the texts and holes of a line."""
        literal, at = "", 0
        while found := ESCAPE_OR_HOLE.search(text, at):
            literal += text[at : found.start()]
            at = found.end()
            if found[1] is not None:
                literal += "\n" if found[1] == "n" else found[1]
                continue
            end = _end_of_hole(text, at)
            self.num_parts += 1
            if end is None or self.report.is_full or self.num_parts > MAX_PARTS:
                if end is None:
                    span = Span(start + found.start(), start + found.end())
                    hint = r"close it with '}}' on the same line; write \{{ for text"
                    self.report.error("E005", span, "the hole is never closed", hint)
                yield Broken(Span(start + found.start(), start + len(text)))
                return
            if literal:
                yield literal
            literal = ""
            yield parse_hole(self.report, text[at:end], start + at)
            at = end + 2
        literal += text[at:]
        if literal:
            yield literal

    # ---- directives ------------------------------------------------------------------------------------------------

    def _directive(self, text: str, start: int) -> None:
        found = WORD.match(text)
        word = (found[1] if found else None) or ""
        span = Span(start, start + 1 + len(word))
        if word not in DIRECTIVES:
            self._unknown(word, span)
            return
        if not self.has_header and word != "program":
            self._missing_header(span)
        if word == "program" and self.has_header:
            what = "is given a second time" if self.is_whole else "comes too late"
            self.report.error("E002", span, f"'@program' {what}", "it is the first line of a script, and only that")
            return
        made = parse_directive(self.report, text, start)
        if isinstance(made, Broken):
            made = replace(made, names=tuple(_names_in(word, text)))
        match made:
            case _ if word == "program":
                self.has_header = True
                self._add(made if isinstance(made, Header | Broken) else Broken(span))
            case _ if word in BLOCKS:
                assert isinstance(made, Arm | Repeat | Broken)
                self._open(word, made, span)
            case _ if word in ("elif", "else"):
                assert isinstance(made, Arm | Broken)
                self._turn(word, made, span)
            case _ if word == "end":
                self._end(span)
            case TypeDefinition() if self.blocks:
                self.report.error("E002", span, "'@type' stands inside a block", "define types before the text")
            case Arm() | Repeat() | None:
                raise AssertionError(f"{word} is a block")
            case _:
                self._add(made)

    def _unknown(self, word: str, span: Span) -> None:
        meant = "end" if word.startswith("end") else closest(word, DIRECTIVES)
        hint = r"write \@ where a line of text begins with @" if meant is None else f"did you mean '@{meant}'?"
        if word.startswith("end"):
            hint = "every block ends with '@end'"
        self.report.error("E001", span, f"unknown directive '@{word}'", FOREIGN.get(word, hint))
        if meant in BLOCKS or word in OPENS_BLOCK:
            self._open(word, Broken(span), span)
        elif meant == "end":
            self._end(span)
        elif meant is not None and meant in ROLES:
            self._add(Role(span, meant))
        elif meant == "program":
            self.has_header, self.is_whole = True, False
        elif meant in ("type", "set") or word == "let":
            self._add(Broken(span, tuple(_names_in("set", self.source.text[span.start : span.end + 200]))))

    def _open(self, word: str, head: Arm | Repeat | Broken, span: Span) -> None:
        if len(self.blocks) == MAX_NESTING:
            self.report.error("E061", span, f"blocks are nested more than {MAX_NESTING} deep")
        self.blocks.append(_Block(word, span, head))

    def _turn(self, word: str, head: Arm | Broken, span: Span) -> None:
        """Begin the next arm of the block."""
        block = self.blocks[-1] if self.blocks else None
        if block is None or block.word in ("for", "fork"):
            self.report.error("E002", span, f"'@{word}' outside of @if", self._open_block_hint())
            return
        if block.has_else:
            self.report.error("E002", span, f"'@{word}' after @else", "@else is the last arm of an @if")
        block.close_arm()
        block.head, block.has_else = head, block.has_else or word == "else"

    def _end(self, span: Span) -> None:
        if not self.blocks:
            self.report.error("E002", span, "'@end' closes nothing", "every block above is closed already")
            return
        self._close()

    def _close(self) -> None:
        block = self.blocks.pop()
        if len(self.blocks) >= MAX_NESTING:
            return  # reported; what is nested deeper is not looked at
        made = block.finished()
        for item in made if isinstance(made, tuple) else (made,):
            self._add(item)

    def _open_block_hint(self) -> str | None:
        if not self.blocks:
            return None
        line, _ = self.source.position(self.blocks[-1].span.start)
        return f"the innermost open block is the '@{self.blocks[-1].word}' of line {line}"

    def _missing_header(self, span: Span) -> None:
        hint = "write '@program name(input: type, ...)' first"
        self.report.error("E006", span, "the script does not begin with @program", hint)
        self.has_header, self.is_whole = True, False


def _end_of_hole(text: str, at: int) -> int | None:
    """Return where the `}}` of a hole stands whose inside begins at `at`; texts, patterns and records are skipped."""
    depth, position, limit = 0, at, at + MAX_HOLE
    while position < limit and (found := HOLE_PART.match(text, position, limit)):
        if found[0] == "{":
            depth += 1
        elif found[0] == "}" and depth:
            depth -= 1
        elif found[0] == "}" and text.startswith("}}", position):
            return position
        position = found.end()
    plain = text.find("}}", at, limit)  # something inside is not closed; parsing will say what
    return None if plain < 0 else plain


def _names_in(word: str, text: str) -> Iterator[str]:
    """Yield the names that a directive would have defined, had it been readable."""
    line = text.partition("\n")[0]
    if word == "program":
        yield from PARAMETER.findall(line)
    elif word == "fork":
        yield from RESULT_NAME.findall(line)
    if word in ("type", "set", "for", "fork") and (found := NAME_AFTER.match(line)):
        yield found[1]


def _word_span(span: Span, word: str) -> Span:
    return Span(span.start, span.start + 1 + len(word))
