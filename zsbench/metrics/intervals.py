"""How sure a number is: intervals by resampling images, and whether two methods on the same images differ.

The images of the test set are drawn anew, with replacement, as often as there are replicates; every metric is
computed from the counts of each draw (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993,
chapters 6 and 13). What varies is the choice of images; a method's own randomness shows between seeds, not
here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zsbench.errors import UserError
from zsbench.metrics.class_counts import ClassCounts
from zsbench.metrics.records import Records
from zsbench.metrics.scores import Convention, Counts, Floats, Mask, summaries, summary

_BLOCK = 1 << 23
"""Most float64 numbers in one dense block of counts (64 MiB)."""


@dataclass(frozen=True)
class Estimate:
    """A metric in percent with its standard error and the ends of its percentile interval, over images.

    Replicates in which the metric is undefined (NaN: no class of the set was drawn) are left out; where it is
    undefined on the images themselves, everything is NaN.
    """

    value: float
    stderr: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference(Estimate):
    """`Estimate` of a difference a - b in percentage points, with the two-sided p-value of no difference."""

    p_value: float


def bootstrap(
    records: Records,
    num_classes: int,
    seen: Mask,
    groups: Mapping[str, Mask] | None = None,
    replicates: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    convention: Convention = "union",
) -> dict[str, Estimate]:
    """Every metric of `zsbench.metrics.scores.summary` with its standard error and `level` interval.

    `seen`, and each group: bool (C,). The same records in any order, with the same seed, give the same
    numbers on any number of threads: the counts of a replicate are sums of integers, exact in float64. Raises
    `UserError` for fewer than two replicates, a level outside (0, 1), or a class outside 0..num_classes-1.
    """
    _check(replicates, level)
    rows = records.sorted().class_counts()
    values = summary(Counts(*rows.total(num_classes)), seen, groups, convention)
    drawn = _resample(rows, num_classes, draws(rows.images, replicates, seed))
    spread = summaries(drawn, seen, groups, convention)
    return {name: Estimate(value, *_interval(value, spread[name], level)) for name, value in values.items()}


def paired_bootstrap(
    a: Records,
    b: Records,
    num_classes: int,
    seen: Mask,
    groups: Mapping[str, Mask] | None = None,
    replicates: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Difference]:
    """How much better `a` is than `b`, for every metric; a replicate draws the same images for both.

    The p-value is 2 min(P(d <= 0), P(d >= 0)) over the replicated differences d, each count one too high so
    that it is never 0 (Davison and Hinkley, "Bootstrap Methods and their Application", 1997, chapter 4); so
    it agrees with the interval. Raises `UserError` where the image ids or the labelled pixels of the two
    differ, and as `bootstrap` does.
    """
    _check(replicates, level)
    a, b = a.sorted(), b.sorted()
    runs = a.class_counts(), b.class_counts()
    _check_same_images(a, b)
    weights = draws(len(a.ids), replicates, seed)
    values, spreads = [], []
    for rows in runs:
        values.append(summary(Counts(*rows.total(num_classes)), seen, groups))
        spreads.append(summaries(_resample(rows, num_classes, weights), seen, groups))
    return {
        name: _difference(value - values[1][name], spreads[0][name] - spreads[1][name], level)
        for name, value in values[0].items()
    }


def draws(images: int, replicates: int, seed: int) -> NDArray[np.unsignedinteger]:
    """Times each image is drawn with replacement: unsigned (replicates, images), rows sum to `images`."""
    rng = np.random.default_rng(seed)
    weights = np.zeros((replicates, images), dtype=np.min_scalar_type(images))
    if images:
        for row in weights:
            row[:] = np.bincount(rng.integers(images, size=images), minlength=images)
    return weights


def _resample(rows: ClassCounts, num_classes: int, weights: NDArray[np.unsignedinteger]) -> Counts:
    """Counts of every replicate, int64 (replicates, C); `weights` as `draws` gives them."""
    totals = np.zeros((len(weights), num_classes * 3))
    images = max(1, _BLOCK // (num_classes * 3))
    for first in range(0, rows.images, images):
        dense = rows.dense(num_classes, first, first + images)
        block = dense.reshape(-1, num_classes * 3).astype(np.float64)
        step = max(1, _BLOCK // len(block))
        for at in range(0, len(weights), step):
            chosen = weights[at : at + step, first : first + images].astype(np.float64)
            totals[at : at + step] += chosen @ block
    table = totals.astype(np.int64).reshape(-1, num_classes, 3)
    return Counts(table[..., 0], table[..., 1], table[..., 2])


def _interval(value: float, replicates: Floats, level: float) -> tuple[float, float, float]:
    """Standard error, low, high."""
    defined = replicates[~np.isnan(replicates)]
    if np.isnan(value) or len(defined) < 2:
        return (float("nan"),) * 3
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(defined.std(ddof=1)), float(low), float(high)


def _difference(value: float, replicates: Floats, level: float) -> Difference:
    stderr, low, high = _interval(value, replicates, level)
    if np.isnan(stderr):
        return Difference(value, stderr, low, high, float("nan"))
    defined = replicates[~np.isnan(replicates)]
    rarer = min(np.count_nonzero(defined <= 0), np.count_nonzero(defined >= 0))
    return Difference(value, stderr, low, high, min(1.0, 2 * (rarer + 1) / (len(defined) + 1)))


def _check(replicates: int, level: float) -> None:
    if replicates < 2:
        raise UserError(f"the bootstrap needs at least 2 replicates, not {replicates}.")
    if not 0 < level < 1:
        raise UserError(f"the level of an interval is between 0 and 1 (0.95 for 95 %), not {level}.")


def _check_same_images(a: Records, b: Records) -> None:
    """Raise `UserError` unless both, in canonical order, have the same images and labels."""
    odd = sorted(set(a.ids.tolist()) ^ set(b.ids.tolist()))
    if odd:
        raise UserError(
            f"the two runs are not on the same images: {len(odd)} are in one only, such as {odd[0]!r}. "
            "Compare them on the ids they share (`Records.select`)."
        )
    true_a, true_b = (np.stack([r.image, r.cls, r.gt])[:, r.gt > 0] for r in (a.class_counts(), b.class_counts()))
    if not np.array_equal(true_a, true_b):
        raise UserError("the two runs have the same image ids but other labels: they cannot be compared.")
