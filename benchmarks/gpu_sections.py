"""The sections of `gpu.py`: each yields (what, milliseconds, tokens a second, floor in milliseconds, a remark)."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch

import ramify
from ramify.backend.engine.device_inputs import DeviceInputs

from gpu_models import kv_bytes, make_config, make_engine, read_bytes

Found = tuple[str, float, float, float | None, str]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured, and where."""

    device: str
    batches: tuple[int, ...]
    peer_batches: tuple[int, ...]
    prompt: int
    steps: int
    prefill: int
    shared: tuple[int, int]  # requests, tokens they share
    tree: tuple[int, int, int, int]  # tokens of the root, branches, tokens of a branch, leaves of a branch
    rounds: int


FULL = Sizes("cuda", (1, 16, 64, 256), (1, 16, 64), 128, 64, 2048, (64, 4096), (1024, 8, 256, 8), 3)
TINY = Sizes("cpu", (1, 3), (2,), 8, 4, 40, (3, 32), (16, 2, 8, 2), 1)


def ceilings(sizes: Sizes) -> dict[str, Any]:
    """Rates of a copy (bytes read and written) and of a bfloat16 matrix product, and what they were measured on."""
    on_cuda = sizes.device == "cuda"
    source = torch.randn((1 << 30) if on_cuda else (1 << 20), dtype=torch.float32, device=sizes.device)
    target = torch.empty_like(source)
    copy = _seconds(lambda: target.copy_(source), 10)
    size = 8192 if on_cuda else 256
    left, right = torch.randn(2, size, size, device=sizes.device, dtype=torch.bfloat16)
    product = _seconds(lambda: left @ right, 10)
    return {
        "device": torch.cuda.get_device_name() if on_cuda else "CPU",
        "torch": torch.__version__,
        "TB/s": round(2 * source.nbytes / copy / 1e12, 4),
        "TFLOP/s": round(2 * size**3 / product / 1e12, 4),
    }


def engine(model: str, sizes: Sizes, limits: dict[str, Any]) -> Iterator[Found]:
    """Decode, prefill, shared prefixes, masks."""
    rate = limits.get("TB/s", 0) * 1e9 or None  # bytes a millisecond
    requests = max(*sizes.batches, sizes.tree[1] * sizes.tree[3], sizes.shared[0])
    room = max(requests * (sizes.prompt + sizes.steps + 2), sizes.shared[1] + sizes.prefill) * 2
    with tempfile.TemporaryDirectory() as folder:
        options = dict(max_total_tokens=room, max_running=requests)
        with make_engine(model, sizes.device, Path(folder), **options) as running:
            for batch in sizes.batches:
                prompts = [_tokens(sizes.prompt, row) for row in range(batch)]
                yield _decode(running, model, f"decode, batch {batch}", prompts, sizes, rate)
            yield _prefill(running, model, sizes, limits)
            for what, prompts in (("shared prefix", _shared(sizes)), ("fork tree", _tree(sizes))):
                yield _decode(running, model, f"{what}, {len(prompts)} rows", prompts, sizes, rate)
                with mock.patch.object(DeviceInputs, "_order", lambda *_: None):
                    yield _decode(running, model, f"{what}, {len(prompts)} rows, plain attention", prompts, sizes, rate)
            yield from _masks(running, sizes)


def _decode(
    running: ramify.Engine,
    model: str,
    what: str,
    prompts: list[list[int]],
    sizes: Sizes,
    rate: float | None,
) -> Found:
    """Milliseconds of a step: a long answer less a short one, over the steps between; and the device's idle share."""
    long, short = (_generate(running, prompts, sizes, steps) for steps in (sizes.steps + 1, 1))
    milliseconds = max(long - short, 1e-9) / sizes.steps * 1e3
    distinct = len({(place, token) for prompt in _paths(prompts) for place, token in prompt})
    read = read_bytes(model) + kv_bytes(model) * (distinct + len(prompts) * sizes.steps // 2)
    note = f"device idle {_idle(running, prompts, sizes):.1%}" if sizes.device == "cuda" else ""
    return what, milliseconds, len(prompts) / milliseconds * 1e3, read / rate if rate else None, note


def _paths(prompts: list[list[int]]) -> Iterator[list[tuple[int, int]]]:
    """Each prompt as (length so far, hash of the beginning) pairs: equal beginnings are equal keys and values."""
    for prompt in prompts:
        seen, path = 0, []
        for place, token in enumerate(prompt):
            seen = hash((seen, token))
            path.append((place, seen))
        yield path


def _prefill(running: ramify.Engine, model: str, sizes: Sizes, limits: dict[str, Any]) -> Found:
    seconds = _generate(running, [_tokens(sizes.prefill, 0)], sizes, 1)
    flops = read_bytes(model) * sizes.prefill  # two for each weight, of two bytes
    rate = limits.get("TFLOP/s", 0) * 1e9 or None
    floor = flops / rate if rate else None
    return (
        f"prefill {sizes.prefill}",
        seconds * 1e3,
        sizes.prefill / seconds,
        floor,
        "floor without attention",
    )


def _masks(running: ramify.Engine, sizes: Sizes) -> Iterator[Found]:
    """The same batch free and under a regex that never ends before the tokens do."""
    prompts = [_tokens(sizes.prompt, row) for row in range(min(64, max(sizes.batches)))]
    times = {}
    for name, constraint in (("free", {}), ("masked", {"regex": "[a-z ]{4000}"})):
        took = [_generate(running, prompts, sizes, steps, **constraint) for steps in (sizes.steps + 1, 1)]
        times[name] = max(took[0] - took[1], 1e-9) / sizes.steps * 1e3
    cost = times["masked"] / times["free"] - 1
    yield (
        f"masked decode, batch {len(prompts)}",
        times["masked"],
        len(prompts) / times["masked"] * 1e3,
        None,
        f"masks cost {cost:.1%} of a free step",
    )


def static_cache(model: str, sizes: Sizes, limits: dict[str, Any]) -> Iterator[Found]:
    """transformers: static cache, its forward compiled."""
    module = _module(model, sizes)
    for batch in sizes.peer_batches:
        ids = torch.tensor([_tokens(sizes.prompt, row) for row in range(batch)], device=sizes.device)

        def run(steps: int, ids: torch.Tensor = ids) -> None:
            options = dict(cache_implementation="static") if sizes.device == "cuda" else {}
            mask = torch.ones_like(ids)
            module.generate(ids, attention_mask=mask, max_new_tokens=steps, do_sample=False, **options)

        run(sizes.steps + 1)  # compiles
        long, short = (_median(lambda steps=steps: run(steps), sizes.rounds) for steps in (sizes.steps + 1, 1))
        milliseconds = max(long - short, 1e-9) / sizes.steps * 1e3
        rate = limits.get("TB/s", 0) * 1e9
        floor = (read_bytes(model) + kv_bytes(model) * batch * sizes.prompt) / rate if rate else None
        yield f"transformers, static cache, batch {batch}", milliseconds, batch / milliseconds * 1e3, floor, ""


def continuous_batching(model: str, sizes: Sizes, limits: dict[str, Any]) -> Iterator[Found]:
    """transformers: its own continuous batching, over a whole call. Needs CUDA."""
    if sizes.device != "cuda":
        return
    from transformers import GenerationConfig

    module = _module(model, sizes)
    batch = max(sizes.peer_batches)
    prompts = [_tokens(sizes.prompt, row) for row in range(batch)]
    config = GenerationConfig(max_new_tokens=sizes.steps, do_sample=False, eos_token_id=-1, pad_token_id=0)
    seconds = _median(lambda: module.generate_batch(inputs=prompts, generation_config=config), 2, warm=1)
    tokens = batch * sizes.steps
    milliseconds = seconds / sizes.steps * 1e3
    yield f"transformers, continuous batching, batch {batch}", milliseconds, tokens / seconds, None, "prefill included"


def _module(model: str, sizes: Sizes) -> Any:
    from transformers import AutoModelForCausalLM

    with torch.device(sizes.device):
        return AutoModelForCausalLM.from_config(make_config(model), dtype=torch.bfloat16).eval()


def _generate(running: ramify.Engine, prompts: list[list[int]], sizes: Sizes, steps: int, **constraint: str) -> float:
    """Median seconds of a call from an empty cache."""

    def run() -> None:
        running.flush_cache()
        running.generate(prompts, max_tokens=steps, temperature=0, ignore_eos=True, **constraint)

    return _median(run, sizes.rounds)


def _idle(running: ramify.Engine, prompts: list[list[int]], sizes: Sizes) -> float:
    """Share of the time of decoding in which the device runs nothing: the gaps between kernels, as the profiler saw."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        running.generate(prompts, max_tokens=sizes.steps, temperature=0, ignore_eos=True)
        torch.cuda.synchronize()
    on_device = [event for event in profiler.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    spans = sorted((event.time_range.start, event.time_range.end) for event in on_device)
    if not spans:
        return float("nan")
    first, last = spans[0][0], max(end for _, end in spans)
    reached = start_of_decode = first + 0.3 * (last - first)  # prefill lies before
    idle = 0.0
    for start, end in spans:
        idle += max(0.0, start - reached)
        reached = max(reached, end)
    return idle / (last - start_of_decode)


def _shared(sizes: Sizes) -> list[list[int]]:
    requests, length = sizes.shared
    return [_tokens(length, -1) + _tokens(4, row) for row in range(requests)]


def _tree(sizes: Sizes) -> list[list[int]]:
    root, branches, length, leaves = sizes.tree
    return [
        _tokens(root, -2) + _tokens(length, branch) + _tokens(4, 100 + leaf)
        for branch in range(branches)
        for leaf in range(leaves)
    ]


def _tokens(count: int, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(1000 + seed)
    return torch.randint(300, 1000, (count,), generator=generator).tolist()


def _median(run: Callable[[], Any], rounds: int, *, warm: int = 1) -> float:
    """Median seconds of `run`, after `warm` runs that compile and capture."""
    times = [_seconds(run, 1, warm=0) for _ in range(warm + rounds)]
    return statistics.median(times[warm:])


def _seconds(run: Callable[[], Any], times: int, *, warm: int = 1) -> float:
    for _ in range(warm):
        run()
    _wait()
    start = time.perf_counter()
    for _ in range(times):
        run()
    _wait()
    return (time.perf_counter() - start) / times


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
