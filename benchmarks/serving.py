"""Programs over HTTP against programs in the process: `python benchmarks/serving.py`.

Dependent generations over a link with delay, shipped as graphs and request by request; and the throughput of many
clients. The server is a real one on this machine; the delay is a proxy's.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ramify

from report import machine

DELAY_MS = 20
GREEDY: Any = {"temperature": 0, "max_tokens": 8, "ignore_eos": True}


@ramify.function
def chain(s: Any, number: int) -> None:
    """Eight generations, each after the one before."""
    s += f"Story {number}. Once upon a time"
    for step in range(8):
        s += f"\n{step}." + ramify.gen(f"step{step}", **GREEDY)


@ramify.function
def tree(s: Any, number: int) -> None:
    """A fork tree of depth 3: 2 + 4 + 8 generations."""
    s += f"Plan {number}."
    grow(s, 3)


def grow(s: Any, depth: int) -> None:
    """Fork twice and go on in both branches."""
    for index, branch in enumerate(s.fork(2)):
        branch += f"\nStep {depth}.{index}:" + ramify.gen(f"step{depth}", **GREEDY)
        if depth > 1:
            grow(branch, depth - 1)


@ramify.function
def row(s: Any, number: int) -> None:
    """One request of a batch."""
    s += f"Row {number}: the capital of France is" + ramify.gen("text", temperature=0, max_tokens=64, ignore_eos=True)


@contextmanager
def server() -> Iterator[str]:
    """A server with the embedded model; gives its address."""
    program = [sys.executable, "-m", "ramify", "serve", "--port", "0", "--log-level", "warning"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
        process.terminate()


@contextmanager
def delayed(url: str, delay: float) -> Iterator[str]:
    """A link to `url` on which everything arrives `delay` / 2 seconds later, in both directions."""
    host, port = url.removeprefix("http://").split(":")
    loop = asyncio.new_event_loop()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            loop.call_later(delay / 2, writer.write, data)
        loop.call_later(delay / 2, writer.close)

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, int(port))
        await asyncio.gather(copy(reader, back), copy(there, writer))

    listening = loop.run_until_complete(asyncio.start_server(connect, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


def compare(runs: dict[str, Callable[[int], object]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each, measured in turns after one round to warm up.

    Each run gets a number of its own, so that no answer comes from a cache.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for offset, (name, run) in enumerate(runs.items()):
            began = time.perf_counter()
            run(turn * len(runs) + offset)
            if turn:
                times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in times.items()}


def latency(url: str, slow: str, rounds: int) -> list[tuple[str, dict[str, float]]]:
    """Measure dependent generations in this process, over the link without delay, and over the slow one."""
    found = []
    with ramify.Engine() as engine:
        backends: dict[str, Any] = {
            "in process": engine,
            "single, no delay": ramify.RemoteBackend(url, ship="never"),
            "single": ramify.RemoteBackend(slow, ship="never"),
            "shipped, no delay": ramify.RemoteBackend(url),
            "shipped": ramify.RemoteBackend(slow),
        }
        for program in (chain, tree):
            runs = {name: lambda n, p=program, b=backend: p.run(n, backend=b) for name, backend in backends.items()}
            found.append((str(program.__doc__).rstrip("."), compare(runs, rounds)))
    return found


def throughput(url: str, rounds: int, clients: int) -> dict[str, float]:
    """Measure batches of rows with as many at once: seconds, over HTTP and in this process."""
    remote = ramify.RemoteBackend(url)
    with ramify.Engine() as engine:

        def batch(backend: Any, number: int) -> None:
            rows = [{"number": number * 4 * clients + i} for i in range(4 * clients)]
            done = row.run_batch(rows, backend=backend, concurrency=clients, progress=False)
            assert all(isinstance(one, ramify.Ok) for one in done)

        return compare({"in process": lambda n: batch(engine, n), "over HTTP": lambda n: batch(remote, n)}, rounds)


def to_markdown(waits: list[tuple[str, dict[str, float]]], rates: dict[str, float], clients: int) -> str:
    """Return the results as a page."""
    lines = ["# Serving", "", "  \n".join(f"{name}: {value}" for name, value in machine().items()), ""]
    lines += [
        "Dependent generations, embedded model, median ms in turns; the slow link has "
        f"{DELAY_MS} ms of delay (there and",
        "back). What it adds, in delays, is how many round trips a program waits for:",
        "",
        "| program | in process | single requests, no delay | slow link | round trips | shipped, no delay | slow link "
        "| round trips |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, medians in waits:
        cells = [f"{1000 * medians['in process']:.0f}"]
        for kind in ("single", "shipped"):
            near, far = (1000 * medians[each] for each in (f"{kind}, no delay", kind))
            cells += [f"{near:.0f}", f"{far:.0f}", f"{(far - near) / DELAY_MS:.1f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    share = rates["in process"] / rates["over HTTP"]
    lines += [
        "",
        "Client, server and engine share this machine's cores.",
        "",
        f"{clients} clients, rows of 64 tokens: over HTTP at {share:.0%} of the rate in the process "
        f"({4 * clients * 64 / rates['over HTTP']:.0f} against {4 * clients * 64 / rates['in process']:.0f} tokens/s).",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure and write `results/serving.md`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "serving.md")
    arguments = parser.parse_args()
    with server() as url:
        with delayed(url, DELAY_MS / 1000) as slow:
            waits = latency(url, slow, arguments.rounds)
        rates = throughput(url, max(3, arguments.rounds // 2), arguments.clients)
    page = to_markdown(waits, rates, arguments.clients)
    arguments.output.write_text(page)
    print(page)


if __name__ == "__main__":
    main()
