"""Many runs: each cell of a grid in a process of its own, so that one that fails harms no other."""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from zsbench.plan import Request
from zsbench.result import Result


@dataclass(frozen=True)
class Cell:
    """One run: what is asked for. Its folder holds the result, and beside it a log of what the process printed."""

    request: Request

    @property
    def out(self) -> Path:
        assert self.request.out is not None, "every cell has a folder of its own"
        return self.request.out

    @property
    def result_path(self) -> Path:
        return self.out / "result.json"

    @property
    def log_path(self) -> Path:
        return self.out.with_name(f"{self.out.name}.log")

    def load(self) -> Result | None:
        """The result, if the cell is finished."""
        return Result.load(self.result_path) if self.result_path.exists() else None


def run_grid(cells: Sequence[Cell], console: Console) -> list[Cell]:
    """Run the cells that have no result yet, one after the other; returns those that failed."""
    failed = []
    for number, cell in enumerate(cells, 1):
        if cell.result_path.exists():
            console.print(f"[{number}/{len(cells)}] {cell.out.name}: done before", markup=False)
            continue
        console.print(f"[{number}/{len(cells)}] {cell.out.name} ...", markup=False)
        if not run_cell(cell):
            console.print(f"    failed, see {cell.log_path}", style="red")
            failed.append(cell)
    return failed


def run_cell(cell: Cell) -> bool:
    """Run one cell in a subprocess, resuming what an earlier try left; True if it ended well."""
    cell.log_path.parent.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-m", "zsbench", *cell.request.words("run"), "--resume"]
    with cell.log_path.open("w", encoding="utf-8") as log:
        finished = subprocess.run(words, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    return finished.returncode == 0 and cell.result_path.exists()


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
