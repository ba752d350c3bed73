"""The metrics of images that a request asks for, from files of the user's or from zsbench."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from zsbench import registry
from zsbench.dataset import Dataset
from zsbench.errors import UserError, did_you_mean
from zsbench.image_metric import ImageMetric
from zsbench.metrics.image_metrics import BUILT_IN
from zsbench.result import File
from zsbench.utils.files import sha256


@dataclass(frozen=True)
class Named:
    """A class of metrics, and where it is from."""

    cls: type[ImageMetric]
    file: File

    @property
    def name(self) -> str:
        return self.cls.__name__


def find_metric(given: Path) -> Named:
    """The metric that `--metric` names; raises `UserError` where there is none."""
    path, _, name = str(given).rpartition(":")
    if not path:
        if name not in BUILT_IN:
            raise UserError(
                f"--metric {given}: expected {', '.join(BUILT_IN)} or file.py:Class.{did_you_mean(name, BUILT_IN)}"
            )
        source = Path(inspect.getfile(BUILT_IN[name]))
        return Named(BUILT_IN[name], File(name=source.name, sha256=sha256(source)))
    file = Path(path)
    if file.suffix != ".py" or not file.is_file():
        raise UserError(f"--metric {given}: there is no Python file {path}.")
    try:
        module = registry.import_file(file)
    except (Exception, SystemExit) as error:  # a plugin may fail in any way, and must not end the program
        raise UserError(f"--metric {given}: {type(error).__name__}: {error}.") from error
    cls = getattr(module, name, None)
    if not (isinstance(cls, type) and issubclass(cls, ImageMetric)):
        known = [each for each, value in vars(module).items() if is_metric(value)]
        near = did_you_mean(name, known) or f" It has: {', '.join(known) or 'none'}."
        raise UserError(f"--metric {given}: {path} has no class {name} that is a zsbench.ImageMetric.{near}")
    return Named(cls, File(name=file.name, sha256=sha256(file)))


def is_metric(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, ImageMetric) and value is not ImageMetric


def open_metrics(given: tuple[Path, ...], dataset: Dataset) -> Mapping[str, tuple[ImageMetric, File]]:
    """The metrics of a request by the name of their class, made for a dataset; raises `UserError` for one that is none."""
    found: dict[str, tuple[ImageMetric, File]] = {}
    for named in map(find_metric, given):
        if named.name in found:
            raise UserError(f"--metric: {named.name} is given twice.")
        try:
            found[named.name] = named.cls(dataset.classes, dataset.seen_mask), named.file
        except Exception as error:
            raise UserError(f"--metric {named.name}: {type(error).__name__}: {error}.") from error
    return found
