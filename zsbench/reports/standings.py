"""Which results are ranked together, and in what order."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from zsbench.reports.rows import StoredResult, by_row, row_labels
from zsbench.result import Result
from zsbench.settings import SHOWN

Truth = tuple[str, tuple[str, ...]]
"""Hash of the labels, and the unseen classes."""


@dataclass(frozen=True, eq=False)
class Standing:
    """Results of one setting, with the same things shown, the same class names, unseen classes and ground truth.

    `same_labels`, `same_unseen`: whether all that else would stand under its heading has them, too.
    """

    setting: str
    entries: Sequence[StoredResult]
    same_labels: bool
    same_unseen: bool

    @property
    def first(self) -> Result:
        return self.entries[0].result

    @cached_property
    def rows(self) -> list[tuple[str, list[StoredResult]]]:
        """The label of each row and its results: the best first, oracles last."""
        rows = by_row(self.entries)
        labels = row_labels(rows)

        def place(row: str) -> tuple[bool, float]:
            return rows[row][0].result.method.oracle, -rank_value(rows[row], self.first.quality)

        return [(labels[row], rows[row]) for row in sorted(rows, key=place)]

    @property
    def results(self) -> list[list[StoredResult]]:
        """The results of each row."""
        return [runs for _, runs in self.rows]


def standings(entries: Iterable[StoredResult]) -> list[Standing]:
    """Another setting, other things shown, other class names, another ground truth or other unseen classes are never ranked
    together."""
    groups: dict[tuple[int, str, str], dict[Truth, list[StoredResult]]] = defaultdict(lambda: defaultdict(list))
    for entry in entries:
        result, settings = entry.result, [*SHOWN, entry.result.setting]
        kind = (settings.index(result.setting), f"{result.setting}{unusually_shown(result)}")
        truth = (result.dataset.labels_sha256, tuple(sorted(result.dataset.unseen)))
        groups[(*kind, result.dataset.classes_sha256)][truth].append(entry)
    return [
        Standing(setting, members, *(len(set(each)) == 1 for each in zip(*truths, strict=True)))
        for (_, setting, _), truths in sorted(groups.items())
        for _, members in sorted(truths.items())
    ]


def unusually_shown(result: Result) -> str:
    """What was shown, where the setting alone does not say it."""
    shown = (result.shown.pixels, result.shown.names)
    return "" if SHOWN.get(result.setting) == shown else f" with pixels {shown[0]} and names {shown[1]}"


def rank_value(entries: Sequence[StoredResult], metric: str) -> float:
    value = statistics.fmean(entry.result.metrics[metric].value for entry in entries)
    return -1.0 if math.isnan(value) else value
