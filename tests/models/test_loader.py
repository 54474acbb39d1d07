"""What is wrong with a model folder is said, with what to do about it, as ModelError."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ramify.backend.engine.models.loader import load_model, resolve_device, resolve_dtype
from ramify.lang.errors import ModelError

WEIGHTS = "model.safetensors"


@pytest.fixture
def broken(lab: Any, tmp_path: Path) -> Path:
    """A copy of a good folder, to be damaged."""
    return Path(shutil.copytree(lab.folder("llama"), tmp_path / "model"))


def edit_config(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    config = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def edit_weights(folder: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / WEIGHTS)
    edit(tensors)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def delete_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def cut_weights(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: len(data) // 2])


def scramble_header(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[:64] = b"\xff" * 64
    (folder / WEIGHTS).write_bytes(bytes(data))


def only_pickle(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    torch.save({}, folder / "pytorch_model.bin")


def index_with(folder: Path, names: object) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps(names))


NORM = "model.norm.weight"
DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no-config": (delete_config, "has no config.json"),
    "config-not-json": (lambda folder: (folder / "config.json").write_text("{"), "is not JSON"),
    "config-a-list": (lambda folder: (folder / "config.json").write_text("[]"), "is not a JSON object"),
    "unknown-type": (lambda folder: edit_config(folder, model_type="nonsense"), "'nonsense'.*unknown"),
    "not-causal": (lambda folder: edit_config(folder, model_type="vit"), "not a causal language model"),
    "quantised": (lambda folder: edit_config(folder, quantization_config={"bits": 4}), "quantised"),
    "bad-heads": (lambda folder: edit_config(folder, num_key_value_heads=3), "KV heads"),
    "size-a-word": (lambda folder: edit_config(folder, hidden_size="many"), "config is wrong"),
    "no-heads": (lambda folder: edit_config(folder, num_attention_heads=0), "num_attention_heads|heads|divi"),
    "bad-rope": (lambda folder: edit_config(folder, rope_parameters={"rope_type": "spiral"}), "rope|spiral"),
    "no-weights": (lambda folder: (folder / WEIGHTS).unlink(), "no .*safetensors weights"),
    "only-pickle": (only_pickle, "pickled weights.*save_pretrained"),
    "cut-short": (cut_weights, "cut short or damaged"),
    "scrambled": (scramble_header, "cut short or damaged"),
    "missing-tensor": (lambda folder: edit_weights(folder, lambda t: t.pop(NORM)), f"{NORM}.*missing"),
    "wrong-shape": (
        lambda folder: edit_weights(folder, lambda t: t.update({NORM: torch.ones(7)})),
        rf"{NORM}.*\(7,\).*\(48,\)",
    ),
    "wrong-vocabulary": (lambda folder: edit_config(folder, vocab_size=50), "shape"),
    "bad-index": (lambda folder: index_with(folder, {"weights": {}}), "not a safetensors index"),
    "missing-shard": (
        lambda folder: index_with(folder, {"weight_map": {NORM: "a.safetensors"}}),
        "shard a.safetensors",
    ),
    "escaping-index": (
        lambda folder: index_with(folder, {"weight_map": {NORM: "../x.safetensors"}}),
        "not a safetensors",
    ),
}


@pytest.mark.parametrize("implementation", ["auto", "transformers"])
@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named(broken: Path, name: str, implementation: Any) -> None:
    damage, message = DAMAGES[name]
    if implementation == "transformers" and name in ("bad-heads", "wrong-shape", "wrong-vocabulary"):
        message = ""  # transformers' own words, in a ModelError
    damage(broken)
    with pytest.raises(ModelError, match=f"(?s){message}"):
        load_model(broken, implementation=implementation)


def test_places_that_are_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"")
    for place in (tmp_path / "missing", str(tmp_path / "missing"), "./missing", "~/missing/model"):
        with pytest.raises(ModelError, match="no model folder"):
            load_model(place)
    with pytest.raises(ModelError, match="is a file"):
        load_model(file)
    with pytest.raises(ModelError, match="neither a folder nor a hub id"):
        load_model("a name with spaces")


def test_hub_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def refuse(*args: object, **kwargs: object) -> str:
        raise OSError("no network here")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(ModelError, match=r"'someone/model'.*no network here.*Check"):
        load_model("someone/model")


def test_hub_id_is_downloaded_without_pickles(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: dict[str, Any] = {}

    def download(repo: str, **options: Any) -> str:
        asked.update(options, repo=repo)
        return str(lab.folder("llama"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert load_model("someone/model").folder == lab.folder("llama")
    assert asked["repo"] == "someone/model"
    assert not [pattern for pattern in asked["allow_patterns"] if pattern.endswith((".bin", ".pt", ".py"))]


def test_shards(lab: Any, broken: Path) -> None:
    tensors = load_file(broken / WEIGHTS)
    (broken / WEIGHTS).unlink()
    weight_map = {}
    for index, name in enumerate(tensors):
        shard = f"model-{index % 2}.safetensors"
        weight_map[name] = shard
    for shard in set(weight_map.values()):
        save_file({name: tensors[name] for name in tensors if weight_map[name] == shard}, broken / shard)
    index_with(broken, {"weight_map": weight_map})
    prompt = lab.prompts()[0]
    whole, sharded = (lab.driver(load_model(folder).model) for folder in (lab.folder("llama"), broken))
    assert sharded.generate([sharded.add(prompt)], 5) == whole.generate([whole.add(prompt)], 5)


def test_models_that_keep_state_elsewhere_are_refused(lab: Any) -> None:
    """A recurrent model runs through transformers without error; only comparing with itself shows that it is wrong."""
    folder = lab.folder("mamba", hidden_size=32, state_size=8, num_hidden_layers=2)
    with pytest.raises(ModelError, match="mamba"):
        load_model(folder)


def test_dtype_and_device() -> None:
    from transformers import LlamaConfig

    cpu = torch.device("cpu")
    assert resolve_dtype("auto", LlamaConfig(), cpu) == torch.float32
    assert resolve_dtype("auto", LlamaConfig(dtype="float16"), cpu) == torch.float32
    assert resolve_dtype("bfloat16", LlamaConfig(), cpu) == torch.bfloat16
    assert resolve_dtype("auto", LlamaConfig(dtype="bfloat16"), torch.device("cuda")) == torch.bfloat16
    for dtype in ("float16", "int8"):
        with pytest.raises(ModelError, match=dtype):
            resolve_dtype(dtype, LlamaConfig(), cpu)
    assert resolve_device("cpu") == cpu
    for device in ("tpu", "meta", "nonsense"):
        with pytest.raises(ModelError, match=device):
            resolve_device(device)


def test_native_by_force(lab: Any) -> None:
    with pytest.raises(ModelError, match="native decoder family"):
        load_model(lab.folder("gpt2", n_embd=48, n_head=4, n_layer=2, n_positions=256), implementation="native")
