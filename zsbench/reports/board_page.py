"""The page of all leaderboards: what was measured, what it costs, and what papers print, to sort and to filter."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from zsbench import registry
from zsbench.reports.costs import StoredProfile, read_profiles
from zsbench.reports.drawing import Dot, Picture, costs, front_of, plane
from zsbench.reports.html import render
from zsbench.reports.published import PublishedRow, remark
from zsbench.reports.rows import StoredResult, records_beside
from zsbench.reports.standings import Standing, standings
from zsbench.reports.tables import PAPER, TITLES, format_seeds, mean_and_std
from zsbench.reports.ties import Tested, Ties, rivals, unrecorded
from zsbench.result import Result

INDEX = "index.html"
OTHER = "other"
"""The family of what is not built in."""


@dataclass(frozen=True, eq=False)
class Row:
    """A row of the table of what was measured, `number`ed from 1 within the page; `tested`: with those ranked with it."""

    number: int
    standing: Standing
    label: str
    runs: Sequence[StoredResult]
    tested: Tested | None

    @property
    def first(self) -> Result:
        return self.runs[0].result

    @property
    def keys(self) -> tuple[str, str, str]:
        """Dataset, setting and family, which filters ask for."""
        return self.first.dataset.name, self.standing.setting, family(self.first.method.name)

    @property
    def name(self) -> str:
        return " ".join(filter(None, (self.first.method.name, self.label)))

    def shown(self, metric: str) -> str:
        return format_seeds([run.result for run in self.runs], metric)

    def best(self, metric: str) -> bool:
        """Whether it is the best of those ranked with it, or tied with it."""
        return self.tested is not None and self.tested.tied(metric, self.runs)

    def value(self, metric: str) -> float:
        return mean_and_std([run.result for run in self.runs], metric)[0]

    @property
    def links(self) -> list[tuple[str, str]]:
        """Text and address, within the folder, of each seed's result, and of its records where they are there."""
        places = [(f"seed {run.seed}", run.path) for run in self.runs]
        places += [("records", kept) for run in self.runs if (kept := records_beside(run.path)).is_file()]
        return [(text, f"results/{place.name}") for text, place in places]

    def dot(self, cost: bool) -> Dot:
        """In the plane of S and U, or in that of cost and quality."""
        quality = self.standing.first.quality
        efficiency = self.first.efficiency
        x = (efficiency.gmacs if efficiency else math.nan) if cost else self.value("mIoU_S")
        numbers = f"{quality} {self.value(quality):.1f}" + (f", {x:.3g} GMACs" if cost else "")
        about = f"{self.number}: {self.name}, {self.standing.setting}, {numbers}"
        y = self.value(quality if cost else "mIoU_U")
        return Dot(x, y, str(self.number), about, number_of(self.standing.setting), keys=self.keys)


SERIES = ("inductive", "transductive", "training-free", "supervised", "not stated")


def number_of(setting: str) -> int:
    """The colour of a setting."""
    return SERIES.index(setting) if setting in SERIES else len(SERIES)


@dataclass(frozen=True)
class Pictures:
    """The plane and the costs of one dataset's rows, and the Pareto front of each standing."""

    dataset: str
    settings: Sequence[str]
    plane: Picture
    cost: Picture
    fronts: Sequence[tuple[tuple[str, ...], str]]


@cache
def families() -> dict[str, str]:
    """The family of each built-in method: the first folder or file below `methods/`, as words."""
    modules = {plugin.name: plugin.module.split(".") for plugin in registry.plugins("method")}
    return {name: words[2].replace("_", "-") for name, words in modules.items() if words[:2] == ["zsbench", "methods"]}


def family(method: str) -> str:
    return families().get(method, OTHER)


def index_page(folder: Path, entries: Iterable[StoredResult], published: Sequence[PublishedRow], ties: Ties) -> str:
    """The page as HTML: a function of committed files alone."""
    rows = measured_rows(entries, ties)
    profiles = read_profiles(folder)
    printed = [row for row in published if row["dataset_id"] and row["setting"] != "efficiency"]
    keys = [row.keys for row in rows] + [(row["dataset_id"], row["setting"], printed_family(row)) for row in printed]
    keys += [(profile.profile.dataset, "", family(profile.profile.method)) for profile in profiles]
    return render(
        "leaderboards.html",
        title="Leaderboards",
        rows=rows,
        unmarked=unmarked(rows),
        pictures=[picture(dataset, found) for dataset, found in by_dataset(rows).items()],
        profiles=sorted(profiles, key=profile_order),
        printed=printed,
        choices=[
            (name, sorted({key[n] for key in keys} - {""})) for n, name in enumerate(("dataset", "setting", "family"))
        ],
        metrics={name: TITLES[name] for name in PAPER},
        family=family,
        printed_family=printed_family,
        number_of=number_of,
        remark=remark,
    )


def profile_order(profile: StoredProfile) -> tuple[object, ...]:
    return profile.profile.dataset, profile.device, profile.conditions, profile.profile.latency_ms, profile.path.name


def unmarked(rows: Iterable[Row]) -> list[str]:
    """The tables within the page in which ties are not marked, as records are missing."""
    lacking = [
        f"{standing.first.dataset.name}, {standing.setting}"
        for standing in dict.fromkeys(row.standing for row in rows)
        if len(ranked := rivals(standing.results)) > 1 and unrecorded(ranked)
    ]
    return list(dict.fromkeys(lacking))


def measured_rows(entries: Iterable[StoredResult], ties: Ties) -> list[Row]:
    """By dataset, then as tables are ranked."""
    of_dataset: dict[str, list[StoredResult]] = defaultdict(list)
    for entry in entries:
        of_dataset[entry.result.dataset.name].append(entry)
    ranked = [
        (standing, label, runs, ties.of(standing.results))
        for _, members in sorted(of_dataset.items())
        for standing in standings(members)
        for label, runs in standing.rows
    ]
    return [Row(number, *row) for number, row in enumerate(ranked, 1)]


def by_dataset(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row.keys[0]].append(row)
    return found


def picture(dataset: str, rows: Sequence[Row]) -> Pictures:
    """Oracles are in no front."""
    cost = costs(
        [row.dot(cost=True) for row in rows],
        "GMACs of one image (logarithmic)",
        f"{rows[0].standing.first.quality}, percent",
    )
    fronts = []
    for standing in dict.fromkeys(row.standing for row in rows):
        ranked = [row.dot(cost=True) for row in rows if row.standing is standing and not row.first.method.oracle]
        front = front_of([dot for dot in ranked if dot.x > 0])
        if len(front) > 1:
            fronts.append((front[0].keys[:2], cost.step(front)))
    settings = list(dict.fromkeys(row.standing.setting for row in rows))
    return Pictures(dataset, settings, plane([row.dot(cost=False) for row in rows]), cost, fronts)


def printed_family(row: PublishedRow) -> str:
    return family(row["method_id"]) if row.get("method_id") else OTHER
