"""Pixels that are right, predicted and true, by image and class: what every metric needs of the records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from zsbench.errors import UserError

Ints = NDArray[np.int64]

ImageConvention = Literal["union", "gt-present"]
"""Which classes have an IoU in an image: those in its label or its prediction, or those in its label."""


@dataclass(frozen=True, eq=False)
class ClassCounts:
    """The counts of N images in R rows, by column, ascending by image, then class.

    `image`: int64 (R,) index of the image. `cls`: int64 (R,) class index. `tp`, `pred`, `gt`: int64 (R,) pixels of
    that image predicted rightly as the class, predicted as the class, and labelled as the class. A class that is
    neither present nor predicted in an image has no row there.
    """

    images: int
    image: Ints
    cls: Ints
    tp: Ints
    pred: Ints
    gt: Ints

    @classmethod
    def of_confusion(cls, images: int, image: Ints, truth: Ints, prediction: Ints, pixels: Ints) -> ClassCounts:
        """Sums of a sparse confusion in canonical order, as `Records` holds it; abstentions are in `gt` alone."""
        width = int(max(truth.max(initial=0), prediction.max(initial=0))) + 1
        guessed = prediction >= 0
        true_cell = image * width + truth
        cells, place = np.unique(
            np.concatenate([true_cell, (image * width + prediction)[guessed]]), return_inverse=True
        )
        tp, pred, gt = np.zeros((3, len(cells)), np.int64)
        np.add.at(gt, place[: len(pixels)], pixels)
        np.add.at(pred, place[len(pixels) :], pixels[guessed])
        right = truth == prediction
        tp[place[: len(pixels)][right]] = pixels[right]
        return cls(images, *np.divmod(cells, width), tp, pred, gt)

    def check(self, num_classes: int) -> None:
        """Raise `UserError` where a class is not in 0..num_classes-1."""
        if self.cls.max(initial=-1) >= num_classes:
            raise UserError(
                f"the records hold class {self.cls.max()}, but there are {num_classes} classes: "
                "they belong to another dataset."
            )

    def total(self, num_classes: int) -> Ints:
        """int64 (3, C): tp, pred, gt of every class over all images."""
        self.check(num_classes)
        table = np.zeros((3, num_classes), dtype=np.int64)
        for total, column in zip(table, (self.tp, self.pred, self.gt), strict=True):
            np.add.at(total, self.cls, column)
        return table

    def dense(self, num_classes: int, first: int = 0, last: int | None = None) -> Ints:
        """int64 (N, C, 3): tp, pred, gt of images `first`..`last` - 1 and all classes, zero where there is no row."""
        self.check(num_classes)
        images = range(self.images)[first:last]
        rows = slice(*np.searchsorted(self.image, [images.start, images.stop]))
        table = np.zeros((len(images), num_classes, 3), dtype=np.int64)
        table[self.image[rows] - images.start, self.cls[rows]] = np.stack([self.tp, self.pred, self.gt], axis=1)[rows]
        return table

    def iou(self) -> NDArray[np.float64]:
        """float64 (R,): the IoU of each class in each image, in percent."""
        return 100.0 * self.tp / (self.gt + self.pred - self.tp)

    def scored(self, convention: ImageConvention) -> NDArray[np.bool_]:
        """bool (R,): which rows have an IoU that counts."""
        return self.gt > 0 if convention == "gt-present" else np.ones(len(self.gt), np.bool_)

    def image_miou(self, convention: ImageConvention = "union") -> NDArray[np.float64]:
        """float64 (N,): mean of the IoUs of an image in percent, NaN for an image without a labelled pixel.

        The mean of these is not the mIoU of the dataset: see `zsbench.metrics.fine_grained`.
        """
        scored = self.scored(convention)
        classes = np.bincount(self.image[scored], minlength=self.images)
        total = np.bincount(self.image[scored], weights=self.iou()[scored], minlength=self.images)
        mean = np.full(self.images, np.nan)
        np.divide(total, classes, out=mean, where=classes > 0)
        return mean
