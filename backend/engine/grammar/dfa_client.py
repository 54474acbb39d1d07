"""`DfaProcesses`: byte automata of regexes, built by helper processes that end when their time or memory is up.

Patterns are already in Rust's dialect. Knows nothing of tokens. Called by the outlines plugin, from several threads.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

import numpy as np

from ....lang.errors import ClosedError, ConstraintError, PluginError
from .automaton import ByteAutomaton, from_rows

MAX_STATES = 30_000  # 31 MB while the table is built; `.{0,500}` takes 9,502
MAX_MEMORY = 2 << 30  # bytes of address space of one process


class DfaProcesses:
    """A stack of idle helper processes; one serves one regex at a time, more are started as needed."""

    def __init__(self) -> None:
        specification = importlib.util.find_spec("outlines_core")
        if specification is None or specification.origin is None:
            raise PluginError("the grammar plugin 'outlines' needs outlines-core: pip install outlines-core")
        self._library_path = str(Path(specification.origin).parent.parent)
        self._lock = threading.RLock()  # reentrant: the garbage collector may close us, in any thread
        self._idle: list[subprocess.Popen[bytes]] = []
        self._busy: set[subprocess.Popen[bytes]] = set()
        self._closed = False

    def build(self, pattern: str, *, timeout: float) -> ByteAutomaton:
        """Return the automaton of `pattern`; `ConstraintError` when it is refused or takes too long or too much."""
        process = self._take()
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            process.kill()

        timer = threading.Timer(timeout, expire)
        timer.daemon = True
        timer.start()
        healthy = False
        try:
            header, arrays = _ask(process, pattern)
            healthy = True
        except (OSError, EOFError) as error:
            raise ConstraintError(
                f"the regex takes longer than {timeout:g} s to compile"
                if expired.is_set()
                else "the regex needs too much memory to compile"
            ) from error
        finally:
            timer.cancel()
            timer.join()
            self._give_back(process, healthy=healthy and not expired.is_set())
        if "error" in header:
            raise ConstraintError(f"the regex cannot be compiled: {header['error']}")
        if header["states"] > MAX_STATES:
            raise ConstraintError(f"the regex takes {header['states']} states; at most {MAX_STATES} are allowed")
        return _automaton(header, arrays)

    def close(self) -> None:
        """End every process; a compile that is under way fails."""
        with self._lock:
            self._closed = True
            processes = [*self._idle, *self._busy]
            self._idle.clear()
        for process in processes:
            _end(process)

    def _take(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._closed:
                raise ClosedError("the grammar compiler is closed")
            process = self._idle.pop() if self._idle else self._start()
            self._busy.add(process)
            return process

    def _give_back(self, process: subprocess.Popen[bytes], *, healthy: bool) -> None:
        with self._lock:
            self._busy.discard(process)
            usable = healthy and not self._closed
            if usable:
                self._idle.append(process)
        if not usable:
            _end(process)

    def _start(self) -> subprocess.Popen[bytes]:
        script = Path(__file__).with_name("dfa_process.py")
        # isolated and without site: only outlines-core is needed, and the start takes 20 ms instead of hundreds
        command = [sys.executable, "-I", "-S", str(script), self._library_path, str(MAX_MEMORY)]
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C at a terminal is the parent's to handle
        )


def _ask(process: subprocess.Popen[bytes], pattern: str) -> tuple[dict[str, Any], bytes]:
    """Send one pattern; return the header and the arrays. `EOFError` or `OSError` when the process ended."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json.dumps(pattern).encode() + b"\n")
    process.stdin.flush()
    header: dict[str, Any] = json.loads(_read_line(process.stdout))
    if "error" in header:
        return header, b""
    num_bytes = 4 * (3 * header["states"] + 2 * header["transitions"])
    arrays = process.stdout.read(num_bytes)
    if len(arrays) < num_bytes:
        raise EOFError
    return header, arrays


def _read_line(stream: IO[bytes]) -> bytes:
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    return line


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):  # closing flushes what the process no longer reads
                stream.close()


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
