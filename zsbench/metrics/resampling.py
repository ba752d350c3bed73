"""Every metric on other images than those that were measured: drawn anew with replacement, or with one left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zsbench.errors import UserError
from zsbench.metrics.class_counts import ClassCounts, Ints
from zsbench.metrics.records import Records
from zsbench.metrics.scores import Convention, Counts, Floats, Mask, summaries

_BLOCK = 1 << 23
"""Most numbers of 8 bytes in one dense block (64 MiB)."""


@dataclass(frozen=True)
class Resampling:
    """Which metrics are computed (see `zsbench.metrics.scores.summary`), and how often images are drawn for them.

    `num_classes`: C. `seen`, and each group: bool (C,). Raises `UserError` for fewer than two replicates.
    """

    num_classes: int
    seen: Mask
    groups: Mapping[str, Mask] | None = None
    replicates: int = 1000
    seed: int = 0
    convention: Convention = "union"

    def __post_init__(self) -> None:
        if self.replicates < 2:
            raise UserError(f"the bootstrap needs at least 2 replicates, not {self.replicates}.")

    def metrics(self, tables: NDArray[np.int64]) -> dict[str, Floats]:
        """The metrics of tp, pred, gt, int64 (..., C, 3): float64 (...) under each name."""
        return summaries(Counts(*np.moveaxis(tables, -1, 0)), self.seen, self.groups, self.convention)


@dataclass(frozen=True, eq=False)
class Statistic:
    """A metric of N images, and what it would be of others; NaN where it is undefined.

    `value`: as measured. `replicates`: float64 (R,), of N images drawn with replacement. `without`: float64 (N,), with
    one image left out. `between`: (variance, degrees of freedom) of each mean over seeds that it holds.
    """

    value: float
    replicates: Floats
    without: Floats
    between: tuple[tuple[float, int], ...] = ()

    def __sub__(self, other: Statistic) -> Statistic:
        """Of two methods on the same images, whose seeds have nothing to do with each other."""
        return Statistic(
            self.value - other.value,
            self.replicates - other.replicates,
            self.without - other.without,
            self.between + other.between,
        )


def statistics(runs: Sequence[Records], resampling: Resampling) -> dict[str, Statistic]:
    """Every metric of the runs of one method, a mean over them where they are several.

    The runs differ by the seed of their training. All that is resampled with the same `seed` draws the same images, in
    whatever order the records came and on any number of threads: the counts of a replicate are sums of integers, exact
    in float64. Raises `UserError` for a class outside 0..C-1, and where runs differ in their images or labels.
    """
    return mean_over_seeds(resample(on_same_images(runs), resampling))


def mean_over_seeds(runs: Sequence[Mapping[str, Statistic]]) -> dict[str, Statistic]:
    """Of every metric of runs for which the same images were drawn; that of a single run is itself."""
    if len(runs) == 1:
        return dict(runs[0])
    return {name: _mean([of_run[name] for of_run in runs]) for name in runs[0]}


def _mean(runs: Sequence[Statistic]) -> Statistic:
    values = np.array([run.value for run in runs])
    return Statistic(
        float(values.mean()),
        np.mean([run.replicates for run in runs], axis=0),
        np.mean([run.without for run in runs], axis=0),
        ((float(values.var(ddof=1)) / len(runs), len(runs) - 1),),
    )


def on_same_images(runs: Sequence[Records]) -> list[ClassCounts]:
    """The counts of each run, its images in canonical order; `UserError` where their ids or labelled pixels differ."""
    ordered = [records.sorted() for records in runs]
    counts = [records.class_counts() for records in ordered]
    for records, of_run in zip(ordered[1:], counts[1:], strict=True):
        odd = sorted(set(ordered[0].ids.tolist()) ^ set(records.ids.tolist()))
        if odd:
            raise UserError(
                f"the two runs are not on the same images: {len(odd)} are in one only, such as {odd[0]!r}. "
                "Compare them on the ids they share (`Records.select`)."
            )
        a, b = (np.stack([of.image, of.cls, of.gt])[:, of.gt > 0] for of in (counts[0], of_run))
        if not np.array_equal(a, b):
            raise UserError("the two runs have the same image ids but other labels: they cannot be compared.")
    return counts


def resample(runs: Sequence[ClassCounts], resampling: Resampling) -> list[dict[str, Statistic]]:
    """Every metric of each of some runs on the same images in the same order."""
    weights = draws(runs[0].images, resampling.replicates, resampling.seed)
    return [_resample(rows, resampling, weights) for rows in runs]


def _resample(rows: ClassCounts, resampling: Resampling, weights: NDArray[np.unsignedinteger]) -> dict[str, Statistic]:
    total = rows.total(resampling.num_classes).T
    values = resampling.metrics(total)
    replicates = resampling.metrics(_replicates(rows, resampling.num_classes, weights))
    without = [resampling.metrics(total - block) for block in _blocks(rows, resampling.num_classes, _BLOCK >> 4)]
    return {
        name: Statistic(
            float(value), replicates[name], np.concatenate([np.empty(0), *(part[name] for part in without)])
        )
        for name, value in values.items()
    }


def draws(images: int, replicates: int, seed: int) -> NDArray[np.unsignedinteger]:
    """Times each image is drawn with replacement: unsigned (replicates, images), rows sum to `images`."""
    rng = np.random.default_rng(seed)
    weights = np.zeros((replicates, images), dtype=np.min_scalar_type(images))
    if images:
        for row in weights:
            row[:] = np.bincount(rng.integers(images, size=images), minlength=images)
    return weights


def _blocks(rows: ClassCounts, num_classes: int, size: int) -> Iterator[Ints]:
    """The counts of all images, int64 (n, C, 3) at a time, of about `size` numbers."""
    images = max(1, size // (num_classes * 3))
    for first in range(0, rows.images, images):
        yield rows.dense(num_classes, first, first + images)


def _replicates(rows: ClassCounts, num_classes: int, weights: NDArray[np.unsignedinteger]) -> Ints:
    """Counts of every replicate, int64 (replicates, C, 3); `weights` as `draws` gives them."""
    totals, first = np.zeros((len(weights), num_classes * 3)), 0
    for block in _blocks(rows, num_classes, _BLOCK):
        images = slice(first, first + len(block))
        first, counts = images.stop, block.reshape(len(block), -1).astype(np.float64)
        step = max(1, _BLOCK // len(block))
        for at in range(0, len(weights), step):
            totals[at : at + step] += weights[at : at + step, images].astype(np.float64) @ counts
    return totals.astype(np.int64).reshape(-1, num_classes, 3)
