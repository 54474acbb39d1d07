"""`ModelWorker`: the real `Worker`: one forward, then one sampling pass.

Knows nothing of policy or text. Called by the scheduler, on the engine's thread only.
"""

from __future__ import annotations

from typing import Protocol

from .batch import BatchResult, ScheduleBatch
from .forward_batch import Logits
from .model_runner import ModelRunner
from .req import Req


class RowSampler(Protocol):
    """Turns logits into tokens; keeps its state in tables indexed by `req.row` (`sampler.py`)."""

    def open_row(self, req: Req) -> None:
        """Fill the row's state from the request and the tokens it has so far."""
        ...

    def close_row(self, row: int) -> None:
        """Forget the row."""
        ...

    def prepare(self, batch: ScheduleBatch) -> None:
        """Start on what does not need the logits of the batch, which is about to be computed."""
        ...

    def sample(self, batch: ScheduleBatch, logits: Logits) -> BatchResult:
        """Sample the rows that give a token and collect the logprobs that were asked for."""
        ...


class ModelWorker:
    """Implements `batch.Worker` with a `ModelRunner` and a sampler."""

    def __init__(self, runner: ModelRunner, sampler: RowSampler) -> None:
        self.runner = runner
        self.sampler = sampler

    def open_row(self, req: Req) -> None:
        """See `Worker`."""
        self.sampler.open_row(req)

    def close_row(self, row: int) -> None:
        """See `Worker`."""
        self.sampler.close_row(row)

    def forward(self, batch: ScheduleBatch) -> BatchResult:
        """See `Worker`."""
        self.sampler.prepare(batch)
        return self.sampler.sample(batch, self.runner.forward(batch))
