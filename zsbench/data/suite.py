"""Suites: data sets that are measured together, described by a TOML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from zsbench import registry
from zsbench.errors import UserError, did_you_mean
from zsbench.metrics.scores import METRICS
from zsbench.utils.documents import read_toml
from zsbench.utils.validation import validated


class Suite(BaseModel):
    """A list of data sets by name, and what is averaged over them."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    name: str
    summary: str = Field("", description="one line on what it is")
    datasets: tuple[str, ...] = Field(min_length=1, description="names of data sets")
    metric: str | None = Field(None, description="what ranks; default: hIoU, or mIoU where no class is unseen")
    run: dict[str, Any] = Field(default_factory=dict, description="options of `zsbench run` on all of them")


def built_in() -> dict[str, Path]:
    """The suites that come with zsbench, by name."""
    files = (file for folder in registry.built_in_folders("dataset") for file in folder.glob("suites/*.toml"))
    return {file.stem: file for file in sorted(files)}


def suites() -> Sequence[Suite]:
    """All suites that come with zsbench."""
    return [read_suite(name) for name in built_in()]


def read_suite(word: str, installed: bool = True) -> Suite:
    """The suite of that name, or in that file (`.toml`).

    Raises `UserError` for an unknown name, and naming the file and the entry at fault, such as a data set that is not
    `installed`, if it has to be. What a file names is looked up, and never taken for a path.
    """
    known = built_in()
    path = Path(word) if word.endswith(".toml") else known.get(word)
    if path is None:
        near = did_you_mean(word, known)
        raise UserError(f"unknown suite {word!r}: expected {', '.join(known)} or a file (.toml).{near}")
    content = read_toml(path, "suite")
    suite = validated(Suite, {**content, "name": path.stem}, f"entry of {path}")
    known_sets = [plugin.name for plugin in registry.plugins("dataset")] if installed else suite.datasets
    for name in suite.datasets:
        if name not in known_sets:
            near = did_you_mean(name, known_sets)
            raise UserError(
                f"{path}: {name!r} is no data set that is installed; a file's is made known by --plugin.{near}"
            )
    if len(set(suite.datasets)) < len(suite.datasets):
        raise UserError(f"{path}: datasets: {max(suite.datasets, key=suite.datasets.count)} is there twice.")
    if suite.metric is not None and suite.metric not in METRICS:
        near = did_you_mean(suite.metric, METRICS)
        raise UserError(f"{path}: metric {suite.metric!r}: expected one of {', '.join(METRICS)}.{near}")
    return suite
