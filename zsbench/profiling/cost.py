"""The cost of one image: parameters, multiply-adds, time, memory and energy."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from zsbench.clip.model import Clip
from zsbench.dataset import IGNORE, EvalProtocol, Sample
from zsbench.evaluation.counting import count_tensors
from zsbench.evaluation.prediction import predict_labels, window_logits
from zsbench.evaluation.tiling import Tiling, resized_shape
from zsbench.evaluation.watch import Watch
from zsbench.method import ImageBatch, Method
from zsbench.profiling.clock import Call, Throughput, compiled, latency, throughput
from zsbench.profiling.energy import find_gpu
from zsbench.profiling.memory import memory_kind, peak_memory, reset_peak_memory
from zsbench.profiling.operations import count_macs, count_operations
from zsbench.profiling.parameters import learnable, text_tower, total, without_gradient
from zsbench.result import Efficiency, Timed

INSIDE: dict[Timed, str] = {
    "model": "model: all windows through the method, as the protocol batches them",
    "end-to-end": "end-to-end: windows, model, upsampling, argmax, counting of pixels; no decoding, no resizing of images",
}
WINDOWS_AT_ONCE = 16
"""As `predict_labels` batches them."""


@dataclass(frozen=True)
class Conditions:
    """How a method is timed. `seconds`: for each measurement. `largest_batch`: to try for throughput; 1 tries none."""

    timed: Timed = "end-to-end"
    dtype: torch.dtype = torch.float32
    compile: bool = False
    seconds: float = 10.0
    largest_batch: int = 1


@dataclass(frozen=True)
class Workload:
    """A method and the images that it is timed on: noise of `image_size` (height, width) before resizing.

    `sample`: whose id and label the noise goes by, for methods that look at more than pixels. `watch`: notes what the method
    counts.
    """

    method: Method
    protocol: EvalProtocol
    image_size: tuple[int, int]
    device: torch.device
    sample: Sample | None = None
    watch: Watch = field(default_factory=Watch)

    @property
    def tiling(self) -> Tiling:
        return Tiling.of(resized_shape(*self.image_size, self.protocol), self.protocol)

    def batch(self, size: int) -> ImageBatch:
        """So many images, resized, on the device."""
        noise = torch.rand(size, 3, *self.tiling.shape, generator=torch.Generator().manual_seed(0)).to(self.device)
        if self.sample is None:
            return ImageBatch(noise)
        return ImageBatch(noise, [self.sample.id] * size, [torch.tensor(self.sample.label)] * size)

    def windows(self, batch: int, at_once: int = WINDOWS_AT_ONCE) -> Call:
        """The method alone, over all windows of `batch` images."""
        images, tiling = self.batch(batch), self.tiling

        def call() -> None:
            for statistics in window_logits(self.method, images, tiling, at_once)[1]:
                self.watch.note(statistics)

        return call

    def whole(self, batch: int) -> Call:
        """From the resized images to counts of pixels."""
        images = self.batch(batch)
        background = self.protocol.background_threshold is not None  # one past the last class
        words = len(self.method.vocabulary) + background
        generator = torch.Generator().manual_seed(0)
        label = torch.randint(IGNORE, words, self.image_size, dtype=torch.int32, generator=generator)

        def call() -> None:
            sizes = [self.image_size] * batch
            for prediction in predict_labels(self.method, images, sizes, self.protocol, self.watch):
                count_tensors(label, prediction, words)

        return call

    def call(self, timed: Timed) -> Callable[[int], Call]:
        return self.windows if timed == "model" else self.whole


def profile_method(
    method: Method,
    clip: Clip | None,
    protocol: EvalProtocol,
    image_size: tuple[int, int],
    prompts: int,
    device: torch.device,
    conditions: Conditions = Conditions(),
    sample: Sample | None = None,
) -> Efficiency:
    """Cost of one image of `image_size` (height, width) under `protocol`, for the vocabulary that `method` was told.

    `clip`: None for a method that needs none. `sample`: an image of the dataset, by whose id and label the method may go.
    `prompts`: number of texts encoded once for the vocabulary (words x templates). Time comes first, so that the memory
    of nothing else is in its peak. Operations are counted in float32, window by window.
    """
    method.eval().to(device)
    work = Workload(method, protocol, image_size, device, sample)
    measured = time_work(work, conditions)
    operations = count_operations(work.windows(1, at_once=1), method)
    window, texts = work.tiling.window, text_tower(clip)
    return Efficiency(
        learnable_params=total(learnable(method).values()),
        learnable_without_gradient=without_gradient(method, min(window), device),
        image_path_params=total(method.parameters()),
        text_params=total(texts),
        total_params=total([*method.parameters(), *texts]),
        gmacs=operations.gmacs,
        gflops=2 * operations.gmacs,
        module_gmacs=dict(operations.modules),
        uncounted=list(operations.uncounted),
        text_gmacs=text_gmacs(clip, prompts),
        input_size=list(work.tiling.shape),
        windows=len(work.tiling.places),
        timed=INSIDE[conditions.timed],
        **measured,
    )


def text_gmacs(clip: Clip | None, prompts: int) -> float:
    """Multiply-adds of encoding `prompts` texts, in 1e9; 0 without CLIP."""
    return 0.0 if clip is None else prompts * count_macs(lambda: clip.model.encode_text(clip.tokenizer(["a"])))


def time_work(work: Workload, conditions: Conditions) -> dict[str, Any]:
    """The fields of `Efficiency` that are measured: latency, throughput, memory, energy."""
    device, compile_seconds = work.device, math.nan

    def of_batch(batch: int) -> Call:
        call = work.call(conditions.timed)(batch)
        if conditions.compile and batch > 1:
            call()  # compiles anew for each size, which is no part of the time
        return call

    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        stack.enter_context(torch.autocast(device.type, conditions.dtype, enabled=conditions.dtype != torch.float32))
        call = of_batch(1)
        if conditions.compile:
            call()  # as it is, first
            compile_seconds = stack.enter_context(compiled(work.method, call))
        reset_peak_memory(device)
        single = latency(call, device, conditions.seconds, find_gpu(device))
        statistics, peak = work.watch.statistics(), peak_memory(device)
        p10, median, p90 = np.percentile(single.times, [10, 50, 90])
        many = None
        if conditions.largest_batch > 1:
            many = throughput(of_batch, 1000 / median, conditions.largest_batch, device, conditions.seconds)
    return {
        "latency_ms": median,
        "latency_p10_ms": p10,
        "latency_p90_ms": p90,
        "latency_runs": len(single.times),
        "warm_up_runs": single.warm_up,
        "steady": single.steady,
        "fps": 1000 / median,
        "peak_memory": peak,
        "memory_kind": memory_kind(device),
        "joules": single.joules,
        "compiled": conditions.compile,
        "compile_seconds": compile_seconds,
        "statistics": statistics,
        **throughput_fields(many),
    }


def throughput_fields(many: Throughput | None) -> dict[str, Any]:
    if many is None:
        return {}
    return {
        "throughput": many.rates[many.best],
        "throughput_batch": many.best,
        "batch_throughput": many.rates,
        "exhausted_batch": many.exhausted,
    }
