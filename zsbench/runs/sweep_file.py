"""Sweeps: grids of methods, datasets, seeds and whatever else a run can be told, described by a TOML file."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from zsbench.errors import UserError, did_you_mean
from zsbench.runs.backends import Backend, Local, Ray, Slurm
from zsbench.runs.grid import Cell
from zsbench.runs.request import Request

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


Point = dict[tuple[str, ...], Any]
"""What a cell is told: value by entry, such as `("method",)` or `("options", "rd")`."""
SEED = ("seed",)
NAMED = (("method",), ("variant",), ("dataset",), ("setting",))
OWN_WAY = ("out", "resume")


class Sweep(BaseModel):
    """A sweep file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    grid: list[dict[str, Any]] = Field(
        min_length=1,
        description="options of `zsbench run`; where one is a list, each of its values is run with all others",
    )
    run: dict[str, Any] = Field(default_factory=dict, description="options of `zsbench run` that all cells share")
    out: Path | None = Field(None, description="folder of all cells; default: runs/<name of the file>")
    backend: Literal["local", "slurm", "ray"] = Field("local", description="where the cells run")
    jobs: int | None = Field(
        None, ge=1, description="cells at a time; default: one, one for each of `devices`, or all (slurm and ray)"
    )
    devices: list[int] = Field(default_factory=list, description="local: CUDA devices, each for one cell at a time")
    slurm: dict[str, Any] = Field(default_factory=dict, description="parameters of submitit's AutoExecutor")
    ray: dict[str, Any] = Field(default_factory=dict, description="parameters of ray.remote, such as num_gpus")

    def open_backend(self, folder: Path) -> Backend:
        match self.backend:
            case "local":
                return Local(self.devices)
            case "slurm":
                return Slurm(folder / "slurm", self.slurm)
            case "ray":
                return Ray(self.ray)

    def jobs_at_once(self, cells: int) -> int:
        """How many cells run together: local ones one after the other, or one on each device."""
        return self.jobs or (max(1, len(self.devices)) if self.backend == "local" else cells)


def read_sweep(path: Path) -> Sweep:
    """The sweep that a file describes. Raises `UserError` naming the entry at fault."""
    try:
        sweep = Sweep.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error, Sweep)}") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path} is no sweep file: {error}") from error
    return sweep if sweep.out else sweep.model_copy(update={"out": Path("runs") / path.stem})


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first thing that is wrong, with the entry's name and, if it is unknown, the nearest known one."""
    first = error.errors()[0]
    name = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        return (
            f"unknown entry {name!r}.{did_you_mean(name, model.model_fields)} Known: {', '.join(model.model_fields)}."
        )
    return f"{name}: {first['msg']}."


def sweep_rows(sweep: Sweep, path: Path) -> dict[str, list[Cell]]:
    """The cells of a sweep by row of its table: those that differ in nothing but the seed.

    `path` is named in messages. Raises `UserError` for unknown entries, and for two cells of one name.
    """
    rows: dict[str, dict[int, Cell]] = {}
    for grid in sweep.grid:
        axes = {**axes_of(sweep.run), **axes_of(grid)}
        varied = [entry for entry, values in axes.items() if len(values) > 1 and entry not in (*NAMED, SEED)]
        for values in itertools.product(*axes.values()):
            point = dict(zip(axes, values, strict=True))
            name = point_name(point, varied)
            request = as_request(point, path)
            request = request.model_copy(update={"out": (sweep.out or Path()) / f"{name}-seed{request.seed}"})
            cell = rows.setdefault(name, {}).setdefault(request.seed, Cell(request))
            if cell.request != request:
                raise UserError(f"{path}: two different cells would be called {cell.out.name}; use two sweep files.")
    return {name: list(cells.values()) for name, cells in rows.items()}


def axes_of(table: Mapping[str, Any]) -> dict[tuple[str, ...], list[Any]]:
    """The values that each entry takes; entries of `options` and `recipe` vary on their own."""
    entries: dict[tuple[str, ...], Any] = {}
    for key, value in table.items():
        nested = key in ("options", "recipe") and isinstance(value, Mapping)
        entries |= {(key, name): inner for name, inner in value.items()} if nested else {(key,): value}
    single = {entry for entry, value in entries.items() if not isinstance(value, list) or entry == ("plugin",)}
    return {entry: [value] if entry in single else value for entry, value in entries.items()}


def point_name(point: Point, varied: Sequence[tuple[str, ...]]) -> str:
    """What tells a row from the others, as a file name."""
    defaults: Point = {("method",): Request().method, ("dataset",): Request().dataset}
    words = [point.get(entry, defaults.get(entry)) for entry in NAMED]
    words += [f"{entry[-1]}={point[entry]}" for entry in varied]
    return "-".join(Path(str(word)).name.removesuffix(".toml").removesuffix(".py") for word in words if word)


def as_request(point: Point, path: Path) -> Request:
    content: dict[str, Any] = {"options": {}, "recipe": {}}
    for entry, value in point.items():
        if len(entry) == 2:
            content[entry[0]][entry[1]] = str(value)
        elif entry[0] in OWN_WAY:
            raise UserError(
                f"{path}: {entry[0]!r} is the sweep's own business; `out` may stand at the top of the file."
            )
        elif value != "":  # no variant, the default setting
            content[entry[0]] = value
    try:
        return Request.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error, Request)}") from error
