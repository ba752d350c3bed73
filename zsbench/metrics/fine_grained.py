"""Means of the IoU of single images: how good a method is on an image, not on the pixels of a dataset.

Wang et al., "Revisiting Evaluation Metrics for Semantic Segmentation: Optimization and Evaluation of Fine-grained
Intersection over Union", NeurIPS 2023. With IoU_ic that of class c in image i, tp / (gt + pred - tp) there:

| name    | paper      | definition |
|---------|------------|------------|
| mIoU_I  | mIoU^I     | mean over images of the mean over classes of IoU_ic |
| mIoU_C  | mIoU^C     | mean over classes of the mean over images of IoU_ic |
| mIoU_Iq | mIoU^{I^q} | mIoU_I of the q percent of images that have the lowest mean over classes |
| mIoU_Cq | mIoU^{C^q} | mIoU_C, of each class only the q percent of images in which its IoU is lowest |

q percent of n are the integer part of n q / 100, but one at least. The mIoU of `zsbench.metrics.scores` is their mIoU^D.
Of two classes, their code scores the second alone, as the foreground; here both count like any.

Which classes have an IoU in an image is a convention, and which method is ahead can hang on it: `gt-present`, those in
its label (Wang et al.), under which a wrong prediction costs only the class that it was taken from; or `union`, those in
its label or prediction, of which the latter alone have IoU 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from zsbench.errors import UserError
from zsbench.metrics.class_counts import ClassCounts, ImageConvention

Floats = NDArray[np.float64]


def fine_grained(rows: ClassCounts, convention: ImageConvention = "gt-present", q: int = 5) -> dict[str, float]:
    """The four metrics of the table, in percent; NaN without a labelled pixel.

    `q`: percent, 1..100. Raises `UserError` for any other.
    """
    if not 1 <= q <= 100:
        raise UserError(f"q is the percentage of the worst images, 1 to 100, not {q}.")
    of_images = rows.image_miou(convention)
    of_images = np.sort(of_images[~np.isnan(of_images)])
    scored = rows.scored(convention)
    cls, iou = rows.cls[scored], rows.iou()[scored]
    order = np.lexsort((iou, cls))
    _, first, number = np.unique(cls[order], return_index=True, return_counts=True)
    kept = np.maximum(1, number * q // 100)
    among_lowest = np.arange(len(order)) - first.repeat(number) < kept.repeat(number)
    return {
        "mIoU_I": _mean(of_images),
        "mIoU_C": _mean(np.add.reduceat(iou[order], first) / number),
        f"mIoU_I{q}": _mean(of_images[: max(1, len(of_images) * q // 100)]),
        f"mIoU_C{q}": _mean(np.add.reduceat(iou[order] * among_lowest, first) / kept),
    }


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")
