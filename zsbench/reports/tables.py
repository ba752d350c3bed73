"""Numbers of results as text, and the tables that several reports share."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence

from zsbench.options import Ablation
from zsbench.reports.markup import cell, markdown_table
from zsbench.reports.published import read_published, reported
from zsbench.result import Metric, Result

TITLES = {"pAcc": "pAcc", "mIoU": "mIoU", "mIoU_S": "mIoU(S)", "mIoU_U": "mIoU(U)", "hIoU": "hIoU"}
"""The metrics that stand in every table, with their titles."""
PAPER = ("pAcc", "mIoU_S", "mIoU_U", "hIoU")
"""Those of them that papers on generalised zero-shot segmentation print."""


def short(number: float, digits: int = 4) -> str:
    """So many digits, at least those before the point, and never the exponent of a large number."""
    return f"{number:.{digits}g}" if number < 1000 else f"{number:.0f}"


def with_error(value: float, error: float, digits: str = ".1f", error_digits: str = ".1f") -> str:
    """`value ± error`, a dash where undefined, and the value alone where its error is not known, as of a single image."""
    if math.isnan(value):
        return "-"
    return f"{value:{digits}}" + ("" if math.isnan(error) else f" ± {error:{error_digits}}")


def format_metric(metric: Metric) -> str:
    """`value ± standard error` with one decimal."""
    return with_error(metric.value, metric.stderr)


def mean_and_std(results: Iterable[Result], metric: str) -> tuple[float, float]:
    """Mean and sample standard deviation of a metric over seeds; the latter is NaN for a single one."""
    values = [result.metrics[metric].value for result in results]
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan


def format_seeds(results: Sequence[Result], metric: str) -> str:
    """`mean ± standard deviation over seeds`, `value ± bootstrap error` of a single one, or a dash.

    Seeds that predicted the same, as of a method that draws nothing, are one.
    """
    found = [result for result in results if metric in result.metrics]
    if len({(result.records_sha256, result.metrics[metric].value) for result in found}) == 1:
        return format_metric(found[0].metrics[metric])
    if not found:
        return "-"
    return with_error(*mean_and_std(found, metric))


def emphasised(text: str, bold: bool) -> str:
    """The text of a number in Markdown."""
    return f"**{text}**" if bold else text


def group_titles(result: Result) -> dict[str, str]:
    """The metrics of groups of classes, with their titles."""
    return {name: f"IoU {name.partition(':')[2]}" for name in result.metrics if ":" in name}


def ablation_table(
    rows: Sequence[Ablation], results: Sequence[Result], best: Collection[tuple[str | None, str]] = ()
) -> str:
    """Markdown: one line per row of the paper's table, measured mean ± std over seeds, and the paper's numbers.

    `results`: of one method, dataset and setting, at least one; those of other variants are left out. `best`: variants and
    the metrics in which they are marked.
    """
    first, published = results[0], read_published()
    printed = [reported(first.dataset.name, first.method.name, row.variant, first.setting, published) for row in rows]
    titles = {name: TITLES[name] for name in PAPER} | group_titles(first)
    headers = ["", "seeds", *map(cell, titles.values())]
    headers += [f"paper {TITLES[name]}" for name in PAPER] if any(printed) else []
    body = []
    for row, paper in zip(rows, printed, strict=True):
        found = [result for result in results if result.method.variant == row.variant]
        numbers = [emphasised(format_seeds(found, name), (row.variant, name) in best) for name in titles]
        line = [cell(row.label), len(found), *numbers]
        body.append(line + ([paper.get(name, "") for name in PAPER] if any(printed) else []))
    return markdown_table(headers, body)


def sweep_table(rows: Mapping[str, Sequence[Result | None]]) -> str:
    """Markdown: mean ± standard deviation over seeds of each row; None stands for a seed without a result."""
    body = []
    for name, cells in rows.items():
        results = [result for result in cells if result is not None]
        body.append([cell(name), f"{len(results)}/{len(cells)}", *[format_seeds(results, key) for key in TITLES]])
    return markdown_table(["", "seeds", *TITLES.values()], body)


def suite_table(rows: Mapping[str, Sequence[Result | None]], metric: str | None = None) -> str:
    """Markdown: mean ± standard deviation over seeds on each data set of a suite, and the mean over data sets where every
    one has the number in every seed. `metric`: of the suite, which has a column where it is not in every table."""
    titles = TITLES if metric is None or metric in TITLES else {metric: metric, **TITLES}
    parts = {name: [result for result in cells if result is not None] for name, cells in rows.items()}
    body = [
        [cell(name), f"{len(parts[name])}/{len(cells)}", *[format_seeds(parts[name], key) for key in titles]]
        for name, cells in rows.items()
    ]
    whole = all(None not in cells for cells in rows.values())
    means = [statistics.fmean(mean_and_std(parts[n], key)[0] for n in rows) if whole else math.nan for key in titles]
    body.append([f"**mean of {len(rows)}**", "", *["-" if math.isnan(mean) else f"{mean:.1f}" for mean in means]])
    return markdown_table(["", "seeds", *titles.values()], body)
