"""Does one data set rank methods as another does? What was measured on it beside what papers print of others."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from zsbench.reports.drawing import BOTTOM, LEFT, RIGHT, TOP, Axis, Dot, Picture, round_up
from zsbench.reports.html import letter, render
from zsbench.reports.markup import cell, markdown_table
from zsbench.reports.published import PublishedRow
from zsbench.reports.rows import StoredResult, by_row, canonical, choices
from zsbench.result import Result

QUALITY = "hIoU"
LEAST = 3
"""Rows in common, from which on a rank correlation is told."""


class System(NamedTuple):
    """What two numbers have to be of, to stand beside each other."""

    method: str
    variant: str
    setting: str

    @property
    def name(self) -> str:
        return f"{self.method} {self.variant}".rstrip()


class Measured(NamedTuple):
    """hIoU in percent, the mean over seeds, and what the user had chosen."""

    percent: float
    choices: Sequence[str]


@dataclass(frozen=True)
class Agreement:
    """hIoU in percent of the same methods: `measured` on one data set, `printed` by papers of others, by their names."""

    dataset: str
    measured: Mapping[System, Measured]
    printed: Mapping[str, Mapping[System, float]]

    @classmethod
    def of(cls, dataset: str, entries: Iterable[StoredResult], published: Sequence[PublishedRow]) -> Agreement | None:
        """Of the results on a data set: each method, and each variant. None where papers print too few of them."""
        measured = plain_rows(entries)
        printed: dict[str, dict[System, float]] = {}
        for row in published:
            system = System(row["method_id"], row["variant_id"], row["setting"])
            if row["dataset_id"] not in ("", dataset) and row[QUALITY] and system in measured:
                printed.setdefault(row["dataset_id"], {}).setdefault(system, float(row[QUALITY]))
        enough = {name: found for name, found in sorted(printed.items()) if len(found) >= LEAST}
        # Ties by name: a set's own order is another in each process.
        ordered = sorted(set().union(*enough.values()), key=lambda system: (-measured[system].percent, system))
        return cls(dataset, {system: measured[system] for system in ordered}, enough) if enough else None

    def correlation(self, other: str) -> float:
        """Spearman's, of the rows that both have; in -1..1, NaN where one ranks none of them."""
        common = self.printed[other]
        return rank_correlation([self.measured[system].percent for system in common], list(common.values()))

    @property
    def text(self) -> list[str]:
        """What a page says of it: sentences, the table, and a link to the picture."""
        told = [
            f"{cell(name)} {self.correlation(name):.2f} ({len(found)} rows)" for name, found in self.printed.items()
        ]
        body = [
            [letter(number), *map(cell, system), cell(" ".join(row.choices)), f"{row.percent:.1f}"]
            + [f"{found[system]:.1f}" if system in found else "" for found in self.printed.values()]
            for number, (system, row) in enumerate(self.measured.items())
        ]
        return [
            "## Beside what papers print",
            f"{QUALITY} of the same methods and variants in the same setting, with the fewest choices besides; of several "
            f"printed numbers the first. Spearman's rank correlation with {cell(self.dataset)}: {', '.join(told)}.",
            markdown_table(
                ["", "method", "variant", "setting", "choices", cell(self.dataset), *map(cell, self.printed)], body
            ),
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
                row.percent,
                found[system],
                letter(number),
                f"{system.name}, {name}: {found[system]:g} printed, {row.percent:.1f} here",
                series,
            )
            for series, (name, found) in enumerate(self.printed.items())
            for number, (system, row) in enumerate(self.measured.items())
            if system in found
        )
        x = Axis(f"{QUALITY} on {self.dataset}, measured", 0, round_up(max(dot.x for dot in dots)), LEFT, RIGHT)
        y = Axis(f"{QUALITY} elsewhere, as printed", 0, round_up(max(dot.y for dot in dots)), BOTTOM, TOP)
        return render("agreement.svg", picture=Picture(x, y, dots), others=list(self.printed), dataset=self.dataset)


def plain_rows(entries: Iterable[StoredResult]) -> dict[System, Measured]:
    """Each method and variant with the fewest choices besides. Left out are oracles, and variants that change nothing, which
    would count their method twice."""
    rows = [members for members in by_row(entries).values() if counts(members[0].result)]
    methods = {effect(members[0].result) for members in rows if not members[0].result.method.variant}
    found: dict[System, Measured] = {}
    for members in rows:
        first = members[0].result
        if first.method.variant and effect(first) in methods:
            continue
        system = System(first.method.name, first.method.variant or "", first.setting)
        percent = statistics.fmean(member.result.metrics[QUALITY].value for member in members)
        row = Measured(percent, choices(first))
        if system not in found or len(row.choices) < len(found[system].choices):
            found[system] = row
    return found


def counts(result: Result) -> bool:
    """Whether there is a number to compare, and no oracle made it."""
    return not result.method.oracle and QUALITY in result.metrics and not math.isnan(result.metrics[QUALITY].value)


def effect(result: Result) -> tuple[str, str, str]:
    """What a method is, whatever its variant is called."""
    return result.method.name, result.setting, canonical(result.method.options)


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Spearman's, equals sharing the mean of their ranks; scipy's takes longer to import than all tables to check."""
    ranks = [[(a > b) + (a == b) / 2 for b in values] for values in map(np.asarray, (one, other)) for a in values]
    first, second = np.asarray(ranks).sum(1).reshape(2, -1)
    if not np.ptp(first) or not np.ptp(second):
        return math.nan
    return float(np.corrcoef(first, second)[0, 1])
