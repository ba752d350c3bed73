"""Counting, records and the bootstrap at the sizes of real benchmarks, beside the plain way of doing the same.

python -m pytest tests/benchmarks/test_metrics_speed.py --benchmark-only --benchmark-group-by=group
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from zsbench.metrics.counts import count
from zsbench.metrics.intervals import bootstrap, draws, paired_bootstrap
from zsbench.metrics.journal import Journal
from zsbench.metrics.records import Records
from zsbench.metrics.scores import METRICS, Counts, summary

IMAGES, CLASSES, ROWS = 5000, 171, 15  # COCO-Stuff, val2017
SIZES = {"voc": (375, 500, 21), "coco-stuff": (480, 640, 171), "ade-847": (1024, 1376, 847), "tiny": (64, 64, 847)}
SEEN = np.arange(CLASSES) < 156


def scene(height: int, width: int, num_classes: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """A label of 16-pixel blocks and a prediction that is right on 70 % of its pixels."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(-1, num_classes, (height // 16 + 1, width // 16 + 1))
    label = blocks.repeat(16, axis=0).repeat(16, axis=1)[:height, :width].astype(np.int32)
    guess = rng.integers(0, num_classes, label.shape)
    right = (rng.random(label.shape) < 0.7) & (label >= 0)
    return label, np.where(right, label, guess).astype(np.int32)


def plain_count(label: NDArray[np.int32], prediction: NDArray[np.int32], num_classes: int) -> NDArray[np.int64]:
    """Three masks per class."""
    valid = label >= 0
    rows = []
    for c in range(num_classes):
        true, guess = label == c, valid & (prediction == c)
        row = (c, (true & guess).sum(), guess.sum(), true.sum())
        if row[2] + row[3]:
            rows.append(row)
    return np.array(rows, dtype=np.int64)


def coco_rows(seed: int) -> list[NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(IMAGES):
        cls = np.sort(rng.choice(CLASSES, ROWS, replace=False))
        tp = rng.integers(0, 20_000, ROWS)
        rows.append(np.stack([cls, tp, tp + rng.integers(0, 9000, ROWS), tp + rng.integers(1, 9000, ROWS)], axis=1))
    return rows


IDS = [f"{i:012d}" for i in range(IMAGES)]


@pytest.fixture(scope="module")
def records() -> Records:
    return Records.of(IDS, coco_rows(0))


def plain_bootstrap(records: Records, replicates: int) -> dict[str, float]:
    """Sum the chosen images anew for each replicate; standard errors only."""
    table = records.dense(CLASSES)
    values: dict[str, list[float]] = {name: [] for name in METRICS}
    for row in draws(IMAGES, replicates, 0):
        tp, pred, gt = (row.astype(np.int64) @ table[..., i] for i in range(3))
        for name, value in summary(Counts(tp, pred, gt), SEEN).items():
            values[name].append(value)
    return {name: float(np.std(of, ddof=1)) for name, of in values.items()}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("way", [count, plain_count])
def test_count(benchmark: Any, way: Any, size: str) -> None:
    benchmark.group = f"count one image: {size}"
    label, prediction = scene(*SIZES[size])
    rounds = {"rounds": 3} if way is plain_count else {"rounds": 20, "warmup_rounds": 2}
    rows = benchmark.pedantic(way, (label, prediction, SIZES[size][2]), **rounds)
    if size != "ade-847":
        assert np.array_equal(rows, plain_count(label, prediction, SIZES[size][2]))


@pytest.mark.parametrize(("way", "replicates"), [("zsbench", 1000), ("zsbench", 50), ("plain", 50)])
def test_bootstrap(benchmark: Any, records: Records, way: str, replicates: int) -> None:
    benchmark.group = f"bootstrap of COCO-Stuff, {replicates} replicates"
    if way == "plain":
        benchmark.pedantic(plain_bootstrap, (records, replicates), rounds=1)
        return
    found = benchmark.pedantic(bootstrap, (records, CLASSES, SEEN, None, replicates), rounds=3)
    if replicates == 50:
        expected = plain_bootstrap(records, replicates)
        assert {name: e.stderr for name, e in found.items()} == pytest.approx(expected)


def test_paired_bootstrap(benchmark: Any, records: Records) -> None:
    benchmark.group = "paired bootstrap of COCO-Stuff, 1000 replicates"
    rng = np.random.default_rng(1)
    tp = (records.tp * rng.random(len(records.tp))).astype(np.int64)
    other = Records(records.ids, records.image, records.cls, tp, records.pred, records.gt)
    benchmark.pedantic(paired_bootstrap, (records, other, CLASSES, SEEN), rounds=2)


def test_metrics_of_coco(benchmark: Any, records: Records) -> None:
    benchmark.group = "metrics from records"
    benchmark(lambda: summary(Counts.of(records, CLASSES), SEEN))


def test_hash(benchmark: Any, records: Records) -> None:
    benchmark.group = "records of COCO-Stuff"
    benchmark(records.sha256)


def test_merge_of_eight(benchmark: Any, records: Records) -> None:
    benchmark.group = "records of COCO-Stuff"
    parts = [records.select(IDS[first::8]) for first in range(8)]
    assert benchmark(Records.merge, parts).sha256() == records.sha256()


def test_save(benchmark: Any, records: Records, tmp_path: Path) -> None:
    benchmark.group = "records of COCO-Stuff"
    benchmark.pedantic(records.save, (tmp_path / "records.npz",), rounds=3)
    assert (tmp_path / "records.npz").stat().st_size < 1_000_000


def test_load(benchmark: Any, records: Records, tmp_path: Path) -> None:
    benchmark.group = "records of COCO-Stuff"
    records.save(tmp_path / "records.npz")
    benchmark(Records.load, tmp_path / "records.npz")


def test_journal_append(benchmark: Any, tmp_path: Path) -> None:
    """One image per batch, on the disk before it returns."""
    benchmark.group = "journal"
    rows = coco_rows(0)
    with Journal(tmp_path / "records.journal", "run") as journal:
        work = iter(zip(IDS, rows, strict=True))

        def append_one() -> None:
            image_id, of_image = next(work)
            journal.append([image_id], [of_image])

        benchmark.pedantic(append_one, rounds=1000)


def test_journal_resume(benchmark: Any, tmp_path: Path) -> None:
    """Opening the journal of a finished COCO-Stuff run of single images."""
    benchmark.group = "journal"
    path = tmp_path / "records.journal"
    with Journal(path, "run") as journal:
        for image_id, rows in zip(IDS, coco_rows(0), strict=True):
            journal.append([image_id], [rows])
    benchmark.pedantic(lambda: Journal(path, "run").close(), rounds=3)
