"""What a method costs: parameters, multiply-adds with attention counted, and latency on a synchronised clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from zsbench.clip import Clip
from zsbench.dataset import IGNORE, Protocol
from zsbench.inference import predict_labels, resized_shape, windows
from zsbench.method import Method
from zsbench.result import Efficiency

Timed = Literal["model", "end-to-end"]
WARM_UP_RUNS = 3
MAX_RUNS = 50
MIN_RUNS = 5


@contextmanager
def countable_attention() -> Iterator[None]:
    """Make every attention run as plain matrix products.

    The fused encoder fast path and CPU flash attention have no FLOP formula: they would be counted as zero
    (pytorch#195460; 36 % of a ViT-B/16 at 224 px).
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def count_macs(call: Callable[[], object]) -> float:
    """Multiply-adds of one call, in 1e9: convolutions, matrix products, attention (half of what torch calls FLOPs)."""
    with torch.no_grad(), countable_attention(), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 2e9


def learnable(module: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters with `requires_grad`, each tensor once, by name."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


def without_gradient(method: Method, side: int, device: torch.device) -> int:
    """Number of learnable parameters that receive no gradient from one training step on a `side`-pixel square."""
    if not method.trainable:
        return 0
    training = method.training
    method.train()
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(1, 3, side, side, generator=generator).to(device)
    labels = torch.randint(IGNORE, len(method.vocabulary), (1, side, side), generator=generator).to(device)
    torch.stack(list(method.losses(images, labels).values())).sum().backward()
    idle = sum(parameter.numel() for parameter in learnable(method).values() if parameter.grad is None)
    method.zero_grad(set_to_none=True)
    method.train(training)
    return idle


def latency(call: Callable[[], object], device: torch.device, seconds: float) -> list[float]:
    """Milliseconds of single calls after warm-up, the device synchronised around each.

    Between `MIN_RUNS` and `MAX_RUNS` of them, as many as fit in `seconds`.
    """
    times: list[float] = []
    began = time.perf_counter()
    for run in range(WARM_UP_RUNS + MAX_RUNS):
        synchronise(device)
        start = time.perf_counter()
        call()
        synchronise(device)
        if run >= WARM_UP_RUNS:
            times.append(1000 * (time.perf_counter() - start))
        if len(times) >= MIN_RUNS and time.perf_counter() - began > seconds:
            break
    return times


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def profile_method(
    method: Method,
    clip: Clip,
    protocol: Protocol,
    image_size: tuple[int, int],
    prompts: int,
    device: torch.device,
    timed: Timed = "end-to-end",
    seconds: float = 10.0,
) -> Efficiency:
    """Cost of one image of `image_size` (height, width) under `protocol`, for the vocabulary that `method` was told.

    `prompts`: number of texts encoded once for the vocabulary (classes x templates).
    """
    method.eval().to(device)
    height, width = resized_shape(*image_size, protocol)
    places = windows(height, width, protocol.crop, protocol.stride)
    side = (min(protocol.crop or height, height), min(protocol.crop or width, width))
    image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0)).to(device)
    window = image[..., : side[0], : side[1]].contiguous()
    gmacs = len(places) * count_macs(lambda: method.predict(window))
    calls: dict[Timed, Callable[[], object]] = {
        "model": lambda: [method.predict(window) for _ in places],
        "end-to-end": lambda: predict_labels(method, image, [image_size], protocol),
    }
    with torch.inference_mode():
        times = latency(calls[timed], device, seconds)
    p10, median, p90 = np.percentile(times, [10, 50, 90])
    return Efficiency(
        learnable_params=sum(parameter.numel() for parameter in learnable(method).values()),
        learnable_without_gradient=without_gradient(method, min(side), device),
        image_path_params=sum(parameter.numel() for parameter in method.parameters()),
        gmacs=gmacs,
        gflops=2 * gmacs,
        text_gmacs=prompts * count_macs(lambda: clip.model.encode_text(clip.tokenizer(["a"]))),
        input_size=[height, width],
        windows=len(places),
        latency_ms=median,
        latency_p10_ms=p10,
        latency_p90_ms=p90,
        latency_runs=len(times),
        fps=1000 / median,
        timed=timed if timed == "model" else "end-to-end: windows, model, upsampling, argmax",
    )
