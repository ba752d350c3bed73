"""Counting the pixels of one image: how many of which class were predicted as which."""

from __future__ import annotations

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
    check_shapes(label.shape, prediction.shape)
    label, prediction = _indices(label, "label", num_classes), _indices(prediction, "prediction", num_classes)
    width = num_classes + 1
    key = np.multiply(label, width, dtype=np.int32 if width**2 < 1 << 31 else np.int64)
    key += prediction
    key += 1  # negative exactly where the label is
    # A joint histogram is one pass, and fastest until it has more bins than the image has pixels.
    if width**2 <= max(key.size, 1 << 12):
        bins = np.bincount(key + width, minlength=width**2)
        key = np.flatnonzero(bins)
        return confusion_rows(key - width, bins[key], width)
    return confusion_rows(*np.unique(key, return_counts=True), width)


def confusion_rows(key: NDArray[np.integer[Any]], pixels: Ints, width: int) -> Ints:
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


def _indices(array: NDArray[Any], what: str, num_classes: int) -> NDArray[Any]:
    """`array` flat, with every negative value as -1."""
    if not np.can_cast(array.dtype, np.int64):
        raise UserError(f"the {what} has dtype {array.dtype}: class indices are integers that fit into int64.")
    flat = array.reshape(-1)
    if flat.size and flat.max() >= num_classes:
        raise beyond(str(flat.max()), what, num_classes)
    return np.maximum(flat, -1) if flat.size and flat.min() < -1 else flat
