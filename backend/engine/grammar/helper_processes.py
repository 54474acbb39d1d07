"""`HelperProcesses`: small processes that answer one request at a time and end when its time or memory is up.

For libraries that neither stop nor fail cleanly. Knows nothing of what is asked. Called by the clients of the grammar
plugins, from several threads.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar

from ....lang.errors import ClosedError, ConstraintError

MAX_MEMORY = 2 << 30  # bytes of address space of one process

_Answer = TypeVar("_Answer")


class HelperProcesses:
    """A stack of idle processes that run `script`; more are started as needed.

    Its arguments are `arguments` and `MAX_MEMORY`, its own limit to set. A request is one line of JSON; the answer is
    whatever the caller reads. `noun`: what is compiled, for messages.

    Example: `HelperProcesses(Path("dfa_process.py"), [path], noun="regex").ask("a*", read_line, timeout=2)`.
    """

    def __init__(self, script: Path, arguments: list[str], *, noun: str) -> None:
        # isolated and without site: the script finds its one library itself, and starts in 20 ms instead of hundreds
        self._command = [sys.executable, "-I", "-S", str(script), *arguments, str(MAX_MEMORY)]
        self._noun = noun
        self._lock = threading.RLock()  # reentrant: the garbage collector may close us, in any thread
        self._idle: list[subprocess.Popen[bytes]] = []
        self._busy: set[subprocess.Popen[bytes]] = set()
        self._closed = False

    def start_one(self) -> None:
        """Have an idle process ready, so that the first request does not wait for its start."""
        self._give_back(self._take(), healthy=True)

    def ask(self, request: object, read: Callable[[IO[bytes]], _Answer], *, timeout: float) -> _Answer:
        """Send `request` and return what `read` makes of the answer.

        `ConstraintError` when it takes longer than `timeout` seconds or too much memory; then the process is gone.
        """
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
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            answer = read(process.stdout)
            healthy = True
        except (OSError, EOFError) as error:
            raise ConstraintError(
                f"the {self._noun} takes longer than {timeout:g} s to compile"
                if expired.is_set()
                else f"the {self._noun} needs too much memory to compile"
            ) from error
        finally:
            timer.cancel()
            timer.join()
            self._give_back(process, healthy=healthy and not expired.is_set())
        return answer

    def close(self) -> None:
        """End every process; what is under way fails."""
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
        return subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C at a terminal is the parent's to handle
        )


def read_line(stream: IO[bytes]) -> Any:
    """Return the JSON value of one line; `EOFError` when the process ended before."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    return json.loads(line)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):  # closing flushes what the process no longer reads
                stream.close()
