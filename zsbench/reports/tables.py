"""Tables of results: what every report shares."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

from tabulate import tabulate

from zsbench.options import Ablation
from zsbench.reports.published import read_published, reported
from zsbench.result import Metric, Result
from zsbench.runs.grid import Cell


def mean_and_std(results: Iterable[Result], metric: str) -> tuple[float, float]:
    """Mean and sample standard deviation of a metric over seeds; the latter is NaN for a single one."""
    values = [result.metrics[metric].value for result in results]
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan


def format_seeds(results: Sequence[Result], metric: str) -> str:
    """`mean ± standard deviation over seeds`, `value ± bootstrap error` of a single one, or a dash."""
    found = [result for result in results if metric in result.metrics]
    if not found:
        return "-"
    mean, deviation = mean_and_std(found, metric)
    if math.isnan(mean):
        return "-"
    error = found[0].metrics[metric].stderr if len(found) == 1 else deviation
    return f"{mean:.1f} ± {error:.1f}"


HEADLINE = ("pAcc", "mIoU", "mIoU_S", "mIoU_U", "hIoU")


def format_metric(metric: Metric) -> str:
    """`value ± standard error` with one decimal, or a dash where undefined."""
    return "-" if math.isnan(metric.value) else f"{metric.value:.1f} ± {metric.stderr:.1f}"


def short(number: float) -> str:
    """Four digits, and never an exponent."""
    return f"{number:.4g}" if number < 1000 else f"{number:.0f}"


def ablation_table(rows: Sequence[Ablation], results: Sequence[Result]) -> str:
    """Markdown: one line per row of the paper's table, measured mean ± std over seeds, and the paper's numbers.

    `results`: of one method, dataset and setting, at least one; those of other variants are left out.
    """
    first, published = results[0], read_published()
    printed = [reported(first.dataset.name, first.method.name, row.variant, first.setting, published) for row in rows]
    groups = [name for name in first.metrics if ":" in name]
    headers = ["", "seeds", *COLUMNS.values(), *[f"IoU {name.split(':')[1]}" for name in groups]]
    headers += [f"paper {title}" for title in COLUMNS.values()] if any(printed) else []
    body = []
    for row, paper in zip(rows, printed, strict=True):
        found = [result for result in results if result.method.variant == row.variant]
        line = [row.label, len(found), *[format_seeds(found, name) for name in (*COLUMNS, *groups)]]
        body.append(line + ([paper.get(name, "") for name in COLUMNS] if any(printed) else []))
    return tabulate(body, headers, tablefmt="github", disable_numparse=True)


COLUMNS = {"pAcc": "pAcc", "mIoU_S": "mIoU(S)", "mIoU_U": "mIoU(U)", "hIoU": "hIoU"}


def sweep_table(rows: Mapping[str, Sequence[Cell[Result]]]) -> str:
    """Markdown: mean ± standard deviation over seeds of each row."""
    titles = [name.replace("_S", "(S)").replace("_U", "(U)") for name in HEADLINE]
    body = []
    for name, cells in rows.items():
        results = [result for cell in cells if (result := cell.load()) is not None]
        body.append([name, f"{len(results)}/{len(cells)}", *[format_seeds(results, metric) for metric in HEADLINE]])
    return tabulate(body, ["", "seeds", *titles], tablefmt="github", disable_numparse=True)
