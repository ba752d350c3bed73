"""How long a run will take, from a trial on made-up images: a step that warms up, and one that is timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch

from zsbench.dataset import EvalProtocol, Sample
from zsbench.evaluation.prediction import predict_permitted
from zsbench.evaluation.tiling import Tiling, resized_shape
from zsbench.method import ImageBatch, Method
from zsbench.settings import Phase
from zsbench.training.rehearsal import SEGMENTS as SEGMENTS
from zsbench.training.rehearsal import explained, rehearsal, trial_step

QUICK_SECONDS = 1.0
MANY = 50
"""So many images are worth a second, warm trial of one of them, however slow it is: a fiftieth of the run at most."""


def seconds_for(call: Callable[[int], object], images: int, batch: int, device: torch.device) -> float:
    """Estimated seconds for `images`, which go through `call(n)` n at a time, in the run as `batch`.

    The first trial of a size also allocates, and encodes texts: it counts only if it is slow and few images are to come. A
    whole batch, which may cost less than its images one by one, is tried if it is quick.
    """
    each = seconds_of(call, 1, device)
    if each <= QUICK_SECONDS or images >= MANY:
        each = seconds_of(call, 1, device)
    if batch > 1 and batch * each <= QUICK_SECONDS:
        each = min(seconds_of(call, batch, device) for _ in range(2)) / batch
    return each * images


def seconds_of(call: Callable[[int], object], count: int, device: torch.device) -> float:
    """Wall time of `call(count)`."""
    began = time.perf_counter()
    call(count)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def training_seconds(method: Method, phases: Sequence[Phase], device: torch.device) -> float:
    """Estimated training time: all images of all steps, at the cost of one in the first phase, of which the method has been
    told the vocabulary. An upper bound where a batch is slow.

    The step is tried before `Method.begin_phase`, which may take long. Raises `UserError` where the method does not keep to
    its contract, so that this is said before anything long starts.
    """
    recipe = phases[0].recipe
    method.to(device)

    def step(count: int) -> None:
        trial_step(method, phases[0], count, device)

    images = sum(phase.recipe.iterations * phase.recipe.batch_size for phase in phases)
    with rehearsal(method):
        return seconds_for(step, images, recipe.micro_batch or recipe.batch_size, device)


def evaluation_seconds(
    method: Method, sample: Sample, images: int, protocol: EvalProtocol, device: torch.device
) -> float:
    """Estimated evaluation time of images like `sample`: one window, times all windows, post-processing not included."""
    height, width = sample.label.shape
    tiling = Tiling.of(resized_shape(height, width, protocol), protocol)
    noise = torch.rand(1, 3, *tiling.window).to(device)
    window = ImageBatch(noise, [sample.id], [torch.tensor(sample.label)], whole=len(tiling.places) == 1)
    method.eval().to(device)
    with (
        explained(method, "predict on a made-up image"),
        torch.inference_mode(),
    ):  # one at a time, as most evaluations do
        return seconds_for(lambda _: predict_permitted(method, window), len(tiling.places) * images, 1, device)
