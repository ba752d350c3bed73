"""Counting the pixels of one image: how many of which class were predicted as which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsbench.errors import UserError
from zsbench.metrics.class_counts import Ints


def count(label: NDArray[Any], prediction: NDArray[Any], num_classes: int) -> Ints:
    """The sparse confusion of one image: int64 (R, 3) rows (truth, prediction, pixels), ascending.

    `label`, `prediction`: integer arrays of one shape, usually (H, W), holding class indices
    0..num_classes-1. A pixel is dropped where its *label* is negative (`IGNORE`, `UNLABELLED`), whatever was
    predicted there. A negative prediction is an abstention: the pixel stays, with the prediction -1, and counts
    as an error. Raises `UserError` for different shapes, other dtypes, and values of `num_classes` or more.
    """
    return count_runs(runs(label, prediction), num_classes)


@dataclass(frozen=True, eq=False)
class Runs:
    """Pixels that follow each other and are alike in label and prediction, taken together.

    `label`, `prediction`: whole numbers (R,). `length`: int64 (R,), pixels; None where each stands for itself.
    """

    label: NDArray[Any]
    prediction: NDArray[Any]
    length: Ints | None


def runs(label: NDArray[Any], prediction: NDArray[Any]) -> Runs:
    """The runs of two arrays of one shape, or all pixels where most differ. A map of regions has a fiftieth as many."""
    check_shapes(label.shape, prediction.shape)
    label, prediction = _flat(label, "label"), _flat(prediction, "prediction")
    changed = label[1:] != label[:-1]
    changed |= prediction[1:] != prediction[:-1]
    if not label.size or np.count_nonzero(changed) > label.size // 8:
        return Runs(label, prediction, None)
    start = np.concatenate([[0], np.flatnonzero(changed) + 1])
    return Runs(label[start], prediction[start], np.diff(start, append=label.size))


def count_runs(found: Runs, num_classes: int) -> Ints:
    """`count` of what lies in runs."""
    label = _indices(found.label, "label", num_classes)
    prediction = _indices(found.prediction, "prediction", num_classes)
    width = num_classes + 1
    key = np.multiply(label, width, dtype=np.int32 if width**2 < 1 << 31 else np.int64)
    key += prediction
    key += width + 1  # less than `width` exactly where the label is negative
    # A joint histogram is one pass, and fastest until it has more bins than there is to count. Sums of lengths are exact.
    if width**2 <= max(key.size, 1 << 12):
        pixels = np.bincount(key, found.length, minlength=width**2)
        keys = np.flatnonzero(pixels > 0)
        return confusion_rows(keys - width, pixels[keys], width)
    keys, place = np.unique(key, return_inverse=True)
    return confusion_rows(keys - width, np.bincount(place, found.length, minlength=len(keys)), width)


def confusion_rows(key: NDArray[np.integer[Any]], pixels: NDArray[Any], width: int) -> Ints:
    """Rows (truth, prediction, pixels) from the distinct keys `truth * width + prediction + 1`, ascending.

    A negative key is that of a pixel without a label, and gets no row.
    """
    labelled = np.searchsorted(key, 0)
    truth, prediction = np.divmod(key[labelled:], width)
    return np.stack([truth, prediction - 1, pixels[labelled:]], axis=1).astype(np.int64, copy=False)


def check_shapes(label: tuple[int, ...], prediction: tuple[int, ...]) -> None:
    """Raise `UserError` unless the two are equal."""
    if label != prediction:
        raise UserError(f"the label has shape {tuple(label)}, its prediction {tuple(prediction)}: they must be equal.")


def beyond(value: str, what: str, num_classes: int) -> UserError:
    """The error of a `value` in the label or the prediction that is no class."""
    return UserError(
        f"the {what} holds the value {value}: expected class indices 0..{num_classes - 1}, "
        "or a negative value for no class."
    )


def _flat(array: NDArray[Any], what: str) -> NDArray[Any]:
    """(N,) whole numbers; a `UserError` for what has others."""
    if not np.can_cast(array.dtype, np.int64):
        raise UserError(f"the {what} has dtype {array.dtype}: class indices are integers that fit into int64.")
    return array.reshape(-1)


def _indices(flat: NDArray[Any], what: str, num_classes: int) -> NDArray[Any]:
    """`flat` with every negative value as -1."""
    if flat.size and flat.max() >= num_classes:
        raise beyond(str(flat.max()), what, num_classes)
    return np.maximum(flat, -1) if flat.size and flat.min() < -1 else flat
