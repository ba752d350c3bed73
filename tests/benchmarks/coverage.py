"""How often each kind of 95 % interval holds the truth: the tables of docs/statistics.md.

    python tests/benchmarks/coverage.py [--minutes 25] [--shape ADE-847]

A large drawn set of images is the world, whose metrics are the truth. Test sets are drawn from it, and intervals made of
each. Replaces what lies between the markers of docs/statistics.md.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import norm
from tabulate import tabulate

from zsbench.metrics.class_counts import ClassCounts
from zsbench.metrics.intervals import ENOUGH_OF_A_CLASS, estimate
from zsbench.metrics.resampling import Resampling, Statistic, draws, mean_over_seeds, resample
from zsbench.metrics.significance import Difference, difference

PAGE = Path(__file__).resolve().parents[2] / "docs" / "statistics.md"
BEGIN, END = "<!-- measured -->", "<!-- end -->"
METRICS = ("mIoU", "mIoU_S", "mIoU_U", "hIoU")
REPLICATES, WORLD, SIDE, Z = 400, 6000, 400, 1.96
Floats = NDArray[np.float64]
Ends = tuple[float, float]


@dataclass(frozen=True)
class Shape:
    """A benchmark to draw: its classes, how many an image has, and how much rarer the rare ones are (Zipf's exponent)."""

    name: str
    classes: int
    present: int
    tail: float
    images: Sequence[int]


SHAPES = (
    Shape("VOC", 20, 2, 0.5, (50, 100, 200, 500, 1500)),
    Shape("crowded", 60, 8, 0.5, (50, 100, 200, 500, 2000)),
    Shape("COCO-Stuff", 171, 9, 0.7, (100, 200, 500, 2000, 5000)),
    Shape("ADE-847", 847, 12, 0.7, (200, 500, 1000, 2000, 5000)),
)


@dataclass(frozen=True)
class World:
    """All images there are. `runs`: int32 (N, C, 3), tp, pred, gt as each of several runs finds them. `seen`: bool (C,)."""

    runs: Sequence[NDArray[np.int32]]
    seen: NDArray[np.bool_]

    def resampling(self, seed: int) -> Resampling:
        return Resampling(len(self.seen), self.seen, replicates=REPLICATES, seed=seed)

    def truth(self, run: int = 0) -> dict[str, float]:
        found = self.resampling(0).metrics(self.runs[run].sum(axis=0, dtype=np.int64))
        return {name: float(found[name]) for name in METRICS}

    def sample(self, images: NDArray[np.int64], run: int = 0) -> ClassCounts:
        table = self.runs[run][images].astype(np.int64)
        image, cls = np.nonzero(table[..., 1] + table[..., 2])
        return ClassCounts(len(images), image, cls, *table[image, cls].T)

    def in_few(self, images: NDArray[np.int64]) -> float:
        """Share of the classes that are in too few of these images."""
        return float(np.mean((self.runs[0][images][..., 2] > 0).sum(axis=0) < ENOUGH_OF_A_CLASS))


def draw_world(shape: Shape, runs: int = 1, spread: float = 0.0) -> World:
    """Images with classes of unequal frequency, size and difficulty, some images hard for all of them.

    Of the pixels that are wrong, 70 % go to another class of the image if it has one, the rest anywhere. Unseen classes
    are found less often. `spread`: standard deviation, between runs, of the logit of each class's recall.
    """
    rng = np.random.default_rng(0)
    frequency = rng.permutation(1 / np.arange(1, shape.classes + 1) ** shape.tail)
    most = min(shape.classes, 3 * shape.present)
    noise = np.log(frequency) + rng.gumbel(size=(WORLD, shape.classes))
    cls = np.argsort(-noise, axis=1)[:, :most]
    here = np.arange(most) < np.clip(rng.poisson(shape.present - 1, WORLD) + 1, 1, most)[:, None]
    area = np.exp(rng.normal(size=shape.classes)[cls] + rng.normal(size=cls.shape)) * here
    area = np.maximum(np.floor(SIDE**2 * area / area.sum(axis=1, keepdims=True)), 1) * here
    unseen = rng.permutation(shape.classes) < max(3, shape.classes // 10)
    easy = rng.normal(0.8, 1.0, shape.classes) - 0.7 * unseen
    logit = easy[cls] + rng.normal(0, 0.8, (WORLD, 1)) + rng.normal(0, 1.3, cls.shape)
    missed = rng.random(cls.shape) < 0.08
    other = rng.choice(shape.classes, cls.shape, p=frequency / frequency.sum())
    number = here.sum(axis=1, keepdims=True)
    neighbour = np.take_along_axis(cls, (np.arange(most) + 1) % number, axis=1)
    found = []
    for _ in range(runs):
        recall = expit(logit + rng.normal(0, spread, shape.classes)[cls] + rng.normal(0, spread, cls.shape))
        tp = np.floor(np.where(missed, 0, recall) * area)
        taken = np.floor(0.7 * (area - tp)) * (number > 1)
        table = np.zeros((WORLD, shape.classes, 3), np.int32)
        rows = np.arange(WORLD)[:, None]
        for column, classes, pixels in (
            (0, cls, tp), (1, cls, tp), (2, cls, area), (1, neighbour, taken), (1, other, area - tp - taken),
        ):  # fmt: skip
            np.add.at(table, (rows, classes, column), pixels.astype(np.int32))
        found.append(table)
    return World(found, ~unseen)


def quantiles(values: Floats, at: Sequence[float] = (0.025, 0.975)) -> Ends:
    low, high = np.nanquantile(values, at)
    return float(low), float(high)


def percentile(of: Statistic) -> Ends:
    return quantiles(of.replicates)


def basic(of: Statistic) -> Ends:
    low, high = quantiles(of.replicates)
    return 2 * of.value - high, 2 * of.value - low


def normal(of: Statistic) -> Ends:
    stderr = np.nanstd(of.replicates, ddof=1)
    return of.value - Z * stderr, of.value + Z * stderr


def bca(of: Statistic) -> Ends:
    """Bias-corrected and accelerated (Efron, JASA 1987)."""
    below = (np.mean(of.replicates < of.value) + np.mean(of.replicates <= of.value)) / 2
    bias = norm.ppf(np.clip(below, 1 / REPLICATES, 1 - 1 / REPLICATES))
    change = np.nanmean(of.without) - of.without
    acceleration = np.nansum(change**3) / (6 * np.nansum(change**2) ** 1.5 + 1e-300)
    moved = [bias + (bias + z) / (1 - acceleration * (bias + z)) for z in (-Z, Z)]
    return quantiles(of.replicates, norm.cdf(moved))


def jackknife(of: Statistic) -> Ends:
    """Corrected by the jackknife's bias, with its standard error and the normal quantile."""
    without = of.without[~np.isnan(of.without)]
    centre = of.value - (len(without) - 1) * (without.mean() - of.value)
    error = np.sqrt((len(without) - 1) * without.var())
    return centre - Z * error, centre + Z * error


def chosen(of: Statistic) -> Ends:
    found = estimate(of, 0.95)
    return found.low, found.high


WAYS: Mapping[str, Callable[[Statistic], Ends]] = {
    "percentile": percentile, "basic": basic, "normal": normal, "BCa": bca, "jackknife": jackknife, "zsbench": chosen,
}  # fmt: skip
STUDENTISED = "studentised"
HEADS = ["shape", "classes", "images", "rare, %", "trials", *list(WAYS)[:-1], STUDENTISED, "**zsbench**"]
STYLE = {"tablefmt": "github", "disable_numparse": True}


def influences(table: Floats, seen: NDArray[np.bool_]) -> Floats:
    """What one more pixel of tp, pred or gt changes in each of METRICS: (4, C, 3), from counts (C, 3)."""
    tp, union = table[:, 0], table[:, 1] + table[:, 2] - table[:, 0]
    scored = union > 0
    union = np.maximum(union, 1)
    iou = tp / union
    change = 100 * scored[:, None] * np.stack([1 + iou, -iou, -iou], axis=1) / union[:, None]
    sets = np.stack([scored, scored & seen, scored & ~seen])
    number = np.maximum(sets.sum(axis=1), 1)
    means, changes = sets @ (100 * iou) / number, sets[..., None] * change / number[:, None, None]
    s, u = means[1:]
    harmonic = 2 * (u**2 * changes[1] + s**2 * changes[2]) / max((s + u) ** 2, 1e-12)
    return np.concatenate([changes, harmonic[None]])


def studentised(rows: ClassCounts, world: World, found: Mapping[str, Statistic], seed: int) -> dict[str, Ends]:
    """The bootstrap-t (Efron and Tibshirani 1993, chapter 12), with the linearised standard error in every replicate."""
    images = rows.dense(len(world.seen)).reshape(rows.images, -1).astype(np.float64)
    weights = draws(rows.images, REPLICATES, seed).astype(np.float64)
    tables = np.concatenate([images.sum(axis=0)[None], weights @ images]).reshape(REPLICATES + 1, -1, 3)
    errors = np.empty((REPLICATES + 1, len(METRICS)))
    for number, (table, of_images) in enumerate(zip(tables, np.vstack([np.ones(rows.images), weights]), strict=True)):
        errors[number] = np.sqrt(of_images @ (images @ influences(table, world.seen).reshape(4, -1).T) ** 2)
    ends = {}
    for name, error in zip(METRICS, errors.T, strict=True):
        low, high = quantiles((found[name].replicates - found[name].value) / np.maximum(error[1:], 1e-12))
        ends[name] = (found[name].value - high * error[0], found[name].value - low * error[0])
    return ends


@dataclass
class Tally:
    """Whether intervals held the truth, by way: one row for each trial, of METRICS."""

    held: dict[str, list[list[bool]]] = field(default_factory=dict)
    trials: int = 0

    def add(self, way: str, ends: Mapping[str, Ends], values: Mapping[str, float], truth: Mapping[str, float]) -> None:
        """An interval is taken to reach to its value at least."""
        held = [min(ends[m][0], values[m]) <= truth[m] <= max(ends[m][1], values[m]) for m in METRICS]
        self.held.setdefault(way, []).append(held)

    def cell(self, way: str) -> str:
        if way not in self.held:
            return "-"
        return " ".join(f"{100 * share:.0f}" for share in np.mean(self.held[way], axis=0))


def trials(seconds: float, most: int = 500) -> Iterator[int]:
    """Numbers of trials until so much time of the processor is over."""
    began = time.process_time()
    for number in range(most):
        yield number
        if time.process_time() - began > seconds:
            return


def shares(minutes: float, cells: int) -> Iterator[float]:
    """Seconds for each cell in turn: an equal share of what those before it have left."""
    end = time.process_time() + 60 * minutes
    for left in range(cells, 0, -1):
        yield max(0.0, end - time.process_time()) / left


def single_runs(shape: Shape, world: World, images: int, seconds: float) -> list[object]:
    tally, truth, few = Tally(), world.truth(), []
    affordable = 200 if images * shape.classes <= 40_000 else 0
    for number in trials(seconds):
        chosen_images = np.random.default_rng([1, number]).integers(WORLD, size=images)
        rows = world.sample(chosen_images)
        (found,) = resample([rows], world.resampling(number))
        values = {metric: found[metric].value for metric in METRICS}
        for way, interval in WAYS.items():
            tally.add(way, {metric: interval(found[metric]) for metric in METRICS}, values, truth)
        if number < affordable:
            tally.add(STUDENTISED, studentised(rows, world, found, number), values, truth)
        few.append(world.in_few(chosen_images))
        tally.trials += 1
    ways = [tally.cell(way) for way in (*list(WAYS)[:-1], STUDENTISED, "zsbench")]
    return [shape.name, shape.classes, images, f"{100 * np.mean(few):.0f}", tally.trials, *ways]


def several_seeds(world: World, seeds: int, images: int, seconds: float) -> list[object]:
    """One interval over seeds and images, and the one that knows the images alone."""
    tally = Tally()
    per_run = [world.truth(run) for run in range(len(world.runs))]
    truth = {metric: float(np.mean([of[metric] for of in per_run])) for metric in METRICS}
    for number in trials(seconds):
        rng = np.random.default_rng([2, number])
        chosen_images = rng.integers(WORLD, size=images)
        runs = rng.integers(len(world.runs), size=seeds)
        found = resample([world.sample(chosen_images, run) for run in runs], world.resampling(number))
        means = {metric: of for metric, of in mean_over_seeds(found).items() if metric in METRICS}
        values = {metric: of.value for metric, of in means.items()}
        alone = {m: Statistic(of.value, of.replicates, of.without) for m, of in means.items()}
        tally.add("both", {metric: chosen(means[metric]) for metric in METRICS}, values, truth)
        tally.add("images", {metric: chosen(alone[metric]) for metric in METRICS}, values, truth)
        tally.trials += 1
    return [seeds, images, tally.trials, tally.cell("images"), tally.cell("both")]


def pairs(world: World, images: int, seconds: float) -> list[object]:
    """The interval of the difference of two methods, and how often it is called significant where there is none."""
    tally, significant = Tally(), np.zeros(len(METRICS))
    a, b = world.truth(0), world.truth(1)
    truth = {metric: a[metric] - b[metric] for metric in METRICS}
    for number in trials(seconds):
        rng = np.random.default_rng([3, number])
        chosen_images = rng.integers(WORLD, size=images)
        one, two = world.runs[0][chosen_images], world.runs[1][chosen_images]
        swapped = (rng.random(images) < 0.5)[:, None, None]
        found = differences(World([one, two], world.seen), number)
        same = differences(World([np.where(swapped, two, one), np.where(swapped, one, two)], world.seen), number)
        ends, values = {m: (d.low, d.high) for m, d in found.items()}, {m: d.value for m, d in found.items()}
        tally.add("pair", ends, values, truth)
        significant += [same[metric].p_value < 0.05 for metric in METRICS]
        tally.trials += 1
    wrongly = " ".join(f"{100 * share:.0f}" for share in significant / tally.trials)
    return [images, tally.trials, tally.cell("pair"), wrongly]


def differences(world: World, seed: int) -> dict[str, Difference]:
    """Of the two runs, on all images of `world`."""
    everything = np.arange(len(world.runs[0]))
    one, two = resample([world.sample(everything, run) for run in (0, 1)], world.resampling(seed))
    return {metric: difference(one[metric], two[metric], 0.95) for metric in METRICS}


def measure(minutes: float) -> str:
    """What goes between the markers."""
    share = shares(minutes, 8 + sum(len(shape.images) for shape in SHAPES))
    world = draw_world(SHAPES[1], runs=24, spread=0.25)
    seeds = [several_seeds(world, number, images, next(share)) for number in (3, 5) for images in (100, 500)]
    paired = [pairs(world, images, next(share)) for images in (50, 100, 200, 500)]
    print(seeds, paired, flush=True)
    return "\n\n".join(
        [
            "Percent of 95 % intervals that hold the truth, of mIoU, mIoU(S), mIoU(U), hIoU. *rare*: classes in fewer than "
            f"{ENOUGH_OF_A_CLASS} of the images.",
            tabulate([row for shape in SHAPES for row in single_rows(shape, share)], HEADS, **STYLE),
            "Several seeds (60 classes): the interval that knows other images only, and the one over seeds and images.",
            tabulate(seeds, ["seeds", "images", "trials", "images only", "**seeds and images**"], **STYLE),
            "Two methods on the same images (60 classes): intervals of the difference that hold it, and how often one was "
            "found (p < 0.05) between two that do not differ.",
            tabulate(paired, ["images", "trials", "holds the difference", "found one where there is none"], **STYLE),
        ]
    )


def single_rows(shape: Shape, share: Iterator[float]) -> list[list[object]]:
    world, rows = draw_world(shape), []
    for images in shape.images:
        rows.append(single_runs(shape, world, images, next(share)))
        print(*rows[-1], sep=" | ", flush=True)
    return rows


def with_rows(text: str, shape: Shape, rows: list[list[object]]) -> str:
    """What stands between the markers, with other rows of one shape."""
    first, table, rest = re.split(r"(?s)\n\n(\|.*?\|)\n\n", text, maxsplit=1)
    old = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    kept = {each.name: [row for row in old if row[0] == each.name] for each in SHAPES}
    table = tabulate([row for part in (kept | {shape.name: rows}).values() for row in part], HEADS, **STYLE)
    return "\n\n".join([first, table, rest])


def main() -> None:
    shapes = {shape.name: shape for shape in SHAPES}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--shape", choices=shapes, help="measure its rows alone, and keep the rest of the tables")
    given = parser.parse_args()
    shape = shapes.get(given.shape)
    rows = single_rows(shape, shares(given.minutes, len(shape.images))) if shape else []
    text = "" if shape else measure(given.minutes)
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    old, after = rest.split(END)
    text = with_rows(old.strip(), shape, rows) if shape else text
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
