"""Ablation tables of a method's paper, measured: a grid of variants and seeds, printed in the paper's layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from zsbench import registry
from zsbench.errors import UserError
from zsbench.grid import Cell, format_seeds
from zsbench.method import Ablation
from zsbench.plan import Request
from zsbench.published import read_published, reported
from zsbench.result import Result

COLUMNS = {"pAcc": "pAcc", "mIoU_S": "mIoU(S)", "mIoU_U": "mIoU(U)", "hIoU": "hIoU"}


def ablation_rows(method: str, table: int) -> Sequence[Ablation]:
    """The rows of a table of the method's paper; raises `UserError` naming the tables there are."""
    tables = registry.load_method_class(method).tables
    if table not in tables:
        known = ", ".join(str(number) for number in tables) or "none"
        raise UserError(f"{method} has no ablation table {table}; it has: {known}.")
    return tables[table]


def ablation_cells(request: Request, rows: Sequence[Ablation], seeds: Sequence[int], out: Path) -> list[Cell]:
    """A cell for every row and seed; seeds vary slowest, so that a first seed of all rows is there early."""
    return [
        Cell(
            request.model_copy(update={"variant": row.variant, "seed": seed, "out": out / f"{row.variant}-seed{seed}"})
        )
        for seed in seeds
        for row in rows
    ]


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
