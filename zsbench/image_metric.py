"""What a metric of images is: numbers about each image, and what follows from those of all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MeasuredImage:
    """An evaluated image.

    `label`: int (H, W), class indices, negative where no one may score. `prediction`: int32 (H, W), class indices, negative
    where the method abstained. `confidence`: float32 (H, W) in 0..1, the probability of the best word (softmax of scores, or
    the score itself where a method's are probabilities), for a metric that asks for it; None for any other. None of them can
    be written to: other metrics see the same ones.
    """

    id: str
    label: NDArray[np.integer[Any]]
    prediction: NDArray[np.int32]
    confidence: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        for name in ("label", "prediction", "confidence"):
            if (array := getattr(self, name)) is not None:
                locked = array.view()
                locked.flags.writeable = False
                object.__setattr__(self, name, locked)


class ImageMetric(ABC):
    """Base of all metrics of images. The smallest useful one defines `measure`.

    `classes`: their names. `seen`: bool (C,). `needs_confidence`: whether images come with probabilities, which costs time.
    """

    needs_confidence: ClassVar[bool] = False

    def __init__(self, classes: Sequence[str], seen: NDArray[np.bool_]) -> None:
        self.classes, self.seen = classes, seen

    @abstractmethod
    def measure(self, image: MeasuredImage) -> Mapping[str, float]:
        """Numbers about one image, by name. They alone are kept: a stopped run goes on, and processes share the images."""

    def evaluate(self, numbers: Mapping[str, Floats]) -> Mapping[str, float]:
        """What is reported, from the numbers of all images, float64 (N,) each, NaN where an image has none of that name.

        By default the mean of each. Called again for samples of the images, for the standard error.
        """
        return {name: mean(values) for name, values in numbers.items()}


def mean(values: Floats) -> float:
    """Of what is not NaN; NaN where nothing is left."""
    there = values[~np.isnan(values)]
    return float(there.mean()) if there.size else float("nan")
