"""The path that batches take to a device: run on the CPU with a stand-in for CUDA graphs, and on CUDA where there is.

Padding, buckets, the table's copy and the order of rows are the same code on both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import ramify
from ramify.backend.engine.batch import ScheduleBatch
from ramify.backend.engine.device_forward import DeviceForward, bucket
from ramify.backend.engine.device_inputs import DeviceInputs
from ramify.backend.engine.forward_batch import ForwardBatch
from ramify.backend.engine.model_runner import ModelRunner
from ramify.backend.engine.models.llama import LlamaModel
from ramify.backend.engine.models.loader import load_model
from ramify.backend.engine.req import Req
from ramify.lang.sampling import Sampling

CPU = torch.device("cpu")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


class Captures:
    """Stands in for CUDA graphs: runs thrice before it is done, as they do, and replays into the same tensor."""

    def __init__(self) -> None:
        self.num_captured = 0

    def __call__(self, run: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
        self.num_captured += 1
        run()
        result = run()

        def replay() -> torch.Tensor:
            result.copy_(run())
            return result

        return replay


def through_device(driver: Any, capture: Any) -> Any:
    """Make the driver's forwards take the device's path."""
    driver.runner._on_device = DeviceForward(driver.model, driver.runner.pool, driver.table, capture=capture)
    return driver


@pytest.mark.parametrize("page_size", [1, 8])
@pytest.mark.parametrize("captured", [True, False])
def test_same_tokens_as_the_plain_path(lab: Any, captured: bool, page_size: int) -> None:
    model = load_model(lab.folder("qwen3", head_dim=32), dtype="float32", device="cpu").model
    prompts = lab.prompts()
    plain = lab.driver(model, page_size=page_size)
    expected = plain.generate([plain.add(prompt) for prompt in prompts], 8, chunk=7)
    captures = Captures()
    driver = through_device(lab.driver(model, page_size=page_size), captures if captured else None)
    rows = [driver.add(prompt) for prompt in prompts]
    assert driver.generate(rows, 8, chunk=7) == expected
    assert (captures.num_captured > 0) == captured


def test_rows_come_and_go(lab: Any) -> None:
    """Row numbers used again, by a request whose prefix has other slots and happens to be as long."""
    model = load_model(lab.folder("llama"), dtype="float32", device="cpu").model
    prompts = lab.prompts()
    plain, driver = lab.driver(model), through_device(lab.driver(model), Captures())
    answers = []
    for side in (plain, driver):
        first = side.add(prompts[1])
        answers.append([side.generate([first], 3)])
        again = side.add(prompts[3], shares=first)
        again.row = first.row  # its table is written anew from `shares`, then by itself
        shared = side.table[first.row, : again.computed].copy()
        side.table[first.row] = 0
        side.table[first.row, : again.computed] = shared
        again.shares = None
        answers[-1].append(side.generate([again, side.add(prompts[0])], 4))
    assert answers[0] == answers[1]


def test_logprobs_of_a_prompt_take_the_ragged_path(lab: Any) -> None:
    model = load_model(lab.folder("llama"), dtype="float32", device="cpu").model
    prompt = lab.prompts()[5]
    plain, driver = lab.driver(model), through_device(lab.driver(model), Captures())
    logits = [
        side.forward([(side.add(prompt, logprob_start_len=3), 40), (side.add(prompt[:9]), 9)])
        for side in (plain, driver)
    ]
    assert torch.equal(logits[0].values, logits[1].values)
    assert np.array_equal(logits[0].offsets, logits[1].offsets)


def decode_batch(table: np.ndarray, rows: list[int], lens: list[int], num_prefill: int = 0) -> ScheduleBatch:
    return ScheduleBatch(
        reqs=[Req("r", [1], Sampling(), row=row) for row in rows],
        rows=np.array(rows),
        prefix_lens=np.array(lens) - 1,
        extend_lens=np.ones(len(rows), dtype=np.int64),
        input_ids=np.arange(len(rows)) + 100,
        out_cache_loc=table[rows, np.array(lens) - 1].astype(np.int64),
        samples=np.ones(len(rows), dtype=np.bool_),
        num_prefill=num_prefill,
    )


def test_padding_computes_the_dummy_only() -> None:
    table = np.arange(1, 41, dtype=np.int32).reshape(4, 10)
    table[0] = 0
    columns, shares = DeviceInputs(table, CPU).decode(decode_batch(table, [2, 1, 3], [4, 2, 9]), 8)
    assert not shares
    ids, positions, slots, rows, seq_lens, order = columns.tolist()
    assert ids == [100, 101, 102, 0, 0, 0, 0, 0] and positions == [3, 1, 8, 0, 0, 0, 0, 0]
    assert slots == [24, 12, 39, 0, 0, 0, 0, 0] and rows == [2, 1, 3, 0, 0, 0, 0, 0]
    assert seq_lens == [4, 2, 9, 1, 1, 1, 1, 1] and order == list(range(8))


def test_the_table_follows_what_changes() -> None:
    table = np.arange(1, 41, dtype=np.int32).reshape(4, 10)
    inputs = DeviceInputs(table, CPU)
    inputs.decode(decode_batch(table, [2, 1], [4, 6]), 2)
    copy = inputs._table
    assert torch.equal(copy[2, :4], torch.from_numpy(table[2, :4])) and not copy[2, 4:].any() and not copy[3].any()
    table[2] += 100  # a prefill may find other slots at the same length; a decoding row has only grown
    inputs.decode(decode_batch(table, [2, 1], [5, 7]), 2)
    assert copy[2, 4] == table[2, 4] and copy[2, 3] == table[2, 3] - 100
    inputs.decode(decode_batch(table, [2, 1], [6, 8], num_prefill=1), 2)
    assert torch.equal(copy[2, :6], torch.from_numpy(table[2, :6]))


def test_order_puts_sharing_rows_side_by_side() -> None:
    table = np.arange(70, dtype=np.int32).reshape(7, 10) * 9 % 70 + 1
    table[5, :6], table[4, :6], table[3, :3] = table[1, :6], table[2, :6], table[1, :3]
    inputs = DeviceInputs(table, CPU)
    rows = [1, 2, 3, 4, 5, 6]
    columns, shares = inputs.decode(decode_batch(table, rows, [10] * 6), 8)
    assert shares
    order = columns[5].tolist()
    assert sorted(order[:6]) == list(range(6)) and order[6:] == [6, 7]
    place = {rows[index]: at for at, index in enumerate(order[:6])}
    assert abs(place[1] - place[5]) == 1 and abs(place[2] - place[4]) == 1
    assert abs(place[3] - place[1]) <= 2
    view: ForwardBatch = inputs.decode_view(columns, shares=shares)
    assert view.layout.num_decode == 8 and view.layout.max_seq_len == 10
    assert inputs.decode_view(columns, shares=False).layout.order is None


def test_buckets() -> None:
    sizes = [bucket(number) for number in range(1, 513)]
    assert all(number <= size for number, size in enumerate(sizes, 1)) and sizes == sorted(sizes)
    assert len(set(sizes)) == 22 and {1, 2, 4, 8, 16, 32, 64, 256, 512} <= set(sizes)


CUDA_MODELS: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen3": {"head_dim": 32},
    "qwen2": {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1},
    "mistral": {"sliding_window": 11},
}


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("graphs", ["0", "1"])
@pytest.mark.parametrize("kind", CUDA_MODELS)
def test_cuda_tokens_are_those_of_the_cpu(lab: Any, kind: str, graphs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Greedy, float32; where they part, the CPU's two best logits are closer than the devices round apart."""
    monkeypatch.setenv("RAMIFY_CUDA_GRAPHS", graphs)
    folder = lab.folder(kind, **CUDA_MODELS[kind])
    prompts = lab.prompts()
    sides = []
    for device in ("cpu", "cuda"):
        driver = lab.driver(load_model(folder, dtype="float32", device=device).model)
        rows = [driver.add(prompts[0]), driver.add(prompts[1])]
        driver.generate(rows[:2], 1)
        rows += [driver.add(prompt, shares=rows[1]) for prompt in prompts[2:]]
        for row in rows[:2]:
            row.prompt_len = len(row.tokens)
        sides.append((driver, driver.generate(rows, 16, chunk=11), rows))
    (cpu, expected, rows), (_, actual, _) = sides
    for row, ours, theirs in zip(rows, expected, actual, strict=True):
        same = next((at for at, pair in enumerate(zip(ours, theirs, strict=True)) if pair[0] != pair[1]), None)
        if same is not None:
            alone = cpu.add([*row.tokens[: row.prompt_len], *ours[:same]])
            best = cpu.forward([(alone, len(alone.tokens))]).values[-1].topk(2).values
            assert float(best[0] - best[1]) < 1e-3, f"{kind}: not a tie"


@pytest.mark.gpu
@needs_cuda
def test_the_native_family_is_captured(lab: Any) -> None:
    model = load_model(lab.folder("llama"), dtype="bfloat16", device="cuda").model
    assert isinstance(model, LlamaModel) and model.is_capturable
    driver = lab.driver(model)
    driver.generate([driver.add(prompt) for prompt in lab.prompts()], 4)
    assert driver.runner._on_device._captured


@pytest.mark.parametrize("page_size", [1, 4])
def test_an_engine_answers_the_same_through_it(page_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts in chunks, shared prefixes, retraction, forced runs, logprobs: what the scheduler makes of batches."""
    prompts = ["The capital of France is", "The capital of France was", "Once upon a time", "2 + 2 =", "A"] * 3
    requests: list[dict[str, Any]] = [
        dict(max_tokens=12, temperature=0.8),
        dict(max_tokens=30, temperature=0, regex='\\{"name": "[a-z]{2,9}", "age": [0-9]{1,3}\\}'),
        dict(max_tokens=5, temperature=0, logprobs=2, prompt_logprobs=1),
    ]
    answers = []
    make = ModelRunner.__init__

    def through(self: ModelRunner, *args: Any, **options: Any) -> None:
        make(self, *args, **options)
        self._on_device = DeviceForward(self.model, self.pool, self.req_to_token, capture=Captures())

    for init in (make, through):
        monkeypatch.setattr(ModelRunner, "__init__", init)
        sizes = dict(max_total_tokens=160, max_running=6, chunked_prefill_size=16, page_size=page_size)
        with ramify.Engine(device="cpu", dtype="float32", **sizes) as engine:
            answers.append([[vars_of(one) for one in engine.generate(prompts, **request)] for request in requests])
    assert answers[0] == answers[1]


def vars_of(answer: Any) -> tuple[Any, ...]:
    return answer.text, tuple(answer.token_ids), answer.logprobs, answer.prompt_logprobs
