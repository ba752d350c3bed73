"""Scoring 500 label maps of COCO's size with 171 classes, beside what others take for the mean IoU of the same maps.

python tests/benchmarks scoring    # torchmetrics comes with the extra `compared`
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from zsbench.data.mapping import ZERO_BASED, read_mapping
from zsbench.data.mask import read_mask
from zsbench.data.predictions import find_predictions
from zsbench.dataset import Dataset, Sample
from zsbench.metrics.counts import count_runs, runs
from zsbench.metrics.records import Records
from zsbench.metrics.scores import Counts, iou
from zsbench.runs.request import ScoreRequest
from zsbench.runs.scoring import Scoring

IMAGES, HEIGHT, WIDTH, CLASSES = 500, 480, 640, 171
MEANING = read_mapping(ZERO_BASED, [f"class {index}" for index in range(CLASSES)])
Pairs = list[tuple[NDArray[Any], NDArray[Any]]]
"""Truth and prediction of each image, as stored."""


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


def decode(path: Path) -> NDArray[Any]:
    return np.asarray(Image.open(path))


def ours(folders: tuple[Path, Path]) -> float:
    """The mean IoU, from files to records to the number."""
    dataset = Folder(folders[0])
    ids = tuple(dataset.ids("val"))
    predictions = find_predictions(folders[1], ids)
    scoring = Scoring(ScoreRequest(), "maps", dataset, "val", dataset.names(), ids, predictions, MEANING)
    return mean_iou(Records.of(ids, [scoring.count(image_id).rows for image_id in ids]))


def ours_in_memory(pairs: Pairs) -> float:
    """The mean IoU, from decoded maps to records to the number; what a value means is looked up as `score` does it."""
    rows = []
    for truth, found in pairs:
        stored = runs(MEANING(truth), found)
        rows.append(count_runs(replace(stored, prediction=MEANING(stored.prediction)), CLASSES))
    return mean_iou(Records.of([str(index) for index in range(len(rows))], rows))


def mean_iou(records: Records) -> float:
    return float(np.nanmean(iou(Counts.of(records, CLASSES))))


def decoded(folders: tuple[Path, Path], images: int = IMAGES) -> Pairs:
    truth, maps = folders
    return [(decode(truth / f"{index}.png"), decode(maps / f"{index}.png")) for index in range(images)]


def mean_iou_of_torchmetrics(pairs: Pairs) -> None:
    """Its mean of the images' IoUs, which is another number."""
    import torch
    from torchmetrics.segmentation import MeanIoU

    metric = MeanIoU(num_classes=CLASSES, input_format="index", per_class=True)
    for truth, found in pairs:
        metric.update(*(torch.from_numpy(label.astype(np.int64))[None] for label in (found, truth)))
    metric.compute()


def mean_iou_of_evaluate(pairs: Pairs) -> float:
    """What the script `mean_iou` of Hugging Face's evaluate computes, as mmsegmentation once did: `evaluate.load` fetches it
    from the network, so it is said here anew. Without the copies that its Arrow tables make of every image."""
    total = np.zeros((3, CLASSES))
    for truth, found in pairs:
        labelled = truth != 255
        truth, found = truth[labelled], found[labelled]
        for row, values in zip(total, (found[found == truth], found, truth), strict=True):
            row += np.histogram(values, bins=CLASSES, range=(0, CLASSES - 1))[0]
    both, predicted, true = total
    with np.errstate(invalid="ignore"):
        return float(100 * np.nanmean(both / (predicted + true - both)))


def beside_ours(benchmark: Any, what: str, way: Callable[[], Any], own: Callable[[], Any], rounds: int = 5) -> Any:
    """Time `way`, each time after doing the same by zsbench."""
    benchmark.group = f"mean IoU of {what}, {WIDTH}x{HEIGHT}, {CLASSES} classes"
    times = []

    def score() -> None:
        began = time.perf_counter()
        own()
        times.append(time.perf_counter() - began)

    found = benchmark.pedantic(way, setup=score, rounds=rounds, warmup_rounds=1)
    benchmark.extra_info["zsbench ms"] = 1000 * median(times)
    if benchmark.stats is not None:  # None with --benchmark-disable
        benchmark.extra_info["times as fast"] = benchmark.stats.stats.median / median(times)
    return found


def test_decoding_alone(benchmark: Any, folders: tuple[Path, Path]) -> None:
    """Beside all of scoring."""
    beside_ours(benchmark, f"{IMAGES} maps in files", lambda: decoded(folders), lambda: ours(folders))


def test_evaluate(benchmark: Any, folders: tuple[Path, Path]) -> None:
    pairs, what = decoded(folders), f"{IMAGES} maps in memory"
    mean = beside_ours(benchmark, what, lambda: mean_iou_of_evaluate(pairs), lambda: ours_in_memory(pairs))
    assert mean == pytest.approx(ours_in_memory(pairs))


def test_torchmetrics(benchmark: Any, folders: tuple[Path, Path]) -> None:
    """Of a few images, as its one-hot maps of each take 840 MB and seconds."""
    pytest.importorskip("torchmetrics")
    pairs = decoded(folders, 3)
    theirs, own = (lambda: mean_iou_of_torchmetrics(pairs)), (lambda: ours_in_memory(pairs))
    beside_ours(benchmark, f"{len(pairs)} maps in memory", theirs, own, rounds=3)
