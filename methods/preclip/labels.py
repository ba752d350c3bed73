"""Labels at the size of a map, and the cross-entropy over those of them that are classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from zsbench.dataset import IGNORE


def shrunk(labels: Tensor, size: Sequence[int]) -> Tensor:
    """Labels int64 (B, H, W) at `size`: each cell has that of the nearest pixel towards the top left."""
    return F.interpolate(labels[:, None].double(), tuple(size), mode="nearest")[:, 0].to(labels.dtype)


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean over labelled pixels of logits (B, C, h, w); labels int64 (B, h, w), negative where there is none.

    `weights`: of each class, float (C,), for a weighted mean. 0 where no pixel is labelled.
    """
    valid = labels >= 0
    weights = logits.new_ones(logits.shape[1]) if weights is None else weights
    targets = torch.where(valid, labels, IGNORE)
    total = F.cross_entropy(logits, targets, weight=weights, ignore_index=IGNORE, reduction="sum")
    return total / weights[labels[valid]].sum().clamp(min=1)
