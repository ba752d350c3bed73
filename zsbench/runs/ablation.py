"""Ablation tables of a method's paper, measured: a grid of variants and seeds, printed in the paper's layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zsbench import registry
from zsbench.errors import UserError
from zsbench.method import Ablation
from zsbench.runs.grid import Cell
from zsbench.runs.request import Request


def ablation_rows(method: str, table: int) -> Sequence[Ablation]:
    """The rows of a table of the method's paper; raises `UserError` naming the tables there are."""
    tables = registry.load_method_class(method).Options.tables
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
