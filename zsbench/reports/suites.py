"""Methods over the data sets of a suite: means, ranks on each, Borda ranks, and how sure these are."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsbench.data.suite import Suite
from zsbench.errors import UserError
from zsbench.reports.markup import cell, markdown_table
from zsbench.reports.rows import StoredResult
from zsbench.reports.standings import Standing, standings
from zsbench.reports.ties import MOST, unrecorded

Floats = NDArray[np.float64]
REPLICATES, LEVEL = 1000, 0.95


@dataclass(frozen=True, eq=False)
class Entrant:
    """A method with its variant and further choices, and its results, one for each seed, by data set."""

    method: str
    label: str
    runs: Mapping[str, Sequence[StoredResult]]

    def value(self, dataset: str, metric: str | None) -> float:
        """Mean over seeds; NaN where it was not measured on the data set."""
        found = [run.result.metrics[metric or run.result.quality].value for run in self.runs.get(dataset, ())]
        return statistics.fmean(found) if found else math.nan


def suite_page(suite: Suite, entries: Iterable[StoredResult]) -> str:
    """Markdown: a table for each setting. Raises `UserError` where nothing was measured on any of the data sets."""
    found = entrants(suite, entries)
    if not found:
        raise UserError(f"no result on any data set of the suite {suite.name}: {', '.join(suite.datasets)}.")
    parts = [f"# {cell(suite.name)}", cell(suite.summary), INTRODUCTION.format(metric=suite.metric or "hIoU or mIoU")]
    for setting, rivals in found.items():
        parts += [f"## {cell(setting)}", setting_table(suite, rivals), *remarks(suite, rivals)]
    return "\n\n".join(part for part in parts if part) + "\n"


INTRODUCTION = (
    "{metric} in percent, mean over seeds; in brackets the rank on the data set. Ranked are the methods that were measured "
    "on all data sets. Borda: over data sets, how many of them a method is ahead of, ties by half; then its rank by that, "
    "with a 95 % interval by a bootstrap over the images of each data set, and over seeds. Oracles are left out."
)


def entrants(suite: Suite, entries: Iterable[StoredResult]) -> dict[str, list[Entrant]]:
    """By setting. On each data set those rows count that are ranked with most others: under other class names, labels or
    unseen classes nothing is comparable; and those that were asked for what the suite asks of a run."""
    asked = [each for each in entries if all(each.result.request.get(n) == value for n, value in suite.run.items())]
    found: dict[str, dict[tuple[str, str], dict[str, Sequence[StoredResult]]]] = defaultdict(lambda: defaultdict(dict))
    for dataset in suite.datasets:
        usual: dict[str, Standing] = {}
        for standing in standings(each for each in asked if each.result.dataset.name == dataset):
            if len(standing.rows) > len(usual[standing.setting].rows if standing.setting in usual else ()):
                usual[standing.setting] = standing
        for setting, standing in usual.items():
            for label, runs in standing.rows:
                if not runs[0].result.method.oracle:
                    found[setting][runs[0].result.method.name, label][dataset] = runs
    return {
        setting: [Entrant(method, label, runs) for (method, label), runs in rivals.items()]
        for setting, rivals in found.items()
    }


def complete(suite: Suite, rivals: Sequence[Entrant]) -> list[Entrant]:
    """Those that were measured on all data sets, with a value there."""
    return [each for each in rivals if not any(math.isnan(each.value(d, suite.metric)) for d in suite.datasets)]


def setting_table(suite: Suite, rivals: Sequence[Entrant]) -> str:
    """The best mean first; then those that lack data sets."""
    ranked = complete(suite, rivals)
    values = np.array([[each.value(name, suite.metric) for name in suite.datasets] for each in ranked])
    ranks, points = (ranking(values.T), borda(values)) if ranked else (np.empty((0, 0)), np.empty(0))
    places, intervals = ranking(points), rank_intervals(suite, ranked)
    headers = ["method", "variant", *map(cell, suite.datasets), "mean", "Borda", "rank", "95 % interval", "missing"]
    body: list[tuple[float, list[Any]]] = []
    for row, each in enumerate(ranked):
        cells = [f"{values[row, n]:.1f} ({ranks[n, row]:g})" for n in range(len(suite.datasets))]
        low, high = intervals[row] if intervals else (math.nan, math.nan)
        sure = f"{low:g} to {high:g}" if intervals else "-"
        mean = float(values[row].mean())
        end = [f"{mean:.1f}", f"{points[row]:g}", f"{places[row]:g}", sure, ""]
        body.append((-mean, [cell(each.method), cell(each.label), *cells, *end]))
    for each in rivals:
        if each not in ranked:
            found = [each.value(name, suite.metric) for name in suite.datasets]
            cells = ["-" if math.isnan(value) else f"{value:.1f}" for value in found]
            lacking = [name for name, value in zip(suite.datasets, found, strict=True) if math.isnan(value)]
            end = ["-", "-", "-", "-", cell(", ".join(lacking))]
            body.append((math.inf, [cell(each.method), cell(each.label), *cells, *end]))
    return markdown_table(headers, [line for _, line in sorted(body, key=lambda each: each[0])])


def ranking(values: Floats) -> Floats:
    """Ranks along the last axis, 1 for the highest; equals share the mean of theirs."""
    from scipy.stats import rankdata  # a second, which only who ranks methods pays

    ranks: Floats = rankdata(-values, axis=-1)
    return ranks


def borda(values: Floats) -> Floats:
    """float64 (..., N): points of N methods from their `values` (..., N, D) on D data sets."""
    points: Floats = (values.shape[-2] - ranking(np.swapaxes(values, -1, -2))).sum(axis=-2)
    return points


def rank_intervals(suite: Suite, ranked: Sequence[Entrant]) -> list[tuple[float, float]] | None:
    """The interval of each Borda rank; None where records are missing, or nothing is to be ranked."""
    if len(ranked) < 2 or any(unrecorded(list(each.runs.values())) for each in ranked):
        return None
    drawn = np.stack([redrawn(suite, ranked, number) for number in range(len(suite.datasets))], axis=-1)
    ranks = ranking(borda(np.nan_to_num(drawn, nan=-1.0)))
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(ranks, [tail, 1 - tail], axis=0, method="nearest")
    return list(zip(low.tolist(), high.tolist(), strict=True))


def redrawn(suite: Suite, ranked: Sequence[Entrant], number: int) -> Floats:
    """float64 (replicates, N): the metric of every method on other images of a data set, the same for all, and other
    seeds."""
    from zsbench.metrics.resampling import on_same_images, resample
    from zsbench.reports.comparison import load_records, resampling_of

    dataset = suite.datasets[number]
    runs = [each.runs[dataset] for each in ranked]
    first = runs[0][0].result
    metric, rng = suite.metric or first.quality, np.random.default_rng([number, REPLICATES])
    counts = on_same_images([records for members in runs for records in load_records(members)])
    found = iter(resample(counts, replace(resampling_of(first, REPLICATES), seed=number)))
    columns = []
    for members in runs:
        of_seeds = np.stack([next(found)[metric].replicates for _ in members])
        chosen = rng.integers(len(members), size=of_seeds.shape)
        columns.append(np.take_along_axis(of_seeds, chosen, axis=0).mean(axis=0))
    return np.stack(columns, axis=-1)


def remarks(suite: Suite, rivals: Sequence[Entrant]) -> list[str]:
    """What the table cannot say."""
    ranked = complete(suite, rivals)
    lacking = [each for each in ranked if unrecorded(list(each.runs.values()))]
    if len(ranked) < 2 or not lacking:
        return []
    names = ", ".join(cell(" ".join(filter(None, (each.method, each.label)))) for each in lacking)
    which = names if len(lacking) <= MOST else f"{len(lacking)} of {len(ranked)} methods"
    return [f"No interval of ranks: no records beside results of {which}."]
