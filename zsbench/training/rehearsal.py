"""Training steps of which nothing is kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from zsbench.method import Method
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
