"""How long a run will take, from one trial step and one trial image."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from zsbench.dataset import Protocol
from zsbench.inference import resized_shape, windows
from zsbench.method import Method
from zsbench.processes import alone
from zsbench.recipe import Recipe

SLOW_SECONDS = 1.0


def seconds_of(call: Callable[[], object], device: torch.device) -> float:
    """Wall time of a call; repeated once, warm, if it was quick."""
    elapsed = SLOW_SECONDS
    for _ in range(2):
        began = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        elapsed = time.perf_counter() - began
        if elapsed > SLOW_SECONDS:
            break
    return elapsed


def training_seconds(method: Method, classes: int, recipe: Recipe, device: torch.device) -> float:
    """Estimated training time: one image's losses and gradients, times all images of all steps; an upper bound on a GPU."""
    images = torch.rand(1, 3, recipe.crop, recipe.crop).to(device)
    labels = torch.randint(classes, (1, recipe.crop, recipe.crop)).to(device)
    method.to(device)

    def step() -> None:
        torch.stack(list(method.losses(images, labels).values())).sum().backward()

    with rehearsal(method):
        elapsed = seconds_of(step, device)
    return elapsed * recipe.iterations * recipe.batch_size


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


def evaluation_seconds(
    method: Method, image_size: tuple[int, int], images: int, protocol: Protocol, device: torch.device
) -> float:
    """Estimated evaluation time: one window, times all windows of all images, post-processing not included."""
    height, width = resized_shape(*image_size, protocol)
    count = len(windows(height, width, protocol.crop, protocol.stride))
    side = (min(protocol.crop or height, height), min(protocol.crop or width, width))
    window = torch.rand(1, 3, *side).to(device)
    method.eval().to(device)
    with torch.inference_mode():
        return seconds_of(lambda: method.predict(window), device) * count * images
