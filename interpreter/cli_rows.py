"""The rows of `--inputs`: JSON Lines, CSV or a JSON array, read as they are needed, and what a program gets of them.

A row that cannot be read is a row with a problem, not an end. Used by `cli_batch.py`.
"""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..lang.errors import ParameterError
from .cli_inputs import Arguments, Given
from .cli_options import Misuse
from .program import Program

STDIN = "-"


@dataclass(frozen=True, slots=True)
class InputRow:
    """One row: its number from 0, where it stands (`rows.jsonl:17`), and its fields; or the problem with it."""

    index: int
    place: str
    fields: Mapping[str, Given]
    problem: str = ""


class RowArguments:
    """Turns rows into arguments of the program; `fixed` is what every row gets that does not say otherwise."""

    def __init__(self, program: Program, fixed: Mapping[str, Given], *, ignore_unknown: bool) -> None:
        self._arguments = Arguments(program)
        self._fixed = fixed
        self._ignore_unknown = ignore_unknown

    def of(self, row: InputRow) -> dict[str, Any]:
        """Return the arguments; `ParameterError` says where and what does not fit."""
        if row.problem:
            raise ParameterError(row.problem)
        try:
            return self._arguments.convert(self._given(row))
        except ParameterError as error:
            raise ParameterError(f"{row.place}: {error}") from None

    def unknown(self, row: InputRow) -> list[str]:
        """Return the fields of a row that are no arguments of the program."""
        return [name for name in row.fields if not self._arguments.knows(name)]

    def digest(self, row: InputRow) -> str:
        """Return 16 hexadecimal digits that change with what the row puts into the program."""
        content = {name: [item.value, item.is_text] for name, item in self._given(row).items()}
        text = json.dumps([content, row.problem], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _given(self, row: InputRow) -> dict[str, Given]:
        fields = row.fields
        if self._ignore_unknown:
            fields = {name: item for name, item in fields.items() if self._arguments.knows(name)}
        return {**self._fixed, **fields}


def read_rows(source: str) -> Iterator[InputRow]:
    """Yield the rows of a file (.csv, .tsv, .json by its name; JSON Lines else) or of stdin (`-`).

    JSON Lines and CSV are read as far as they are asked for; an array is read whole.
    """
    if source == STDIN:
        return _json_lines(sys.stdin.buffer, "stdin")
    if not Path(source).exists():
        raise Misuse(f"there is no file {source}")
    if Path(source).is_dir():
        raise Misuse(f"{source} is a folder; --inputs takes a file of rows")
    match Path(source).suffix.lower():
        case ".csv":
            return _table(source, ",")
        case ".tsv":
            return _table(source, "\t")
        case ".json":
            return _json_array(source)
        case _:
            return _json_file(source)


def count_rows(source: str) -> int | None:
    """Return how many rows a file has, without keeping any; None where looking would use them up."""
    path = Path(source)
    if not path.is_file():  # stdin, or a pipe
        return None
    if path.suffix.lower() in (".csv", ".tsv", ".json"):
        return sum(1 for _ in read_rows(source))
    with path.open("rb") as file:
        return sum(1 for line in file if not line.isspace())


def _json_file(source: str) -> Iterator[InputRow]:
    with open(source, "rb") as file:
        yield from _json_lines(file, source)


def _json_lines(lines: Iterable[bytes], name: str) -> Iterator[InputRow]:
    index = 0
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        place = f"{name}:{number}"
        try:
            value = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are both
            yield InputRow(index, place, {}, f"{place} is not JSON: {error}")
        else:
            yield _row(index, place, value)
        index += 1


def _json_array(source: str) -> Iterator[InputRow]:
    try:
        values = json.loads(Path(source).read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise Misuse(f"{source} is not JSON: {error}") from error
    if not isinstance(values, list):
        raise Misuse(f"{source} must hold an array of objects, one a row; name it .jsonl for JSON Lines")
    for index, value in enumerate(values):
        yield _row(index, f"{source}[{index}]", value)


def _row(index: int, place: str, value: Any) -> InputRow:
    if not isinstance(value, dict):
        return InputRow(index, place, {}, f"{place} is not an object of argument names and values")
    return InputRow(index, place, {name: Given(item, is_text=False) for name, item in value.items()})


def _table(source: str, delimiter: str) -> Iterator[InputRow]:
    csv.field_size_limit(sys.maxsize)  # a document is a field, too
    with open(source, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter=delimiter)
        try:
            for index, record in enumerate(reader):
                place = f"{source}:{reader.line_num}"
                if None in record or None in record.values():
                    yield InputRow(index, place, {}, f"{place} has not as many fields as the first line has names")
                else:
                    yield InputRow(index, place, {name: Given(text, is_text=True) for name, text in record.items()})
        except (UnicodeDecodeError, csv.Error) as error:
            raise Misuse(f"{source}:{reader.line_num}: {error}") from error
