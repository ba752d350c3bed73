"""`zsbench report`: what runs found, as one page to read, to print and to hand on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path

from zsbench.errors import UserError, told_by_name
from zsbench.reports.audit import audit
from zsbench.reports.comparison import (
    Change,
    Comparison,
    compare_contenders,
    differences,
    find_result,
    named,
)
from zsbench.reports.comparison_text import HEADERS, MOST, metric_rows, most_changed, tally
from zsbench.reports.drawing import Curve, Dot, Picture, costs, front_of, plane
from zsbench.reports.entries import Entry, class_tables, entry_of
from zsbench.reports.examples import Examples, MapSource, draw, reasons
from zsbench.reports.html import render
from zsbench.reports.rows import StoredResult, by_row, check_apart, records_beside
from zsbench.reports.tables import TITLES, group_titles
from zsbench.utils.files import make_folder, write_text

PICTURED = 4
"""Of a run's worst images, and of those that changed most between two, so many are shown."""


@dataclass(frozen=True)
class PairText:
    """A pair of a comparison as words, to be laid out."""

    a: Entry
    b: Entry
    rows: Sequence[tuple[str, ...]]
    changes: Sequence[tuple[str, str, tuple[Sequence[Change], Sequence[Change]]]]

    @property
    def most_changed_images(self) -> tuple[Sequence[Change], Sequence[Change]]:
        return next(sides for kind, _, sides in self.changes if kind == "images")


@dataclass(frozen=True)
class Compared:
    """Entries on the same images, each with each later one."""

    entries: Sequence[Entry]
    pairs: Sequence[PairText]


def compared(entries: Sequence[Entry], replicates: int) -> tuple[list[Compared], list[str]]:
    """Comparisons of all that can be compared, and for every pair that cannot, exactly why."""
    refused, groups = [], list[list[Entry]]()
    for entry in entries:
        if not entry.contender.records:
            refused.append(f"{entry.letter}: no records lie beside its result, without which nothing can be paired.")
            continue
        alike = (group for group in groups if not any(differences(each.first, entry.first) for each in group))
        group = next(alike, None)
        if group is None:
            groups.append([entry])
        else:
            group.append(entry)
    for one, other in combinations(groups, 2):
        reasons = next(filter(None, (differences(a.first, b.first) for a, b in product(one, other))))
        refused.append(f"{letters(one)} and {letters(other)} cannot be compared: {'; '.join(reasons)}.")
    found = [pairs_of(group, replicates) for group in groups if len(group) > 1]
    return found, refused


def letters(entries: Sequence[Entry]) -> str:
    return ", ".join(entry.letter for entry in entries)


def pairs_of(entries: Sequence[Entry], replicates: int) -> Compared:
    found: Comparison = compare_contenders(tuple(entry.contender for entry in entries), replicates)
    pairs = []
    for (a, b), each in zip(combinations(entries, 2), found.pairs, strict=True):
        changes = [
            (kind, tally(some, a.letter, b.letter), most_changed(some, MOST))
            for kind, some in (("classes", each.classes), ("images", each.images))
        ]
        pairs.append(PairText(a, b, list(metric_rows(found, each)), changes))
    return Compared(entries, pairs)


@told_by_name
def report(
    *runs: str | Path,
    out: str | Path = "report.html",
    predictions: Sequence[str | Path] = (),
    data_root: str | Path | None = None,
    replicates: int = 1000,
    outside: bool = False,
    recompute: bool = False,
    files: Sequence[str | Path] = (),
    plots: str | Path | None = None,
) -> Path:
    """Write one page about runs, each given by its folder or its result: `zsbench report`. Returns where it is.

    The page is a single file, which needs no network. Runs that differ in the seed alone are one row. `predictions`: for
    each run the folder that its `save_predictions` wrote, to show the worst and the most changed images; `recompute`: they
    are predicted again, by what each run left in its folder and the `files` that it was given. `data_root` as in
    `--data-root`. `replicates`: of the bootstrap, where something is compared. `outside`: pictures show what was predicted
    where nothing is labelled, too. `plots`: a folder for the page's plots as files, `plane.svg` and `cost.svg`, where there
    is something to draw. Raises `UserError` where a result is missing, edited or given twice, and where predictions are
    not those of their run.

    >>> zsbench.report("runs/zegclip-miniworld-seed0", "runs/maskclip-miniworld-seed0", out="report.html")
    """
    target = Path(out)
    if target.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--out {target}: expected the name of a page, such as report.html.")
    stored = [find_result(Path(run)) for run in runs]
    if predictions and len(predictions) != len(runs):
        raise UserError(
            f"{len(predictions)} folders of --predictions for {len(runs)} runs: one for each, in their order."
        )
    if predictions and recompute:
        raise UserError("--predictions and --recompute both say where pictures come from: leave one out.")
    folders = {run.path: Path(folder) for run, folder in zip(stored, predictions, strict=False)}
    root = None if data_root is None else Path(data_root)
    source = MapSource(folders, root, [Path(file) for file in files]) if predictions or recompute else None
    entries = entries_of(stored, replicates)
    drawn = Plots.of(entries)
    text = page(entries, drawn, replicates, source, outside)
    write_text(make_folder(target.parent) / target.name, text)
    if plots is not None:
        drawn.save(Path(plots), entries)
    return target


def entries_of(runs: Sequence[StoredResult], replicates: int) -> list[Entry]:
    """A row for each method, of results that are what their counts and records say."""
    if not runs or len({run.path.resolve() for run in runs}) < len(runs):
        raise UserError("a report takes runs, each given once: their folders, or their result.json.")
    for run in runs:
        records = records_beside(run.path)
        audit(run.result, run.path, records if records.is_file() else None)
    check_apart(runs)
    rows = named(list(by_row(runs).values()))
    return [entry_of(number, name, members, replicates) for number, (name, members) in enumerate(rows.items())]


@dataclass(frozen=True)
class Plots:
    """The plots of a page: seen and unseen classes, with curves over calibrations; cost and quality, with the front."""

    plane: Picture
    curves: Sequence[Curve]
    cost: Picture
    cost_front: Sequence[Dot]

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> Plots:
        curves = [entry.curve for entry in entries if entry.curve]
        dots = [dot(entry, entry.efficiency.gmacs, entry.first.quality) for entry in entries if entry.efficiency]
        cost = costs(dots, "GMACs of one image (logarithmic)", f"{entries[0].first.quality}, percent")
        return cls(plane([dot(entry) for entry in entries], curves), curves, cost, front_of(dots))

    def save(self, folder: Path, entries: Sequence[Entry]) -> None:
        """Those that the page shows, as files of SVG that say what their letters mean."""
        for name, picture, least in (("plane", self.plane, 1), ("cost", self.cost, 2)):
            if len(picture.dots) >= least:
                drawn = render("plot.svg", name=name, picture=picture, plots=self, entries=entries)
                write_text(make_folder(folder) / f"{name}.svg", drawn)


def page(
    entries: Sequence[Entry], plots: Plots, replicates: int, source: MapSource | None = None, outside: bool = False
) -> str:
    """The report as HTML. `source`: of the label maps that pictures are made of, None for no pictures; `outside`: as in
    `report`."""
    comparisons, refused = compared(entries, replicates)
    return render(
        "report.html",
        title=title(entries),
        entries=entries,
        titles=metric_titles(entries),
        remarks={said: [e for e in entries if said in e.remarks] for entry in entries for said in entry.remarks},
        **vars(plots),
        class_tables=list(class_tables(entries)),
        comparisons=comparisons,
        refused=refused if len(entries) > 1 else [],
        examples=examples(entries, comparisons, source, outside) if source else None,
        headers=HEADERS,
    )


def examples(entries: Sequence[Entry], comparisons: Sequence[Compared], source: MapSource, outside: bool) -> Examples:
    """Pictures of the worst images of each run, and of those that changed most between two; of seeds the first."""
    if len({(entry.first.dataset.name, entry.first.dataset.split) for entry in entries}) > 1:
        raise UserError("pictures are of runs on one dataset: leave --predictions out, or make a report of each.")
    rows = [entry.contender for entry in entries]
    for row in rows:
        if not row.records:
            raise UserError(
                f"{row.runs[0].path} has no records beside it to choose images by: leave --predictions out."
            )
    common = set.intersection(*(set(row.records[0].ids.tolist()) for row in rows))
    worst = [
        (image_id, f"{entry.letter} ({value:.1f})")
        for entry in entries
        for image_id, value in entry.worst[:PICTURED]
        if image_id in common
    ]
    changed = [
        (change.name, f"{pair.a.letter} {change.a:.1f}, {pair.b.letter} {change.b:.1f}")
        for compared in comparisons
        for pair in compared.pairs
        for side in pair.most_changed_images
        for change in side[: PICTURED // 2]
    ]
    shown = reasons(worst, changed)
    with source.maps(rows, shown) as maps:
        return draw(entries[0].first, source.root, maps, shown, outside)


def title(entries: Sequence[Entry]) -> str:
    names = list(dict.fromkeys(entry.name for entry in entries))
    data = ", ".join(dict.fromkeys(entry.first.dataset.name for entry in entries))
    return f"{names[0] if len(names) == 1 else f'{len(names)} methods'} on {data}"


def metric_titles(entries: Sequence[Entry]) -> dict[str, str]:
    """The metrics of the headline with their titles: those of every table, and those of groups of classes."""
    shown = dict(TITLES)
    for entry in entries:
        shown |= group_titles(entry.first)
    return {
        n: t for n, t in shown.items() if any(n in e.metrics and not math.isnan(e.metrics[n].value) for e in entries)
    }


def dot(entry: Entry, cost: float | None = None, quality: str = "") -> Dot:
    """A run in the plane of S and U, or, with its `cost`, in that of cost and quality."""
    across, up = entry.metrics["mIoU_S"], entry.metrics[quality or "mIoU_U"]
    label, about = entry.letter, f"{entry.letter}: {entry.name}"
    if cost is not None:
        return Dot(
            cost,
            up.value,
            label,
            f"{about}, {cost:.3g} GMACs, {quality} {up.value:.1f}",
            entry.number,
            y_interval=(up.low, up.high),
        )
    return Dot(
        across.value,
        up.value,
        label,
        f"{about}, S {across.value:.1f}, U {up.value:.1f}",
        entry.number,
        (across.low, across.high),
        (up.low, up.high),
    )
