"""Scoring 500 label maps of COCO's size with 171 classes, beside what others take for the mean IoU of the same maps.

python -m pytest tests/benchmarks/test_scoring_speed.py -s    # torchmetrics and evaluate come with the extra `compared`
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from zsbench.data.mapping import ZERO_BASED, read_mapping
from zsbench.data.mask import read_mask
from zsbench.data.predictions import find_predictions
from zsbench.dataset import Dataset, Sample
from zsbench.metrics.records import Records
from zsbench.metrics.scores import Counts, iou
from zsbench.runs.request import ScoreRequest
from zsbench.runs.scoring import Scoring

IMAGES, HEIGHT, WIDTH, CLASSES = 500, 480, 640, 171


class Folder(Dataset):
    """Label maps in a folder, without images."""

    name = "folder"
    classes = tuple(f"class {index}" for index in range(CLASSES))

    def ids(self, split: str) -> list[str]:
        return [str(index) for index in range(IMAGES)]

    def label(self, split: str, image_id: str) -> NDArray[np.int32]:
        assert self.root is not None
        return read_mask(self.root / f"{image_id}.png").astype(np.int32)

    def read(self, split: str, image_id: str) -> Sample:
        raise NotImplementedError


def smooth(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Regions of a dozen classes with wavy borders, as in a label map of a photograph."""
    coarse = rng.choice(rng.choice(CLASSES, 12), (8, 10)).astype(np.uint8)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    bent = (y + 20 * np.sin(x / 23)).clip(0, HEIGHT - 1), (x + 20 * np.sin(y / 31)).clip(0, WIDTH - 1)
    return coarse[bent[0].astype(int) // 60, bent[1].astype(int) // 64]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    rng, root = np.random.default_rng(0), tmp_path_factory.mktemp("coco")
    for folder in (root / "truth", root / "maps"):
        folder.mkdir()
    for index in range(IMAGES):
        truth = smooth(rng)
        found = np.where(smooth(rng) % 3 > 0, truth, smooth(rng))
        for folder, label in (("truth", truth), ("maps", found)):
            Image.fromarray(label).save(root / folder / f"{index}.png")
    return root / "truth", root / "maps"


def seconds(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    done = work()
    return done, time.perf_counter() - began


def decode(path: Path) -> NDArray[Any]:
    return np.asarray(Image.open(path))


def ours(folders: tuple[Path, Path]) -> float:
    """The mean IoU, from files to records to the number."""
    dataset = Folder(folders[0])
    ids = tuple(dataset.ids("val"))
    predictions, meaning = find_predictions(folders[1], ids), read_mapping(ZERO_BASED, dataset.classes)
    scoring = Scoring(ScoreRequest(), "maps", dataset, "val", dataset.names(), ids, predictions, meaning)
    records = Records.of(ids, [scoring.count(image_id).rows for image_id in ids])
    return float(np.nanmean(iou(Counts.of(records, CLASSES))))


def decoded(folders: tuple[Path, Path]) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    truth, maps = folders
    return [(decode(truth / f"{index}.png"), decode(maps / f"{index}.png")) for index in range(IMAGES)]


def test_scoring_takes_at_most_twice_as_long_as_decoding(folders: tuple[Path, Path]) -> None:
    ours(folders)
    _, plain = seconds(lambda: decoded(folders))
    _, scored = seconds(lambda: ours(folders))
    print(f"\ndecoding {plain:.2f} s, scoring {scored:.2f} s: {scored / plain:.2f} times")
    assert scored < 2 * plain


def test_scoring_is_five_times_as_fast_as_torchmetrics(folders: tuple[Path, Path]) -> None:
    torchmetrics, torch = pytest.importorskip("torchmetrics.segmentation"), pytest.importorskip("torch")
    pairs = decoded(folders)

    def theirs() -> None:
        metric = torchmetrics.MeanIoU(num_classes=CLASSES, input_format="index", per_class=True)
        for truth, found in pairs:
            metric.update(*(torch.from_numpy(label.astype(np.int64))[None] for label in (found, truth)))
        metric.compute()

    _, their_seconds = seconds(theirs)
    _, our_seconds = seconds(lambda: ours(folders))
    print(f"\ntorchmetrics {their_seconds:.2f} s after decoding, zsbench {our_seconds:.2f} s with decoding")
    assert their_seconds > 5 * our_seconds


def test_scoring_is_five_times_as_fast_as_evaluate(folders: tuple[Path, Path]) -> None:
    evaluate = pytest.importorskip("evaluate")
    try:
        metric = evaluate.load("mean_iou")
    except Exception as error:  # the metric's code is downloaded
        pytest.skip(f"evaluate cannot load mean_iou: {type(error).__name__}")
    pairs = decoded(folders)
    truths, found = ([pair[place] for pair in pairs] for place in (0, 1))
    theirs, their_seconds = seconds(
        lambda: metric.compute(predictions=found, references=truths, num_labels=CLASSES, ignore_index=255)
    )
    mean, our_seconds = seconds(lambda: ours(folders))
    print(f"\nevaluate {their_seconds:.2f} s after decoding, zsbench {our_seconds:.2f} s with decoding")
    assert 100 * theirs["mean_iou"] == pytest.approx(mean)
    assert their_seconds > 5 * our_seconds
