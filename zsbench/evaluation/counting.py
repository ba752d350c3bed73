"""Counting the pixels of one image where its prediction lies."""

from __future__ import annotations

import torch
from torch import Tensor

from zsbench.metrics.class_counts import Ints
from zsbench.metrics.counts import beyond, check_shapes, confusion_rows, count


def count_tensors(label: Tensor, prediction: Tensor, num_classes: int) -> Ints:
    """`count` of integer tensors, where `prediction` lies."""
    if prediction.device.type == "cpu":
        return count(label.numpy(), prediction.numpy(), num_classes)
    return count_on_device(label, prediction, num_classes)


def count_on_device(label: Tensor, prediction: Tensor, num_classes: int) -> Ints:
    """`count` on the device of `prediction`: nothing but the distinct pairs of classes comes back from it.

    By sorting: a histogram on a GPU would let all pixels of a large region wait for one bin.
    """
    check_shapes(label.shape, prediction.shape)
    label, prediction = (
        pixels.to(prediction.device, torch.long, non_blocking=True).clamp(-1, num_classes)
        for pixels in (label, prediction)
    )
    width = num_classes + 2  # abstention; the classes; and whatever lies beyond them
    found = torch.unique(label * width + prediction + 1, return_counts=True)
    key, pixels = torch.stack(found).cpu().numpy()
    rows = confusion_rows(key, pixels, width)
    for column, what in enumerate(("label", "prediction")):
        if rows[:, column].max(initial=-1) == num_classes:
            raise beyond(f"of {num_classes} or more", what, num_classes)
    return rows
