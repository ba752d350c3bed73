"""Counting, records and the bootstrap at the sizes of real benchmarks, beside the plain way of doing the same.

Beside them stands what they replaced (`before`): counts of each class, without the confusion they follow from.

python -m pytest tests/benchmarks/test_metrics_speed.py --benchmark-only --benchmark-group-by=group
"""

from __future__ import annotations

import json
import os
import tracemalloc
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from zsbench.metrics.counts import count
from zsbench.metrics.intervals import bootstrap
from zsbench.metrics.journal import Journal
from zsbench.metrics.records import Records
from zsbench.metrics.resampling import Resampling, draws
from zsbench.metrics.scores import METRICS, Counts, summary
from zsbench.metrics.significance import compare

Labels = NDArray[np.int32]
Rows = NDArray[np.int64]

SIZES = {"voc": (375, 500, 21), "coco-stuff": (480, 640, 171), "ade-847": (1024, 1376, 847), "tiny": (64, 64, 847)}
BENCHMARKS = {"coco-stuff": (5000, 171), "ade-847": (2000, 847)}
"""Images and classes."""


def regions(height: int, width: int, classes: NDArray[np.int64], cells: int, rng: np.random.Generator) -> Labels:
    """A map of Voronoi cells, each of one of the classes."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    nearest, label = np.full((height, width), np.inf, np.float32), np.zeros((height, width), np.int32)
    for row, column in rng.random((cells, 2)) * (height, width):
        distance = (y - row) ** 2 + (x - column) ** 2
        label[distance < nearest] = rng.choice(classes)
        nearest = np.minimum(nearest, distance)
    return label


def photograph(height: int, width: int, num_classes: int) -> tuple[Labels, Labels]:
    """A dozen classes in regions, and a prediction that is right in most regions and knows twenty classes more."""
    rng = np.random.default_rng(0)
    present = rng.choice(num_classes, min(12, num_classes), replace=False)
    label = regions(height, width, present, 60, rng)
    label[: height // 20] = -1
    known = np.concatenate([present, rng.choice(num_classes, min(20, num_classes), replace=False)])
    right = regions(height, width, np.arange(5), 60, rng) > 1
    return label, np.where(right, np.maximum(label, 0), regions(height, width, known, 120, rng)).astype(np.int32)


def noise(height: int, width: int, num_classes: int) -> tuple[Labels, Labels]:
    """The worst case: blocks of 16 pixels, and where the prediction is wrong, another class in every pixel."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(-1, num_classes, (height // 16 + 1, width // 16 + 1))
    label = blocks.repeat(16, axis=0).repeat(16, axis=1)[:height, :width].astype(np.int32)
    guess = rng.integers(0, num_classes, label.shape)
    right = (rng.random(label.shape) < 0.7) & (label >= 0)
    return label, np.where(right, label, guess).astype(np.int32)


def count_before(label: Labels, prediction: Labels, num_classes: int) -> Rows:
    """Rows (class, tp, pred, gt): a joint histogram, or three of their own where that would be larger than the image."""
    width = num_classes + 1
    if width**2 <= max(label.size, 1 << 12):
        key = np.multiply(label.ravel(), width, dtype=np.intp) + prediction.ravel() + (width + 1)
        joint = np.bincount(key, minlength=width**2).reshape(width, width)[1:]
        tp, pred, gt = joint[:, 1:].diagonal(), joint[:, 1:].sum(axis=0), joint.sum(axis=1)
    else:
        true, guess = label[label >= 0], prediction[label >= 0]
        kinds = (true[true == guess], guess[guess >= 0], true)
        tp, pred, gt = (np.bincount(kind, minlength=num_classes) for kind in kinds)
    cls = np.flatnonzero(pred + gt)
    return np.stack([cls, tp[cls], pred[cls], gt[cls]], axis=1)


def drawn_rows(images: int, classes: int) -> list[Rows]:
    """Sparse confusion of images that have 15 classes each, taken for 7 others each: about 110 rows an image."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(images):
        truth = rng.choice(classes, 15, replace=False).repeat(8)
        prediction = np.where(np.arange(120) % 8, rng.choice(rng.choice(classes, 40), 120), truth)
        pairs = np.unique(np.stack([truth, prediction], axis=1), axis=0)
        rows.append(np.column_stack([pairs, rng.integers(1, 20_000, len(pairs))]))
    return rows


def counts_of(rows: Rows) -> Rows:
    """Rows (class, tp, pred, gt), as one image was recorded before."""
    counts = Records.of(["image"], [rows]).class_counts()
    return np.stack([counts.cls, counts.tp, counts.pred, counts.gt], axis=1)


@dataclass(frozen=True)
class Case:
    """The images of one benchmark, recorded as they are now or as they were before."""

    name: str
    classes: int
    rows: Sequence[Rows]
    before: bool

    @property
    def ids(self) -> list[str]:
        return [f"{i:012d}" for i in range(len(self.rows))]

    @property
    def seen(self) -> NDArray[np.bool_]:
        return np.arange(self.classes) % 10 > 0

    @property
    def records(self) -> Records:
        if not self.before:
            return Records.of(self.ids, self.rows)
        image = np.repeat(np.arange(len(self.rows)), [len(of_image) for of_image in self.rows])
        return Records(np.array(self.ids), np.stack([image, *np.concatenate(self.rows).T]))


@pytest.fixture(scope="module", params=BENCHMARKS)
def now_and_before(request: pytest.FixtureRequest) -> dict[str, Case]:
    images, classes = BENCHMARKS[request.param]
    rows = drawn_rows(images, classes)
    before = [counts_of(of_image) for of_image in rows]
    return {"now": Case(request.param, classes, rows, False), "before": Case(request.param, classes, before, True)}


@pytest.fixture(params=["now", "before"])
def case(request: pytest.FixtureRequest, now_and_before: dict[str, Case]) -> Case:
    return now_and_before[request.param]


def measure(benchmark: Any, case: Case, what: str, call: Callable[[], Any], rounds: int = 5) -> Any:
    """Time `call` in the group of `what`, and add the most memory that it held at once."""
    benchmark.group = f"{what}: {case.name}"
    tracemalloc.start()
    call()
    benchmark.extra_info["peak MB"] = round(tracemalloc.get_traced_memory()[1] / 1e6, 1)
    tracemalloc.stop()
    return benchmark.pedantic(call, rounds=rounds)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scene", [photograph, noise])
@pytest.mark.parametrize("way", [count, count_before])
def test_count(benchmark: Any, way: Any, scene: Any, size: str) -> None:
    benchmark.group = f"count one image: {scene.__name__}, {size}"
    label, prediction = scene(*SIZES[size])
    rows = benchmark.pedantic(way, (label, prediction, SIZES[size][2]), rounds=20, warmup_rounds=2)
    benchmark.extra_info["rows"] = len(rows)
    if way is count:
        assert np.array_equal(counts_of(rows), count_before(label, prediction, SIZES[size][2]))


def test_records_of_rows(benchmark: Any, case: Case) -> None:
    measure(benchmark, case, "records from rows", lambda: case.records)


def test_hash(benchmark: Any, case: Case) -> None:
    measure(benchmark, case, "hash", case.records.sha256)


def test_merge_of_eight(benchmark: Any, case: Case) -> None:
    records = case.records
    parts = [records.select(case.ids[first::8]) for first in range(8)]
    assert measure(benchmark, case, "merge of eight", lambda: Records.merge(parts)).sha256() == records.sha256()


def test_save(benchmark: Any, case: Case, tmp_path: Path) -> None:
    path, records = tmp_path / "records.npz", case.records
    columns = dict(zip(("image", "cls", "tp", "pred", "gt"), records.table, strict=False))
    before = lambda: np.savez_compressed(path, ids=records.ids, **columns)  # noqa: E731
    measure(benchmark, case, "save", before if case.before else lambda: records.save(path), rounds=2)
    benchmark.extra_info["bytes an image"] = round(path.stat().st_size / len(records.ids), 1)


def test_load(benchmark: Any, now_and_before: dict[str, Case], tmp_path: Path) -> None:
    case = now_and_before["now"]
    case.records.save(tmp_path / "records.npz")
    measure(benchmark, case, "load", lambda: Records.load(tmp_path / "records.npz"))


def test_metrics(benchmark: Any, case: Case) -> None:
    records = case.records
    measure(benchmark, case, "metrics", lambda: summary(Counts.of(records, case.classes), case.seen))


def test_bootstrap(benchmark: Any, case: Case) -> None:
    records = case.records
    measure(benchmark, case, "1,000 replicates", lambda: bootstrap(records, case.classes, case.seen), rounds=2)


def test_bootstrap_against_a_loop(benchmark: Any, now_and_before: dict[str, Case]) -> None:
    case = now_and_before["now"]
    table = case.records.class_counts().dense(case.classes)

    def loop() -> dict[str, float]:
        """Sum the chosen images anew for each replicate; standard errors only."""
        values: dict[str, list[float]] = {name: [] for name in METRICS}
        for row in draws(len(table), 50, 0):
            tp, pred, gt = (row.astype(np.int64) @ table[..., i] for i in range(3))
            for name, value in summary(Counts(tp, pred, gt), case.seen).items():
                values[name].append(value)
        return {name: float(np.std(of, ddof=1)) for name, of in values.items()}

    expected = measure(benchmark, case, "50 replicates in a loop", loop, rounds=1)
    found = bootstrap(case.records, case.classes, case.seen, replicates=50)
    assert {name: e.stderr for name, e in found.items()} == pytest.approx(expected)


def test_comparison(benchmark: Any, case: Case) -> None:
    runs = {"a": [case.records], "b": [case.records]}
    call = lambda: compare(runs, Resampling(case.classes, case.seen))  # noqa: E731
    measure(benchmark, case, "comparison of two, 1,000 replicates", call, rounds=1)


def test_journal_append(benchmark: Any, case: Case, tmp_path: Path) -> None:
    """One image per batch, on the disk before it returns."""
    benchmark.group = f"journal, append one image: {case.name}"
    work = iter(zip(case.ids, case.rows, strict=True))
    if not case.before:
        with Journal(tmp_path / "records.journal", "run") as journal:
            benchmark.pedantic(lambda: journal.append(*([item] for item in next(work))), rounds=1000)
        return
    with (tmp_path / "records.journal").open("wb", buffering=0) as file:

        def append() -> None:
            image_id, rows = next(work)
            Records(np.array([image_id]), np.stack([np.zeros(len(rows), np.int64), *rows.T]))  # the check
            payload = zlib.compress(json.dumps([[image_id], [len(rows)]]).encode() + rows.astype("<i8").tobytes())
            file.write(payload + zlib.crc32(payload).to_bytes(4, "little"))
            os.fsync(file.fileno())

        benchmark.pedantic(append, rounds=1000)


def test_journal_resume(benchmark: Any, now_and_before: dict[str, Case], tmp_path: Path) -> None:
    """Opening the journal of a finished run of single images."""
    case, path = now_and_before["now"], tmp_path / "records.journal"
    with Journal(path, "run") as journal:
        for image_id, rows in zip(case.ids, case.rows, strict=True):
            journal.append([image_id], [rows])
    measure(benchmark, case, "journal, resume", lambda: Journal(path, "run").close(), rounds=2)
