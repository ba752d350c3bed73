"""Metrics of images that come with zsbench (`--metric boundary-iou`, `--metric calibration-error`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import minimum_filter

from zsbench.image_metric import Floats, ImageMetric, MeasuredImage, mean

BINS = 15


class BoundaryIou(ImageMetric):
    """Boundary IoU (Cheng et al., CVPR 2021): IoU of the inner bands of masks, as wide as 2 % of the image's diagonal.

    The bands' pixels of a class are summed over all images, as for the IoU; then the mean over classes. Pixels without a
    label count for no band, though a mask ends where they begin, as it does at the image's border.
    """

    def measure(self, image: MeasuredImage) -> Mapping[str, float]:
        labelled, width = image.label >= 0, max(1, round(0.02 * float(np.hypot(*image.label.shape))))
        found = np.where(labelled, image.prediction, -1)
        numbers = {}
        for index in np.union1d(image.label, found):
            if index >= 0:
                truth, guess = (band(mask == index, width) & labelled for mask in (image.label, found))
                numbers[f"{index}/both"] = float((truth & guess).sum())
                numbers[f"{index}/either"] = float((truth | guess).sum())
        return numbers

    def evaluate(self, numbers: Mapping[str, Floats]) -> Mapping[str, float]:
        shares = np.full(len(self.classes), np.nan)
        for index in range(len(self.classes)):
            either = np.nansum(numbers.get(f"{index}/either", np.zeros(1)))
            if either:
                shares[index] = 100 * np.nansum(numbers[f"{index}/both"]) / either
        of = {"": shares, " (S)": shares[self.seen], " (U)": shares[~self.seen]}
        named = dict(zip((f"boundary IoU {name}" for name in self.classes), shares.tolist(), strict=True))
        return {f"boundary mIoU{which}": mean(some) for which, some in of.items()} | named


def band(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """The pixels of a mask that are within `width` steps (of a king in chess) of its outside."""
    return mask & ~minimum_filter(mask, 2 * width + 1, mode="constant", cval=0)


class CalibrationError(ImageMetric):
    """Expected calibration error (Guo et al., ICML 2017) of pixels, in percent: in 15 equal bins of confidence, the mean
    distance of accuracy from mean confidence."""

    needs_confidence = True

    def measure(self, image: MeasuredImage) -> Mapping[str, float]:
        assert image.confidence is not None, "asked for"
        labelled = image.label >= 0
        sure = image.confidence[labelled].astype(np.float64)
        right = (image.prediction == image.label)[labelled]
        index = np.minimum((sure * BINS).astype(int), BINS - 1)
        sums: dict[str, Any] = {"pixels": None, "confidence": sure, "right": right}
        return {
            f"{number}/{name}": float(total)
            for name, weights in sums.items()
            for number, total in enumerate(np.bincount(index, weights, BINS))
        }

    def evaluate(self, numbers: Mapping[str, Floats]) -> Mapping[str, float]:
        pixels, sure, right = (
            np.array([np.nansum(numbers[f"{number}/{name}"]) for number in range(BINS)])
            for name in ("pixels", "confidence", "right")
        )
        total = pixels.sum()
        return {"ECE": 100 * float(np.abs(right - sure).sum() / total) if total else float("nan")}


BUILT_IN: Mapping[str, type[ImageMetric]] = {"boundary-iou": BoundaryIou, "calibration-error": CalibrationError}
