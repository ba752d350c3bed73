"""Sweeps: grids of methods, datasets, seeds and whatever else a run can be told, described by a TOML file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from zsbench import registry
from zsbench.data.suite import read_suite
from zsbench.errors import UserError
from zsbench.result import Result
from zsbench.runs.backends import Local, Ray, Slurm
from zsbench.runs.grid import RUNS, Backend, Cell, Entry, arranged, make_cells
from zsbench.runs.request import parse_seeds, several
from zsbench.utils.documents import read_toml
from zsbench.utils.validation import validated

OWN_WAY = ("out", "resume")
"""Options of a run that are a sweep's own business."""
LISTED = (("plugin",), ("metric",))
"""Entries whose list is one value."""


class Sweep(BaseModel):
    """A sweep file."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    grid: list[dict[str, Any]] = Field(
        min_length=1,
        description="options of `zsbench run`; where one is a list, each of its values is run with all others",
    )
    run: dict[str, Any] = Field(default_factory=dict, description="options of `zsbench run` that all cells share")
    out: Path = Field(description="folder of all cells; default: runs/<name of the file>")
    backend: Literal["local", "slurm", "ray"] = Field("local", description="where the cells run")
    jobs: int | None = Field(
        None, ge=1, description="cells at a time; default: one, one for each of `devices`, or all (slurm and ray)"
    )
    devices: list[int] = Field(default_factory=list, description="local: CUDA devices, each for one cell at a time")
    slurm: dict[str, Any] = Field(default_factory=dict, description="parameters of submitit's AutoExecutor")
    ray: dict[str, Any] = Field(default_factory=dict, description="parameters of ray.remote, such as num_gpus")

    def open_backend(self) -> Backend:
        match self.backend:
            case "local":
                return Local(self.devices)
            case "slurm":
                return Slurm(self.out / "slurm", self.slurm)
            case "ray":
                return Ray(self.ray)

    def jobs_at_once(self, cells: int) -> int:
        """How many cells run together: local ones one after the other, or one on each device."""
        return self.jobs or (max(1, len(self.devices)) if self.backend == "local" else cells)


def read_sweep(path: Path, **changes: Any) -> Sweep:
    """The sweep that a file describes, with `changes` that are not None. Raises `UserError` naming the entry at fault."""
    content = {"out": Path("runs") / path.stem, **read_toml(path, "sweep file")}
    content |= {name: value for name, value in changes.items() if value is not None}
    return validated(Sweep, content, f"entry of {path}")


def sweep_cells(sweep: Sweep, path: Path) -> list[Cell[Result]]:
    """The cells of a sweep read from `path`. Raises `UserError` for unknown words, and for two cells of one name."""
    try:
        for file in (file for table in (sweep.run, *sweep.grid) for file in several(table.get("plugin", ()))):
            registry.add_file(str(file))  # before a suite names a data set of it
        shared = axes_of(sweep.run)
        return arranged(cell for grid in sweep.grid for cell in make_cells(RUNS, {}, shared | axes_of(grid), sweep.out))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def axes_of(table: Mapping[str, Any]) -> dict[Entry, list[Any]]:
    """The values that each entry takes; entries of `options` and `recipe` vary on their own."""
    entries: dict[Entry, Any] = {}
    for key, value in with_suite(table).items():
        if key in OWN_WAY:
            raise UserError(f"{key!r} is the sweep's own business; `out` may stand at the top of the file.")
        if key == "seeds":
            key, value = "seed", parse_seeds(value)
        nested = key in ("options", "recipe") and isinstance(value, Mapping)
        entries |= {(key, name): inner for name, inner in value.items()} if nested else {(key,): value}
    single = {entry for entry, value in entries.items() if not isinstance(value, list) or entry in LISTED}
    return {entry: [value] if entry in single else value for entry, value in entries.items()}


def with_suite(table: Mapping[str, Any]) -> Mapping[str, Any]:
    """The table with the data sets of the `suite` that it names, and with the options that this gives all of them."""
    if "suite" not in table:
        return table
    if "dataset" in table:
        raise UserError("'suite' and 'dataset' both say which data sets are measured: keep one of them.")
    suite = read_suite(str(table["suite"]))
    own = {name: value for name, value in table.items() if name != "suite"}
    return {**suite.run, **own, "dataset": list(suite.datasets)}
