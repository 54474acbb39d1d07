"""`DfaProcesses`: byte automata of regexes, built by helper processes that end when their time or memory is up.

Patterns are already in Rust's dialect. Knows nothing of tokens. Called by the outlines plugin, from several threads.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import IO, Any

import numpy as np

from ....lang.errors import ConstraintError, PluginError
from .automaton import ByteAutomaton, from_rows
from .helper_processes import HelperProcesses, read_line

MAX_STATES = 30_000  # 31 MB while the table is built; `.{0,500}` takes 9,502


class DfaProcesses:
    """Processes in which outlines-core determinises; one serves one regex at a time."""

    def __init__(self) -> None:
        specification = importlib.util.find_spec("outlines_core")
        if specification is None or specification.origin is None:
            raise PluginError("the grammar plugin 'outlines' needs outlines-core: pip install outlines-core")
        folder = str(Path(specification.origin).parent.parent)
        self._processes = HelperProcesses(Path(__file__).with_name("dfa_process.py"), [folder], noun="regex")

    def build(self, pattern: str, *, timeout: float) -> ByteAutomaton:
        """Return the automaton of `pattern`; `ConstraintError` when it is refused or takes too long or too much."""
        header, arrays = self._processes.ask(pattern, _read_answer, timeout=timeout)
        if "error" in header:
            raise ConstraintError(f"the regex cannot be compiled: {header['error']}")
        if header["states"] > MAX_STATES:
            raise ConstraintError(f"the regex takes {header['states']} states; at most {MAX_STATES} are allowed")
        return _automaton(header, arrays)

    def close(self) -> None:
        """End every process; a compile that is under way fails."""
        self._processes.close()


def _read_answer(stream: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    """Return the header and the arrays; `EOFError` when the process ended before."""
    header: dict[str, Any] = read_line(stream)
    if "error" in header:
        return header, b""
    num_bytes = 4 * (3 * header["states"] + 2 * header["transitions"])
    arrays = stream.read(num_bytes)
    if len(arrays) < num_bytes:
        raise EOFError
    return header, arrays


def _automaton(header: dict[str, Any], arrays: bytes) -> ByteAutomaton:
    """Renumber the library's states to 1, 2, ... and fill the table."""
    num_states = header["states"]
    columns = np.frombuffer(arrays, dtype=np.int32)
    states, counts, flags = columns[: 3 * num_states].reshape(3, num_states)
    labels, targets = columns[3 * num_states :].reshape(2, header["transitions"])
    order = np.argsort(states)
    numbers = np.empty(num_states, dtype=np.int32)  # position in `order` -> new number
    numbers[order] = np.arange(1, num_states + 1, dtype=np.int32)
    sorted_states = states[order]

    def renumbered(old: Any) -> Any:
        return np.searchsorted(sorted_states, old).astype(np.int32) + 1

    rows = np.zeros((num_states + 1, 256), dtype=np.int32)
    is_byte = labels < 256
    sources = np.repeat(numbers, counts)
    rows[sources[is_byte], labels[is_byte]] = renumbered(targets[is_byte])
    accepting = np.zeros(num_states + 1, dtype=np.bool_)
    accepting[numbers] = flags != 0
    return from_rows(rows, accepting, int(renumbered(header["start"])))
