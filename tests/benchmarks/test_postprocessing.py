"""From logits to counts of one image: the harness beside the plain way, which gives the same numbers.

    python tests/benchmarks postprocessing

On CUDA up to rounding: `differing` is the number of pixels with another class than the plain way's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor
from torch.nn import functional as F

from zsbench.dataset import IGNORE
from zsbench.evaluation.argmax import RunningMax, feed
from zsbench.evaluation.counting import count_tensors
from zsbench.evaluation.prediction import label_map
from zsbench.evaluation.tiling import Tiling
from zsbench.method import Method, Scoring

SIZE = (480, 640)
CLASSES, SEEN = 171, 156
WHOLE = Tiling(SIZE, SIZE, ((0, 0),))
WINDOWS = Tiling((512, 683), (512, 512), ((0, 0), (0, 171)))
"""As ZegCLIP's protocol cuts an image of this size."""
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
CASES = ["stride 16, rough", "stride 16, smooth", "stride 4, rough", "stride 4, smooth", "two windows, sigmoids"]


class Scored(Method):
    """A method of which only the scores matter."""

    def __init__(self, scoring: Scoring) -> None:
        super().__init__(None, None)  # type: ignore[arg-type]  # it never looks at an image
        self._scoring = scoring

    def predict(self, images: Tensor) -> Tensor:
        raise NotImplementedError

    @property
    def scoring(self) -> Scoring:
        return self._scoring


@dataclass(frozen=True)
class Case:
    """Logits float32 (n, C, h, w) of the windows of an image, and its label int32 (H, W) on the CPU."""

    logits: Tensor
    label: Tensor
    tiling: Tiling
    method: Scored


def make_case(name: str, device: str) -> Case:
    generator = torch.Generator().manual_seed(0)
    blocks = torch.randint(IGNORE, CLASSES, (12, 16), generator=generator, dtype=torch.int32)
    label = blocks.repeat_interleave(40, 0).repeat_interleave(40, 1)
    if name == "two windows, sigmoids":  # ZegCLIP's scores
        method = Scored(Scoring(True, (torch.arange(CLASSES, device=device) < SEEN) * 0.1))
        return Case(noise((2, CLASSES, 32, 32), True, generator).to(device), label, WINDOWS, method)
    shape = (1, CLASSES, 32, 43) if "16" in name else (1, CLASSES, 120, 160)
    return Case(noise(shape, "smooth" in name, generator).to(device), label, WHOLE, Scored(Scoring()))


def noise(shape: tuple[int, int, int, int], smooth: bool, generator: torch.Generator) -> Tensor:
    if not smooth:
        return torch.randn(shape, generator=generator)
    return F.interpolate(torch.randn(*shape[:2], 6, 8, generator=generator), size=shape[2:], mode="bicubic")


def plain(case: Case) -> NDArray[np.int64]:
    """Full-size float scores, argmax, and a confusion matrix by bincount: counts (4, C) of class, tp, pred, gt."""
    prediction = (
        full_size(case).cpu().numpy().argmax(0) if case.logits.is_cpu else full_size(case).argmax(0).cpu().numpy()
    )
    label = case.label.numpy()
    valid = label >= 0
    pairs = label[valid].astype(np.int64) * CLASSES + prediction[valid]
    confusion = np.bincount(pairs, minlength=CLASSES**2).reshape(CLASSES, CLASSES)
    pred, gt = confusion.sum(0), confusion.sum(1)
    present = np.flatnonzero(pred + gt)
    return np.stack([present, confusion.diagonal()[present], pred[present], gt[present]], axis=1)


def full_size(case: Case) -> Tensor:
    """Scores float32 (C, H, W): of each window, their mean, and resized to the label."""
    tiling, device = case.tiling, case.logits.device
    if case.method.scoring.plain:
        return F.interpolate(case.logits, size=SIZE, mode="bilinear")[0]
    total, covered = torch.zeros(1, CLASSES, *tiling.shape, device=device), torch.zeros(tiling.shape, device=device)
    for logits, place in zip(case.logits, tiling.places, strict=True):
        scores = case.method.score(F.interpolate(logits[None], size=tiling.window, mode="bilinear"), slice(CLASSES))
        tiling.cut(total, place).add_(scores)
        tiling.cut(covered, place).add_(1)
    return F.interpolate(total / covered, size=SIZE, mode="bilinear")[0]


def harness(case: Case) -> NDArray[np.int64]:
    return count_tensors(case.label, label_map(case.method, case.logits, case.tiling, SIZE), CLASSES)


def chunks(case: Case) -> NDArray[np.int64]:
    """What the harness does on CUDA where it has no kernel."""
    best, scoring = RunningMax(SIZE, case.logits.device), case.method.scoring
    feed(best, None if scoring.plain else scoring, case.logits, case.tiling)
    return count_tensors(case.label, best.label.int(), CLASSES)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Numbers of one core compare better."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("way", [plain, harness])
@pytest.mark.parametrize("name", CASES)
def test_postprocessing(benchmark: BenchmarkFixture, name: str, way: Callable[[Case], NDArray[np.int64]]) -> None:
    benchmark.group = f"{CLASSES} classes at {SIZE[0]} x {SIZE[1]}, {name}"
    case = make_case(name, "cpu")
    np.testing.assert_array_equal(benchmark(way, case), plain(case))


@CUDA
@pytest.mark.parametrize("way", [plain, chunks, harness])
@pytest.mark.parametrize("name", CASES)
def test_on_cuda(benchmark: BenchmarkFixture, name: str, way: Callable[[Case], NDArray[np.int64]]) -> None:
    """Every way ends with counts on the host, so it has waited for the device."""
    benchmark.group = f"{CLASSES} classes at {SIZE[0]} x {SIZE[1]}, {name}, cuda"
    case = make_case(name, "cuda")
    benchmark(way, case)
    label = label_map(case.method, case.logits, case.tiling, SIZE)
    benchmark.extra_info["differing"] = int((label != full_size(case).argmax(0)).sum()) if way is harness else 0
