"""Counting the pixels of one image by class: in NumPy on the CPU, and on the device where the prediction lies on one."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zsbench.errors import UserError
from zsbench.metrics.records import Ints


def count(label: NDArray[Any], prediction: NDArray[Any], num_classes: int) -> Ints:
    """Count the pixels of one image: int64 (R, 4) rows (class, tp, pred, gt), ascending by class.

    `label`, `prediction`: integer arrays of one shape, usually (H, W), holding class indices
    0..num_classes-1. A pixel is dropped where its *label* is negative (`IGNORE`, `UNLABELLED`), whatever was
    predicted there. A negative prediction is an abstention: the pixel stays in `gt` and counts as an error.
    Only classes that are present or predicted get a row. Raises `UserError` for different shapes, other
    dtypes, and values of `num_classes` or more.
    """
    _check_shapes(label.shape, prediction.shape)
    label, prediction = _indices(label, "label", num_classes), _indices(prediction, "prediction", num_classes)
    # A joint histogram is one pass, and fastest until it has more bins than the image has pixels.
    few = (num_classes + 1) ** 2 <= max(label.size, 1 << 12)
    return _rows(*(_joint if few else _separate)(label, prediction, num_classes))


def count_tensors(label: Tensor, prediction: Tensor, num_classes: int) -> Ints:
    """`count` of integer tensors, where `prediction` lies."""
    if prediction.device.type == "cpu":
        return count(label.numpy(), prediction.numpy(), num_classes)
    return count_on_device(label, prediction, num_classes)


def count_on_device(label: Tensor, prediction: Tensor, num_classes: int) -> Ints:
    """`count` on the device of `prediction`: nothing but sums comes back from it."""
    _check_shapes(label.shape, prediction.shape)
    label, prediction = (
        pixels.to(prediction.device, torch.long, non_blocking=True).clamp(-1, num_classes)
        for pixels in (label, prediction)
    )
    right, predicted = label.where(label == prediction, -1), prediction.where(label >= 0, -1)
    width = num_classes + 2  # -1, which counts for nothing; the classes; and whatever lies beyond them
    keys = torch.stack([kind + 1 + row * width for row, kind in enumerate((right, predicted, label))])
    counts = torch.bincount(keys.flatten(), minlength=3 * width).view(3, width)[:, 1:].cpu().numpy()
    for what, row in (("label", 2), ("prediction", 1)):
        if counts[row, -1]:
            raise UserError(_beyond(f"of {num_classes} or more", what, num_classes))
    return _rows(*counts[:, :-1])


def _rows(tp: Ints, pred: Ints, gt: Ints) -> Ints:
    cls = np.flatnonzero(pred + gt)
    return np.stack([cls, tp[cls], pred[cls], gt[cls]], axis=1)


def _check_shapes(label: tuple[int, ...], prediction: tuple[int, ...]) -> None:
    if label != prediction:
        raise UserError(f"the label has shape {tuple(label)}, its prediction {tuple(prediction)}: they must be equal.")


def _beyond(value: str, what: str, num_classes: int) -> str:
    return (
        f"the {what} holds the value {value}: expected class indices 0..{num_classes - 1}, "
        "or a negative value for no class."
    )


def _indices(array: NDArray[Any], what: str, num_classes: int) -> NDArray[Any]:
    """`array` flat, with every negative value as -1."""
    if not np.can_cast(array.dtype, np.int64):
        raise UserError(f"the {what} has dtype {array.dtype}: class indices are integers that fit into int64.")
    flat = array.reshape(-1)
    if flat.size and flat.max() >= num_classes:
        raise UserError(_beyond(str(flat.max()), what, num_classes))
    return np.maximum(flat, -1) if flat.size and flat.min() < -1 else flat


def _joint(label: NDArray[Any], prediction: NDArray[Any], num_classes: int) -> tuple[Ints, Ints, Ints]:
    width = num_classes + 1
    key = np.multiply(label, width, dtype=np.intp)
    key += prediction
    key += width + 1
    joint = np.bincount(key, minlength=width * width).reshape(width, width)[1:]
    return joint[:, 1:].diagonal(), joint[:, 1:].sum(axis=0), joint.sum(axis=1)


def _separate(label: NDArray[Any], prediction: NDArray[Any], num_classes: int) -> tuple[Ints, Ints, Ints]:
    labelled = label >= 0
    label, prediction = label[labelled], prediction[labelled]
    kinds = (label[label == prediction], prediction[prediction >= 0], label)
    tp, pred, gt = (np.bincount(kind, minlength=num_classes) for kind in kinds)
    return tp, pred, gt
