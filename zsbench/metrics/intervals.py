"""How sure a number is, over the images of the test set, and over seeds where there are several.

The standard error is that of the bootstrap (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 6):
images are drawn anew, with replacement, and the metric is computed of each draw. The interval is not made of the same
replicates. A mean of IoUs is biased on few images, and its replicates twice as much, so that their percentiles lie
beside the truth; and the bootstrap's spread is too small where a class rests on few images. Instead:

    value - bias +- t s

with the bootstrap's estimate of the bias, mean of the replicates less value (ibid., chapter 10); the jackknife's standard
error s (ibid., chapter 11), (n - 1) / n times the summed squares of what leaving out one image changes; and Student's t
for as many degrees of freedom as s, a sum of so unequal squares, has (Satterthwaite, Biometrics Bulletin 1946). It was
chosen among seven by measuring how often each holds the truth: docs/statistics.md, tests/benchmarks/coverage.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from zsbench.errors import UserError
from zsbench.metrics.records import Records
from zsbench.metrics.resampling import Resampling, Statistic, statistics
from zsbench.metrics.scores import Convention, Floats, Mask

ENOUGH_IMAGES, ENOUGH_OF_A_CLASS = 100, 20
"""Images in all, and of each class, from which on intervals hold the truth as often as they promise (docs/statistics.md)."""


@dataclass(frozen=True)
class Estimate:
    """A metric in percent with its standard error and the ends of its interval, which always holds the value.

    All are NaN where the metric is undefined; all but the value also where it is defined by one image alone, which says
    nothing about others. Replicates in which it is undefined (no class of the set was drawn) are left out.
    """

    value: float
    stderr: float
    low: float
    high: float


@dataclass(frozen=True)
class SeedEstimate(Estimate):
    """`Estimate` of a mean over seeds, over other images *and* other seeds.

    `seed_deviation`: the standard deviation between the seeds' values, on these images. It says how far one more
    training would be from the others, and is no error of the mean.
    """

    seed_deviation: float
    seeds: int


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
    numbers on any number of threads. Raises `UserError` for fewer than two replicates, a level outside (0, 1), or a
    class outside 0..num_classes-1.
    """
    check_level(level)
    found = statistics([records], Resampling(num_classes, seen, groups, replicates, seed, convention))
    return {name: estimate(statistic, level) for name, statistic in found.items()}


def over_seeds(runs: Sequence[Records], resampling: Resampling, level: float = 0.95) -> dict[str, SeedEstimate]:
    """The mean over seeds of every metric, with one interval over seeds and images.

    `runs`: of one method on the same images, one for each seed, at least two. The variance of the mean is the sum of
    two: what other images would change in it, and what other seeds would, the variance between seeds divided by their
    number (Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 2007, on the sum). The latter has one degree
    of freedom less than there are seeds, so that the interval of three seeds is wide where the seeds differ. Raises
    `UserError` for fewer than two runs, for other images or labels in one of them, and as `bootstrap` does.
    """
    check_level(level)
    if len(runs) < 2:
        raise UserError("an interval over seeds needs the records of at least two of them.")
    found = {}
    for name, statistic in statistics(runs, resampling).items():
        ((variance_of_mean, _),) = statistic.between
        deviation = math.sqrt(variance_of_mean * len(runs))
        found[name] = SeedEstimate(**asdict(estimate(statistic, level)), seed_deviation=deviation, seeds=len(runs))
    return found


@dataclass(frozen=True)
class Sampling:
    """Where the truth is to be looked for: `centre`, the value less its bias; its standard `error`; and how sure that is.

    `freedom`: degrees of freedom of `error`.
    """

    centre: float
    error: float
    freedom: float

    @classmethod
    def of(cls, statistic: Statistic) -> Sampling:
        """By bootstrap (bias) and jackknife (error) over images, and the variance between seeds; NaN of under 2 images."""
        replicates, without = _defined(statistic.replicates), _defined(statistic.without)
        if math.isnan(statistic.value) or len(replicates) < 2 or len(without) < 2:
            return cls(math.nan, math.nan, math.nan)
        parts = [_jackknife(without), *statistic.between]
        variance = sum(part for part, _ in parts)
        weights = sum(part**2 / freedom for part, freedom in parts)
        freedom = variance**2 / weights if weights else math.inf
        return cls(2 * statistic.value - float(replicates.mean()), math.sqrt(variance), freedom)

    def quantile(self, probability: float) -> float:
        """Of Student's t, in standard errors."""
        from scipy.special import stdtrit  # half a second, which only who computes intervals pays

        return float(stdtrit(self.freedom, probability))

    def probability(self, quantile: float) -> float:
        """That Student's t is at most this many standard errors."""
        from scipy.special import stdtr

        return float(stdtr(self.freedom, quantile))


def estimate(statistic: Statistic, level: float, lowest: float = 0.0) -> Estimate:
    """The standard error and the interval of a metric between `lowest` and 100: see the top of this file."""
    value, replicates, sampling = statistic.value, _defined(statistic.replicates), Sampling.of(statistic)
    if math.isnan(sampling.error):
        return Estimate(value, *[math.nan] * 3)
    stderr = math.hypot(float(replicates.std(ddof=1)), *(math.sqrt(variance) for variance, _ in statistic.between))
    half = sampling.quantile((1 + level) / 2) * sampling.error
    low, high = np.clip([sampling.centre - half, sampling.centre + half], lowest, 100.0).tolist()
    return Estimate(value, stderr, min(low, value), max(high, value))


def _defined(values: Floats) -> Floats:
    return values[~np.isnan(values)]


def check_level(level: float) -> None:
    if not 0 < level < 1:
        raise UserError(f"the level of an interval is between 0 and 1 (0.95 for 95 %), not {level}.")


def _jackknife(without: Floats) -> tuple[float, float]:
    """The variance that leaving out each image gives, and its degrees of freedom, at most n - 1."""
    images = len(without)
    squares = (without - without.mean()) ** 2
    total, fourth = float(squares.sum()), float((squares**2).sum())
    excess = fourth - total**2 / images
    freedom = 2 * total**2 / excess if excess > 0 else math.inf
    return (images - 1) / images * total, min(max(freedom, 1.0), images - 1)


@dataclass(frozen=True)
class Support:
    """What the numbers rest on: so many images, and so many classes in their labels, `few` of them in too few images.

    `rarest`: images that have the rarest class.
    """

    images: int
    classes: int
    few: int
    rarest: int

    @classmethod
    def of(cls, records: Records, num_classes: int) -> Support:
        """Raises `UserError` for a class outside 0..num_classes-1."""
        rows = records.class_counts()
        rows.check(num_classes)
        with_class = np.bincount(rows.cls[rows.gt > 0], minlength=num_classes)
        present = with_class[with_class > 0]
        few = np.count_nonzero(present < ENOUGH_OF_A_CLASS)
        return cls(rows.images, len(present), int(few), int(present.min()) if len(present) else 0)

    @property
    def warning(self) -> str | None:
        """What to say beside intervals that may be too narrow; None where they hold what they promise."""
        if self.images < ENOUGH_IMAGES:
            return f"measured on {self.images} images only: below {ENOUGH_IMAGES}, intervals may be too narrow."
        if self.few:
            return (
                f"{self.few} of {self.classes} classes are in fewer than {ENOUGH_OF_A_CLASS} images (the rarest in "
                f"{self.rarest}): intervals may be too narrow."
            )
        return None
