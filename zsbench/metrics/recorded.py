"""What follows from the notes about all images: the seen-unseen curve, and what metrics of images report, with its error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from zsbench.errors import UserError
from zsbench.image_metric import Floats, ImageMetric, MeasuredImage
from zsbench.metrics.seen_unseen import Curve

REPLICATES = 200


@dataclass(frozen=True)
class Reported:
    """A value and its standard error over images; NaN where undefined."""

    value: float
    stderr: float


@dataclass(frozen=True)
class Recorded:
    """`metrics`: what each metric reports, by its name, then by that of the number."""

    curve: Curve | None = None
    metrics: Mapping[str, Mapping[str, Reported]] = field(default_factory=dict)


def numbers(name: str, metric: ImageMetric, image: MeasuredImage) -> dict[str, float]:
    """What a metric measures; its failure is a `UserError` that names it and the image."""
    try:
        return {str(key): float(value) for key, value in metric.measure(image).items()}
    except Exception as error:
        raise UserError(f"--metric {name}: image {image.id}: {type(error).__name__}: {error}.") from error


def columns(numbers: Iterable[Mapping[str, float]]) -> dict[str, Floats]:
    """The numbers of images by name: float64 (N,), NaN where an image has none."""
    rows = list(numbers)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: np.array([row.get(name, np.nan) for row in rows], dtype=np.float64) for name in names}


def report(
    metric: ImageMetric, numbers: Iterable[Mapping[str, float]], replicates: int = REPLICATES
) -> dict[str, Reported]:
    """What a metric reports of images, by name; the error is the deviation of `replicates` samples of the images."""
    table = columns(numbers)
    try:
        values = {name: float(value) for name, value in metric.evaluate(table).items()}
    except Exception as error:
        raise UserError(f"--metric {type(metric).__name__}: evaluate: {type(error).__name__}: {error}.") from error
    images = max((len(column) for column in table.values()), default=0)
    draws = np.random.default_rng(0).integers(0, max(images, 1), (replicates if images > 1 else 0, images))
    samples = [metric.evaluate({name: column[draw] for name, column in table.items()}) for draw in draws]
    found = {}
    for name, value in values.items():
        sampled = np.array([sample.get(name, np.nan) for sample in samples], dtype=np.float64)
        sampled = sampled[~np.isnan(sampled)]
        found[name] = Reported(value, float(sampled.std(ddof=1)) if len(sampled) > 1 else float("nan"))
    return found
