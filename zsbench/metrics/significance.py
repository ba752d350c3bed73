"""Whether methods differ: paired on the same images, and corrected for how many pairs are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations

import numpy as np

from zsbench.metrics.intervals import Estimate, Sampling, check_level, estimate
from zsbench.metrics.records import Records
from zsbench.metrics.resampling import Resampling, Statistic, mean_over_seeds, on_same_images, resample


@dataclass(frozen=True)
class Difference(Estimate):
    """`Estimate` of a difference a - b in percentage points.

    `p_value`: two-sided, of no difference; below 1 - level exactly where the interval leaves 0 out. `p_holm`: the same,
    corrected for all pairs that were compared with it.
    """

    p_value: float
    p_holm: float


@dataclass(frozen=True)
class Comparison:
    """All pairs of some methods on the same images. `values`: each metric of each method. `pairs`: a - b by (a, b)."""

    values: Mapping[str, Mapping[str, float]]
    pairs: Mapping[tuple[str, str], Mapping[str, Difference]]

    def difference(self, a: str, b: str, metric: str) -> Difference:
        """a - b of any two of the methods."""
        if (a, b) in self.pairs:
            return self.pairs[a, b][metric]
        found = self.pairs[b, a][metric]
        return replace(found, value=-found.value, low=-found.high, high=-found.low)

    def tied_with_best(self, metric: str, alpha: float = 0.05) -> tuple[str, ...]:
        """The method with the highest value, and those that do not differ from it: a `p_holm` of `alpha` or more.

        In the order of the methods; those in which the metric is undefined are left out.
        """
        return tuple(name for name, p_value in self.against_best(metric).items() if not p_value < alpha)

    def against_best(self, metric: str) -> dict[str, float]:
        """`p_holm` of the difference between each method and the one with the highest value, which has 1.

        In the order of the methods; those in which the metric is undefined are left out. A difference of which nothing can
        be said, as of a single image, has 1.
        """
        defined = {name: of[metric] for name, of in self.values.items() if not np.isnan(of[metric])}
        best = max(defined, key=defined.__getitem__, default="")
        found = {name: 1.0 if name == best else self.difference(best, name, metric).p_holm for name in defined}
        return {name: 1.0 if np.isnan(p_value) else p_value for name, p_value in found.items()}


def compare(runs: Mapping[str, Sequence[Records]], resampling: Resampling, level: float = 0.95) -> Comparison:
    """Every method with every other, for every metric.

    `runs`: of each method by its name, one for each seed, all on the same images. The images are the same for both
    of a pair, so what makes some of them hard for every method is in no difference; seeds are independent. Holm's
    correction (Scandinavian Journal of Statistics 1979) is over all pairs, for each metric apart: of all the pairs
    that do not differ, one or more are found to with a probability of alpha at most. Raises `UserError` where image
    ids or labelled pixels of two runs differ, and as `over_seeds` does.
    """
    check_level(level)
    of_runs = iter(resample(on_same_images([of_seed for seeds in runs.values() for of_seed in seeds]), resampling))
    found = {name: mean_over_seeds([next(of_runs) for _ in seeds]) for name, seeds in runs.items()}
    pairs = {
        (a, b): {metric: difference(found[a][metric], found[b][metric], level) for metric in found[a]}
        for a, b in combinations(found, 2)
    }
    values = {name: {metric: of.value for metric, of in metrics.items()} for name, metrics in found.items()}
    return Comparison(values, _corrected(pairs))


def difference(a: Statistic, b: Statistic, level: float) -> Difference:
    """a - b as if it were the only pair."""
    between = a - b
    p_value = _p_value(between)
    return Difference(**asdict(estimate(between, level, lowest=-100.0)), p_value=p_value, p_holm=p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction; a NaN stays, and counts for no test."""
    values = np.array(p_values, dtype=np.float64)
    tested = np.flatnonzero(~np.isnan(values))
    order = tested[np.argsort(values[tested], kind="stable")]
    stepped = values[order] * np.arange(len(order), 0, -1)
    values[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return values.tolist()


def _p_value(statistic: Statistic) -> float:
    """By the t distribution that makes the interval; 1 where the correction of the bias changes the sign."""
    sampling = Sampling.of(statistic)
    if statistic.value * sampling.centre <= 0:
        return 1.0
    with np.errstate(divide="ignore"):
        return 2 * sampling.probability(-abs(float(np.float64(sampling.centre) / sampling.error)))


def _corrected(
    pairs: Mapping[tuple[str, str], Mapping[str, Difference]],
) -> dict[tuple[str, str], dict[str, Difference]]:
    """The same with `p_holm` over all pairs, metric by metric."""
    metrics = next(iter(pairs.values()), {})
    corrected = {metric: holm([of[metric].p_value for of in pairs.values()]) for metric in metrics}
    return {
        pair: {metric: replace(of[metric], p_holm=corrected[metric][number]) for metric in metrics}
        for number, (pair, of) in enumerate(pairs.items())
    }
