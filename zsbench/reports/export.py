"""Results where people keep theirs: a table to print, or one for a spreadsheet, a data frame, a paper."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tabulate import tabulate

from zsbench.reports.audit import audit
from zsbench.reports.comparison import find_result
from zsbench.reports.markup import cell, markdown_table, plain, spreadsheet_value
from zsbench.reports.tables import TITLES, format_metric
from zsbench.result import Result
from zsbench.utils.extras import optional
from zsbench.utils.files import make_folder, write_atomically

HEADERS = ("method", "dataset", "setting", "seed", *TITLES.values())


def read_results(paths: Sequence[Path]) -> list[Result]:
    """Those in folders of runs, or in files; raises `UserError` for one that is none, or that its own counts contradict."""
    found = [find_result(path) for path in paths]
    for each in found:
        audit(each.result, each.path)
    return [each.result for each in found]


def printed(result: Result) -> list[str]:
    """A result as a line of a table for people: metrics with their errors, rounded; extra ones are left to CSV."""
    words = [result.method.name, result.method.variant or "", "(oracle)" if result.method.oracle else ""]
    numbers = [format_metric(result.metrics[name]) for name in TITLES]
    return [" ".join(filter(None, words)), result.dataset.name, result.setting, str(result.seed), *numbers]


def markdown(results: Sequence[Result]) -> str:
    return markdown_table(HEADERS, [list(map(cell, printed(result))) for result in results]) + "\n"


def latex(results: Sequence[Result]) -> str:
    """A booktabs table."""
    rows = [[plain(word).replace("±", "$\\pm$") for word in printed(result)] for result in results]
    text = tabulate(rows, HEADERS, tablefmt="latex_booktabs", disable_numparse=True)
    return text.replace("\\$\\textbackslash{}pm\\$", "$\\pm$") + "\n"


def as_csv(results: Sequence[Result]) -> str:
    """One line for each result, unrounded; a column for every value that any of them has."""
    rows = [result.as_row() for result in results]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writerow({name: spreadsheet_value(name) for name in writer.fieldnames})
    writer.writerows({name: spreadsheet_value(value) for name, value in row.items()} for row in rows)
    return stream.getvalue()


TEXTS: Mapping[str, Callable[[Sequence[Result]], str]] = {"markdown": markdown, "latex": latex, "csv": as_csv}
"""How results are written, by the name of the format."""


def write_parquet(results: Sequence[Result], path: Path) -> None:
    """The columns of `as_csv`; raises `UserError` where pandas or pyarrow is not installed."""
    optional("pyarrow", "frames")
    frame = optional("pandas", "frames").concat([result.to_frame() for result in results], ignore_index=True)
    write_atomically(make_folder(path.parent) / path.name, frame.to_parquet)
