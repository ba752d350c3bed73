"""Training steps of which nothing is kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from zsbench.method import Method, checked_losses
from zsbench.optimisation import TrainingBatch
from zsbench.settings import Phase
from zsbench.utils.distributed import alone


@contextmanager
def rehearsal(method: Method) -> Iterator[None]:
    """Training steps on made-up images, of which nothing is kept: neither gradients nor running statistics.

    Each process of a run rehearses alone: as often as it likes, and for a profile only one of them.
    """
    training, buffers = method.training, {name: buffer.clone() for name, buffer in method.named_buffers()}
    method.train()
    try:
        with alone():
            yield
    finally:
        method.zero_grad(set_to_none=True)
        for name, buffer in method.named_buffers():
            buffer.copy_(buffers[name])
        method.train(training)


class TrialStep:
    """A `zsbench.optimisation.Step` on made-up images, the first of a phase: updates leave gradients, and move nothing."""

    number = 0

    def __init__(self, method: Method, phase: Phase, images: Tensor, labels: Tensor) -> None:
        self.method, self.phase = method, phase
        self.made_up = TrainingBatch(images, labels, ["made up"] * len(images))

    def batch(self) -> TrainingBatch:
        return self.made_up

    def update(self, **losses: Tensor) -> None:
        checked_losses(self.method, losses).total.backward()

    def minimise(self) -> dict[str, float]:
        losses = checked_losses(self.method, self.method.losses(self.made_up.images, self.made_up.labels))
        losses.total.backward()
        return {"loss": losses.total.item()}
