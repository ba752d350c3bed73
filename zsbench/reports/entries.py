"""What a report says of one contender: numbers with intervals, remarks, confusion, classes, worst images."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from zsbench.metrics.confusion import UnseenPixels, taken_for
from zsbench.metrics.intervals import Estimate, over_seeds
from zsbench.reports.comparison import Contender, load_records, resampling_of
from zsbench.reports.drawing import Curve
from zsbench.reports.html import data_uri, letter
from zsbench.reports.published import read_published, reported
from zsbench.reports.remarks import remarks
from zsbench.reports.rows import StoredResult, records_beside
from zsbench.reports.tables import mean_and_std
from zsbench.result import Efficiency, Metric, Result

WORST = 8
"""Images that are named as a run's worst."""


@dataclass(frozen=True, eq=False)
class Entry:
    """A contender in a report: its number decides letter and colour."""

    number: int
    contender: Contender
    metrics: Mapping[str, Metric | Estimate]

    @property
    def letter(self) -> str:
        return letter(self.number)

    @property
    def name(self) -> str:
        return self.contender.name

    @property
    def first(self) -> Result:
        return self.contender.runs[0].result

    @cached_property
    def printed(self) -> dict[str, float]:
        """What a paper prints for the same method, data set and setting, by metric."""
        method, dataset = self.first.method, self.first.dataset
        return reported(dataset.name, method.name, method.variant, self.first.setting, read_published())

    @property
    def deviations(self) -> dict[str, float]:
        """The standard deviation between seeds of each metric, where there are several."""
        results = [run.result for run in self.contender.runs]
        return {name: mean_and_std(results, name)[1] for name in self.metrics} if len(results) > 1 else {}

    @property
    def efficiency(self) -> Efficiency | None:
        return next((run.result.efficiency for run in self.contender.runs if run.result.efficiency), None)

    @property
    def curve(self) -> Curve | None:
        """S and U at every calibration, of the first seed that was asked for it."""
        found = (getattr(run.result, "curve", None) for run in self.contender.runs)
        return next((Curve.of(curve, self.number, self.name) for curve in found if curve is not None), None)

    @cached_property
    def remarks(self) -> list[str]:
        """What to know before these numbers are trusted."""
        said = [remark for run in self.contender.runs for remark in remarks(run.result)]
        if len(self.contender.runs) > 1 and not self.contender.records:
            said.append("No interval over seeds: not every seed has its records beside it.")
        return list(dict.fromkeys(said))

    @cached_property
    def confusion(self) -> Confusion | None:
        """None without unseen classes, or without records that hold confusion."""
        held = self.contender.records and all(records.has_confusion for records in self.contender.records)
        return Confusion.of(self.contender) if held and self.first.dataset.unseen else None

    @property
    def worst(self) -> list[tuple[str, float]]:
        """The images with the lowest mean IoU over the classes in label or prediction, mean over seeds."""
        if not self.contender.records:
            return []
        miou = self.contender.image_miou
        ids, order = self.contender.records[0].sorted().ids, np.argsort(miou, kind="stable")
        return [(str(ids[i]), float(miou[i])) for i in order[:WORST] if not np.isnan(miou[i])]

    @property
    def galleries(self) -> list[str]:
        """The pictures that runs left beside their results, as data."""
        places = [run.path.with_name("gallery.png") for run in self.contender.runs if run.path.name == "result.json"]
        return [data_uri(place) for place in places if place.is_file()]


@dataclass(frozen=True)
class UnseenClass:
    """What an unseen class is taken for: names, whether seen, and percent of its pixels."""

    name: str
    iou: float
    right: float
    taken: tuple[tuple[str, bool, float], ...]


@dataclass(frozen=True)
class Confusion:
    """Where the pixels of unseen classes go."""

    pixels: UnseenPixels
    classes: tuple[UnseenClass, ...]

    @classmethod
    def of(cls, contender: Contender) -> Confusion:
        """Pixels summed over seeds. The contender has records with confusion."""
        rows = contender.runs[0].result.per_class
        seen, iou = np.array([row.seen for row in rows]), contender.class_iou
        table = np.sum([records.confusion(len(rows)) for records in contender.records], axis=0)
        classes = []
        for truth, taken in taken_for(table, np.flatnonzero(~seen & (table.sum(axis=1) > 0)).tolist()).items():
            right = 100.0 * float(table[truth, truth] / table[truth].sum())
            guesses = tuple((rows[guess].name, rows[guess].seen, share) for guess, share in taken)
            classes.append(UnseenClass(rows[truth].name, float(iou[truth]), right, guesses))
        return cls(UnseenPixels.of(table, seen), tuple(classes))


@dataclass(frozen=True)
class ClassTable:
    """The IoU of classes, a row for each: name, IoU of each entry, percent of the labelled pixels. Best first."""

    title: str
    entries: Sequence[Entry]
    rows: Sequence[tuple[str, list[float], float]]


def class_tables(entries: Sequence[Entry]) -> Iterator[ClassTable]:
    """Seen and unseen classes apart, and one pair of tables for all entries with the same classes."""
    alike = defaultdict(list)
    for entry in entries:
        alike[tuple((row.name, row.seen) for row in entry.first.per_class)].append(entry)
    for classes, members in alike.items():
        iou = np.stack([entry.contender.class_iou for entry in members], axis=1)
        pixels = np.array([row.gt for row in members[0].first.per_class], np.float64)
        shares = 100 * pixels / max(pixels.sum(), 1)
        data = members[0].first.dataset.name
        for seen, title in ((False, "Unseen"), (True, "Seen")):
            chosen = [number for number, (_, of) in enumerate(classes) if of == seen]
            chosen.sort(key=lambda number: -np.nan_to_num(iou[number, 0], nan=-1.0))
            rows = [(classes[number][0], iou[number].tolist(), float(shares[number])) for number in chosen]
            if rows:
                yield ClassTable(f"{title} classes of {data} ({len(rows)})", members, rows)


def entry_of(number: int, name: str, runs: Sequence[StoredResult], replicates: int) -> Entry:
    """Numbers of one run as it says them; of several seeds with records, over seeds and images; else their mean alone."""
    recorded = all(records_beside(run.path).is_file() for run in runs)
    contender = Contender(name, tuple(runs), load_records(runs) if recorded else ())
    if len(runs) == 1:
        return Entry(number, contender, runs[0].result.metrics)
    if recorded:
        return Entry(number, contender, over_seeds(contender.records, resampling_of(runs[0].result, replicates)))
    results = [run.result for run in runs]
    names = [name for name in results[0].metrics if all(name in result.metrics for result in results)]
    return Entry(number, contender, {n: Estimate(mean_and_std(results, n)[0], *[math.nan] * 3) for n in names})
