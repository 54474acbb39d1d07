"""Every Triton kernel through Triton's compiler to machine code for Hopper, which needs no device.

The interpreter takes more than the compiler does. Run as a script it launches the ops with a driver that only compiles.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

KERNELS = 10
SHARED_MEMORY = 227 * 1024  # bytes of a multiprocessor that one program may have, on Hopper


def compile_all() -> dict[str, int]:
    """Shared memory of every kernel, for a group of 4 and heads of 128 in bfloat16."""
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver
    from triton.runtime.jit import JITFunction

    class CompileOnly:
        def get_current_device(self) -> int:
            return 0

        def get_current_stream(self, device: int | None = None) -> int:
            return 0

        def get_current_target(self) -> GPUTarget:
            return GPUTarget("cuda", 90, 32)

    sizes: dict[str, int] = {}
    launch = JITFunction.run

    def run(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> Any:
        kernel = launch(self, *args, grid=grid, warmup=True, **kwargs)
        sizes[self.fn.__name__] = max(kernel.metadata.shared, sizes.get(self.fn.__name__, 0))
        return kernel

    driver.set_active(CompileOnly())
    JITFunction.run = run
    launch_attention()
    launch_others()
    return sizes


def launch_attention() -> None:
    from ramify.kernels.decode_attention_triton import decode_attention
    from ramify.kernels.extend_attention_triton import extend_attention
    from ramify.kernels.paged_attention import AttentionSpec, PagedLayout
    from ramify.kernels.tree_attention_triton import tree_attention

    batch, spec = 40, AttentionSpec(0.1)
    query = torch.zeros(batch, 32, 128, dtype=torch.bfloat16)
    keys, values = torch.zeros(2, 9, 8, 128, dtype=torch.bfloat16)
    rows = torch.arange(batch)
    layout = PagedLayout(torch.zeros(batch, 16, dtype=torch.int32), rows, torch.arange(batch + 1), rows + 1, 1, 16)
    layout.num_decode, layout.order = batch, rows
    decode_attention(query, keys, values, layout, spec, num_splits=2)
    tree_attention(query, keys, values, layout, spec, num_splits=2)
    one = PagedLayout(layout.req_to_token, rows[:1], torch.tensor([0, batch]), rows[-1:], batch, 16)
    extend_attention(query, keys, values, one, spec)


def launch_others() -> None:
    from ramify.kernels.gather_logprobs_triton import gather
    from ramify.kernels.rms_norm_triton import normalise
    from ramify.kernels.rotary_to_cache import HeadNorm, Rotation
    from ramify.kernels.rotary_to_cache_triton import rotate_and_store
    from ramify.kernels.sample_tokens import Draws
    from ramify.kernels.sample_tokens_triton import sample
    from ramify.kernels.silu_and_mul_triton import gate
    from ramify.kernels.token_mask_triton import forbid_tokens

    hidden = torch.zeros(3, 4096, dtype=torch.bfloat16)
    rows = torch.arange(3)
    normalise(hidden, hidden.clone(), hidden[0].clone(), 1e-6)
    gate(hidden)
    norm = HeadNorm(hidden[0, :128], hidden[0, :128], 1e-6)
    keys, values = torch.zeros(2, 9, 8, 128, dtype=torch.bfloat16)
    rotate_and_store(hidden, Rotation(*torch.zeros(2, 3, 64)), norm, keys, values, rows)
    logits = torch.zeros(3, 5000)
    gather(logits, rows, rows[:, None])
    some = torch.zeros(3)
    sample(logits, rows, Draws(some, some.double(), rows, some.double(), some))
    forbid_tokens(logits, rows, torch.zeros(3, 157, dtype=torch.int32))


def test_all_kernels_compile_for_hopper(tmp_path: Path) -> None:
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path), "TRITON_INTERPRET": "0"}
    result = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, timeout=110)
    assert result.returncode == 0, result.stderr
    sizes = dict(line.split() for line in result.stdout.splitlines())
    assert len(sizes) == KERNELS, sizes
    assert max(map(int, sizes.values())) <= SHARED_MEMORY


if __name__ == "__main__":
    for name, size in compile_all().items():
        print(name, size)
