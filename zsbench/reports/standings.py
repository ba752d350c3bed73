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


@dataclass(frozen=True, eq=False)
class Standing:
    """Results of one setting, with the same things shown, the same class names and the same ground truth.

    `alone`: no other ground truth stands beside it under the same heading.
    """

    setting: str
    entries: Sequence[StoredResult]
    alone: bool

    @property
    def first(self) -> Result:
        return self.entries[0].result

    @property
    def quality(self) -> str:
        """What rows are ranked by: hIoU, or mIoU where no class is unseen."""
        return "hIoU" if self.first.dataset.unseen else "mIoU"

    @cached_property
    def rows(self) -> list[tuple[str, list[StoredResult]]]:
        """The label of each row and its results: the best first, oracles last."""
        rows = by_row(self.entries)
        labels = row_labels(rows)

        def place(row: str) -> tuple[bool, float]:
            return rows[row][0].result.method.oracle, -rank_value(rows[row], self.quality)

        return [(labels[row], rows[row]) for row in sorted(rows, key=place)]


def standings(entries: Iterable[StoredResult]) -> list[Standing]:
    """Another setting, other things shown, other class names or another ground truth are never ranked together."""
    groups: dict[tuple[int, str, str], dict[str, list[StoredResult]]] = defaultdict(lambda: defaultdict(list))
    for entry in entries:
        result, settings = entry.result, [*SHOWN, entry.result.setting]
        kind = (settings.index(result.setting), f"{result.setting}{unusually_shown(result)}")
        groups[(*kind, result.dataset.classes_sha256)][result.dataset.labels_sha256].append(entry)
    return [
        Standing(setting, members, len(truths) == 1)
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
