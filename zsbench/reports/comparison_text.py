"""A comparison to read and to go on with: Markdown, LaTeX, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tabulate import tabulate

from zsbench.metrics.significance import Difference
from zsbench.reports.comparison import Change, Comparison, Pair
from zsbench.reports.markup import cell, code, markdown_table, plain, spreadsheet_value
from zsbench.reports.remarks import table_remarks
from zsbench.reports.tables import TITLES
from zsbench.result import Result

MOST = 5
"""Classes and images that are named on either side."""
HEADERS = ("", "A", "B", "A - B", "95 % interval", "p", "p (Holm)")


def markdown(found: Comparison, most: int = MOST) -> str:
    """A table for each pair, the classes and images that changed most, and what is compared."""
    first = found.first
    parts = [f"# {cell(first.dataset.name)}, {cell(first.setting)}", introduction(found)]
    for each in found.pairs:
        parts += [
            f"## {cell(each.a)} against {cell(each.b)}",
            markdown_table(HEADERS, [list(map(cell, row)) for row in metric_rows(found, each)]),
            f"Classes: {tally(each.classes)}. {extremes(each.classes, most)}",
            f"Images (mean IoU of the classes in its label or prediction): {tally(each.images)}. "
            f"{extremes(each.images, most)}",
        ]
    return "\n\n".join(parts) + "\n"


def introduction(found: Comparison) -> str:
    lines = [
        f"{found.first.dataset.images} images, paired. Percent; A - B in percentage points, with its 95 % interval over "
        "images (and seeds, where there are several), the p-value of no difference, and the same after Holm's correction "
        f"for {len(found.pairs)} pair{'s' if len(found.pairs) > 1 else ''}."
    ]
    lines += [f"- {cell(each.name)}: {', '.join(code(run.path) for run in each.runs)}" for each in found.contenders]
    measured = {each.name: [run.result for run in each.runs] for each in found.contenders}
    lines += [f"- {said}" for said in table_remarks(measured)]
    return "\n".join([lines[0], "", *lines[1:]])


def metric_rows(found: Comparison, each: Pair) -> Iterator[tuple[str, ...]]:
    """For every metric that is defined in both: both values, the difference, its interval, and how likely it is chance."""
    for name, title in metric_titles(found.first).items():
        of = each.metrics[name]
        if not math.isnan(of.value):
            values = (f"{found.values[side][name]:.1f}" for side in (each.a, each.b))
            chances = (chance(of.p_value), chance(of.p_holm))
            ends = "-" if math.isnan(of.low) else f"{of.low:+.1f} to {of.high:+.1f}"
            yield (title, *values, f"{of.value:+.1f}", ends, *chances)


def metric_titles(result: Result) -> dict[str, str]:
    """All metrics with their titles, those that stand in every table first."""
    return TITLES | {name: name.replace(":", " ") for name in result.metrics if name not in TITLES}


def chance(p_value: float) -> str:
    """A p-value with as many digits as one believes."""
    if math.isnan(p_value):
        return "-"
    return "under 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def tally(changes: Sequence[Change], a: str = "A", b: str = "B") -> str:
    won, lost = (sum(sign * each.difference > 0 for each in changes) for sign in (1, -1))
    return f"{a} is ahead in {won}, {b} in {lost}, equal in {len(changes) - won - lost}"


def extremes(changes: Sequence[Change], most: int) -> str:
    """Those in which either is most ahead, with both values."""

    def listed(some: Sequence[Change]) -> str:
        return ", ".join(f"{cell(each.name)} ({each.a:.1f}, {each.b:.1f})" for each in some)

    sides = zip("AB", most_changed(changes, most), strict=True)
    return " ".join(f"Most for {side}: {listed(some)}." for side, some in sides if some)


def most_changed(changes: Sequence[Change], most: int) -> tuple[list[Change], list[Change]]:
    """Those in which A is most ahead, and those in which B is."""
    ahead = [each for each in changes if each.difference > 0][:most]
    return ahead, [each for each in reversed(changes) if each.difference < 0][:most]


def latex(found: Comparison) -> str:
    """A booktabs table of the metrics for each pair."""
    tables = []
    for each in found.pairs:
        headers = (HEADERS[0], plain(each.a), plain(each.b), *HEADERS[3:])
        rows = [list(map(plain, row)) for row in metric_rows(found, each)]
        tables.append(tabulate(rows, headers, tablefmt="latex_booktabs", disable_numparse=True))
    return "\n\n".join(tables) + "\n"


def as_csv(found: Comparison) -> str:
    """One line for each metric, class and image of each pair, unrounded."""
    stream = io.StringIO()
    columns = ("a", "b", "kind", "name", "value_a", "value_b", "difference", "low", "high", "p_value", "p_holm")
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for each in as_data(found)["pairs"]:
        for kind in ("metrics", "classes", "images"):
            for row in each[kind]:
                written = {name: spreadsheet_value(value) for name, value in row.items()}
                sides = {side: spreadsheet_value(each[side]) for side in "ab"}
                writer.writerow(sides | {"kind": kind} | written)
    return stream.getvalue()


def as_json(found: Comparison) -> str:
    return json.dumps(as_data(found), indent=1, ensure_ascii=False) + "\n"


def as_data(found: Comparison) -> dict[str, Any]:
    """All numbers of a comparison, unrounded; None where one is undefined."""
    return {
        "dataset": found.first.dataset.name,
        "setting": found.first.setting,
        "images": found.first.dataset.images,
        "contenders": {
            each.name: {"results": [str(run.path) for run in each.runs], "metrics": defined(found.values[each.name])}
            for each in found.contenders
        },
        "pairs": [
            {
                "a": each.a,
                "b": each.b,
                "metrics": [metric_data(found, each, name, of) for name, of in each.metrics.items()],
                "classes": [change_data(change) for change in each.classes],
                "images": [change_data(change) for change in each.images],
            }
            for each in found.pairs
        ],
    }


def metric_data(found: Comparison, each: Pair, name: str, of: Difference) -> dict[str, Any]:
    numbers = {
        "value_a": found.values[each.a][name],
        "value_b": found.values[each.b][name],
        "difference": of.value,
        "low": of.low,
        "high": of.high,
        "p_value": of.p_value,
        "p_holm": of.p_holm,
    }
    return {"name": name, **defined(numbers)}


def change_data(change: Change) -> dict[str, Any]:
    return {"name": change.name, "value_a": change.a, "value_b": change.b, "difference": change.difference}


def defined(numbers: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in numbers.items()}


FORMATS: Mapping[str, Callable[[Comparison], str]] = {
    "markdown": markdown,
    "latex": latex,
    "csv": as_csv,
    "json": as_json,
}
"""How a comparison is written, by the name of the format."""
