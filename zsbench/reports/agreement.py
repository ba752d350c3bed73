"""Does one data set rank methods as another does? What was measured on it beside what papers print of others."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from zsbench.reports.drawing import BOTTOM, LEFT, RIGHT, TOP, Axis, Dot, Picture, round_up
from zsbench.reports.html import letter, render
from zsbench.reports.markup import cell, markdown_table
from zsbench.reports.published import PublishedRow
from zsbench.reports.rows import StoredResult, by_row, choices

QUALITY = "hIoU"
LEAST = 3
"""Methods in common, from which on a rank correlation is told."""

Pair = tuple[str, str]
"""A method and its setting."""


@dataclass(frozen=True)
class Agreement:
    """hIoU in percent of the same methods: `measured` on one data set, `printed` by papers of others, by their names."""

    dataset: str
    measured: Mapping[Pair, float]
    printed: Mapping[str, Mapping[Pair, float]]

    @classmethod
    def of(cls, dataset: str, entries: Iterable[StoredResult], published: Sequence[PublishedRow]) -> Agreement | None:
        """Of the results on a data set: each method as it is by default. None where papers print too few of them."""
        measured = plain_rows(entries)
        printed: dict[str, dict[Pair, float]] = {}
        for row in published:
            pair = row["method_id"], row["setting"]
            if row["dataset_id"] not in ("", dataset) and not row["variant_id"] and row[QUALITY] and pair in measured:
                printed.setdefault(row["dataset_id"], {}).setdefault(pair, float(row[QUALITY]))
        enough = {name: found for name, found in sorted(printed.items()) if len(found) >= LEAST}
        there = set().union(*enough.values())
        ordered = sorted(there, key=lambda pair: -measured[pair])
        return cls(dataset, {pair: measured[pair] for pair in ordered}, enough) if enough else None

    def correlation(self, other: str) -> float:
        """Spearman's, of the methods that both have; in -1..1, NaN where one ranks none of them."""
        common = self.printed[other]
        return rank_correlation([self.measured[pair] for pair in common], list(common.values()))

    @property
    def text(self) -> list[str]:
        """What a page says of it: sentences, the table, and a link to the picture."""
        told = [
            f"{cell(name)} {self.correlation(name):.2f} ({len(found)} methods)" for name, found in self.printed.items()
        ]
        body = [
            [letter(number), cell(method), cell(setting), f"{value:.1f}"]
            + [f"{found[pair]:.1f}" if (pair := (method, setting)) in found else "" for found in self.printed.values()]
            for number, ((method, setting), value) in enumerate(self.measured.items())
        ]
        return [
            "## Beside what papers print",
            f"{QUALITY} of the same methods in the same setting, each as it is by default; of several printed numbers the "
            f"first. Spearman's rank correlation with {cell(self.dataset)}: {', '.join(told)}.",
            markdown_table(["", "method", "setting", cell(self.dataset), *map(cell, self.printed)], body),
            f"![{QUALITY} measured here and printed elsewhere]({self.file})",
        ]

    @property
    def file(self) -> str:
        return f"{self.dataset}-published.svg"

    @property
    def drawn(self) -> str:
        """The picture as an SVG file: measured to the right, printed upwards, a colour for each of the other data sets."""
        dots = tuple(
            Dot(
                value,
                found[pair],
                letter(number),
                f"{pair[0]}, {name}: {found[pair]:g} printed, {value:.1f} here",
                series,
            )
            for series, (name, found) in enumerate(self.printed.items())
            for number, (pair, value) in enumerate(self.measured.items())
            if pair in found
        )
        x = Axis(f"{QUALITY} on {self.dataset}, measured", 0, round_up(max(dot.x for dot in dots)), LEFT, RIGHT)
        y = Axis(f"{QUALITY} elsewhere, as printed", 0, round_up(max(dot.y for dot in dots)), BOTTOM, TOP)
        return render("agreement.svg", picture=Picture(x, y, dots), others=list(self.printed), dataset=self.dataset)


def plain_rows(entries: Iterable[StoredResult]) -> dict[Pair, float]:
    """Mean over seeds of each method without a variant and with the fewest choices of its own; oracles are left out."""
    found: dict[Pair, tuple[int, float]] = {}
    for members in by_row(entries).values():
        first = members[0].result
        if first.method.variant or first.method.oracle or QUALITY not in first.metrics:
            continue
        pair, chosen = (first.method.name, first.setting), len(choices(first))
        value = statistics.fmean(member.result.metrics[QUALITY].value for member in members)
        if pair not in found or chosen < found[pair][0]:
            found[pair] = chosen, value
    return {pair: value for pair, (_, value) in found.items() if not math.isnan(value)}


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Spearman's, equals sharing the mean of their ranks; scipy's takes longer to import than all tables to check."""
    ranks = [[(a > b) + (a == b) / 2 for b in values] for values in map(np.asarray, (one, other)) for a in values]
    first, second = np.asarray(ranks).sum(1).reshape(2, -1)
    if not np.ptp(first) or not np.ptp(second):
        return math.nan
    return float(np.corrcoef(first, second)[0, 1])
