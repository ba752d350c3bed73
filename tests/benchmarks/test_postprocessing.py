"""Upsampling, argmax and counts of one image: the harness beside the plain way, which gives the same numbers.

python tests/benchmarks postprocessing
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

from zsbench.argmax import upsampled_argmax
from zsbench.dataset import IGNORE, Protocol
from zsbench.inference import label_map
from zsbench.method import Method
from zsbench.records import count
from zsbench.windows import Tiling

SIZE = (480, 640)
CLASSES = 171
SHAPES = {"stride 16": (32, 43), "stride 4": (120, 160)}


@dataclass(frozen=True)
class Case:
    """Logits float32 (C, h, w) and a label int32 (H, W)."""

    logits: Tensor
    label: NDArray[np.int32]


def make_case(shape: tuple[int, int], smooth: bool) -> Case:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, CLASSES, *((6, 8) if smooth else shape), generator=generator)
    logits = F.interpolate(logits, size=shape, mode="bicubic")[0]
    blocks = torch.randint(IGNORE, CLASSES, (12, 16), generator=generator, dtype=torch.int32)
    return Case(logits, blocks.repeat_interleave(40, 0).repeat_interleave(40, 1).numpy())


def plain(case: Case) -> NDArray[np.int64]:
    """Full-size float logits, argmax, and a confusion matrix by bincount: counts (4, C) of class, tp, pred, gt."""
    scores = F.interpolate(case.logits[None], size=SIZE, mode="bilinear")[0]
    prediction = scores.numpy().argmax(0)
    valid = case.label >= 0
    pairs = case.label[valid].astype(np.int64) * CLASSES + prediction[valid]
    confusion = np.bincount(pairs, minlength=CLASSES**2).reshape(CLASSES, CLASSES)
    pred, gt = confusion.sum(0), confusion.sum(1)
    present = np.flatnonzero(pred + gt)
    return np.stack([present, confusion.diagonal()[present], pred[present], gt[present]], axis=1)


def harness(case: Case) -> NDArray[np.int64]:
    return count(case.label, upsampled_argmax(case.logits, SIZE).int().numpy(), CLASSES)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Numbers of one core compare better."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("way", [plain, harness])
@pytest.mark.parametrize("smooth", [False, True], ids=["rough", "smooth"])
@pytest.mark.parametrize("stride", SHAPES)
def test_postprocessing(
    benchmark: BenchmarkFixture, stride: str, smooth: bool, way: Callable[[Case], NDArray[np.int64]]
) -> None:
    benchmark.group = f"{CLASSES} classes at {SIZE[0]} x {SIZE[1]}, {stride}, {'smooth' if smooth else 'rough'}"
    case = make_case(SHAPES[stride], smooth)
    counts = benchmark(way, case)
    np.testing.assert_array_equal(counts, plain(case))


class Calibrated(Method):
    """ZegCLIP's scores: sigmoids, less a tenth for seen classes."""

    def __init__(self) -> None:
        super().__init__(None, None)  # type: ignore[arg-type]  # it never looks at an image
        self.seen = (torch.arange(CLASSES) < 156) * 0.1

    def predict(self, images: Tensor) -> Tensor:
        raise NotImplementedError

    def score(self, logits: Tensor, classes: slice) -> Tensor:
        return logits.sigmoid() - self.seen[classes, None, None]


def plain_scored(case: Case) -> NDArray[np.int64]:
    """`plain`, of full-size scores."""
    upsampled = F.interpolate(case.logits[None], size=SIZE, mode="bilinear")
    scores = Calibrated().score(upsampled, slice(0, CLASSES))
    return plain(Case(scores[0], case.label))


def harness_scored(case: Case) -> NDArray[np.int64]:
    whole = Tiling.of(SIZE, Protocol(short_side=None, crop=None, stride=None))
    return count(case.label, label_map(Calibrated(), case.logits[None], whole, SIZE).numpy(), CLASSES)


@pytest.mark.parametrize("way", [plain_scored, harness_scored])
def test_scored_postprocessing(benchmark: BenchmarkFixture, way: Callable[[Case], NDArray[np.int64]]) -> None:
    benchmark.group = f"{CLASSES} classes at {SIZE[0]} x {SIZE[1]}, stride 16, calibrated sigmoids"
    case = make_case(SHAPES["stride 16"], True)
    counts = benchmark(way, case)
    np.testing.assert_array_equal(counts, plain_scored(case))
