"""Where the lines of a batch go: stdout, or the `--out` file, in which a row is written whole or not at all.

The file remembers which rows it holds, so that a run can go on where another one ended. It knows lines, their row's
number and digest, and nothing of programs. Used by `cli_batch.py`.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Protocol, Self

from .cli_options import Misuse

MAX_ROWS: Final = 100_000_000  # a larger row number is not one of ours; the table of rows is as long as the largest
NOWHERE: Final = -1
HEAD: Final = re.compile(rb'\{"index":(\d+),"hash":"([0-9a-f]{16})","ok":(true|false)[,}]')


@dataclass(frozen=True, slots=True)
class Written:
    """A row that the file holds: the digest of its input, and whether it succeeded."""

    digest: str
    ok: bool


class Output(Protocol):
    """Where lines go."""

    def find(self, index: int) -> Written | None:
        """Return what is there of a row, or None."""
        ...

    def write(self, index: int, written: Written, line: str) -> None:
        """Write a row's line, which ends without a line feed."""
        ...

    def finish(self, num_rows: int | None) -> None:
        """All rows that were to be run have been written; `num_rows`: how many the input has, if that is known."""
        ...


class StreamOutput:
    """Lines on stdout, or into something else that is no file, each as soon as it is there."""

    def __init__(self, path: str | None = None) -> None:
        self._path = path

    def find(self, index: int) -> Written | None:
        """Return None: nothing can be read back."""
        return None

    def write(self, index: int, written: Written, line: str) -> None:
        """Write a line."""
        if self._path is None:
            sys.stdout.buffer.write(f"{line}\n".encode())  # JSON is UTF-8, whatever the locale
            sys.stdout.flush()
        else:
            with open(self._path, "a", encoding="utf-8") as stream:
                stream.write(line + "\n")

    def finish(self, num_rows: int | None) -> None:
        """Do nothing: the lines are out."""


class FileOutput:
    """The lines in a file: each is one write, and at the end they are put into the order of the rows.

    A line replaces an earlier one of the same row. `dropped`: bytes of a line at the end that was cut off, as when the
    machine went down, and that were removed.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path).resolve()  # a link stays a link
        self._name = path
        self.dropped = 0
        self._offsets = array("q")  # row -> where its line starts
        self._digests = array("Q")
        self._states = bytearray()  # row -> 1 if it succeeded
        self._num_lines = 0
        self._is_sorted = True
        self._last = NOWHERE
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise Misuse(f"cannot write {path}: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            raise Misuse(f"another run is writing {path}") from None
        except OSError:  # a file system without locks
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return os.fstat(self._file).st_size

    def clear(self) -> None:
        """Forget what the file holds."""
        os.ftruncate(self._file, 0)

    def load(self) -> None:
        """Read which rows the file holds; `Misuse` when its lines are not those of a batch."""
        with self._path.open("rb") as lines:
            offset = 0
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    self.dropped = len(line)
                    os.ftruncate(self._file, offset)
                    return
                if not line.isspace():
                    index, written = _head(line, f"{self._name}:{number}")
                    self._note(index, written, offset)
                offset += len(line)

    def find(self, index: int) -> Written | None:
        """Return what the file holds of a row, or None."""
        if index >= len(self._offsets) or self._offsets[index] == NOWHERE:
            return None
        return Written(f"{self._digests[index]:016x}", bool(self._states[index]))

    def write(self, index: int, written: Written, line: str) -> None:
        """Append a row's line, whole; when the disk is full the file stays as it was and `OSError` is raised."""
        offset, rest = self.size, f"{line}\n".encode()
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            os.ftruncate(self._file, offset)
            raise
        self._note(index, written, offset)

    def finish(self, num_rows: int | None) -> None:
        """Put the lines into the order of the rows, if they are not; a row that the input lacks now is left out."""
        wanted = range(len(self._offsets) if num_rows is None else min(num_rows, len(self._offsets)))
        num_wanted = sum(self._offsets[index] != NOWHERE for index in wanted)
        if self._is_sorted and num_wanted == self._num_lines:
            return
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            with self._path.open("rb") as lines, temporary.open("wb") as sorted_lines:
                for line in self._lines(lines, wanted):
                    sorted_lines.write(line)
                sorted_lines.flush()
                os.fsync(sorted_lines.fileno())
            os.chmod(temporary, self._path.stat().st_mode & 0o777)
            os.replace(temporary, self._path)
        finally:
            temporary.unlink(missing_ok=True)

    def _lines(self, lines: IO[bytes], wanted: range) -> Iterator[bytes]:
        for index in wanted:
            if self._offsets[index] != NOWHERE:
                lines.seek(self._offsets[index])
                yield lines.readline()

    def _note(self, index: int, written: Written, offset: int) -> None:
        short = index + 1 - len(self._offsets)
        if short > 0:
            self._offsets.extend([NOWHERE] * short)
            self._digests.extend([0] * short)
            self._states.extend(bytes(short))
        self._is_sorted = self._is_sorted and index > self._last
        self._last = index
        self._num_lines += 1
        self._offsets[index], self._digests[index] = offset, int(written.digest, 16)
        self._states[index] = written.ok


def _head(line: bytes, place: str) -> tuple[int, Written]:
    """Return the row's number and state; the pattern finds our own lines, JSON those that a tool has written anew."""
    if (found := HEAD.match(line)) is not None:
        return _checked(int(found[1]), place), Written(found[2].decode(), found[3] == b"true")
    try:
        facts = json.loads(line)
        index, digest, ok = facts["index"], facts["hash"], facts["ok"]
        return _checked(index, place), Written(f"{int(digest, 16):016x}", bool(ok))
    except (ValueError, KeyError, TypeError):
        raise Misuse(f"{place} is not a line of a batch; give --out another file") from None


def _checked(index: object, place: str) -> int:
    if not isinstance(index, int) or not 0 <= index < MAX_ROWS:
        raise Misuse(f"{place} has no row number; give --out another file")
    return index
