"""Attention by likeness: who resembles whom, and how much of whom a patch takes."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def cosines(features: Tensor) -> Tensor:
    """Cosines of all pairs of features (B, n, W): (B, n, n)."""
    features = F.normalize(features, dim=-1)
    return features @ features.mT


def sharpened(similarities: Tensor, offset: float, sharpness: float) -> Tensor:
    """Rows of weights adding up to 1, (B, n, n), of those alone that are more alike than `offset` times the image's mean.

    Where none is (a picture of one colour, and an offset above 1), all are: the releases give NaN.
    """
    mean = similarities.mean((1, 2), keepdim=True)
    above = (similarities - offset * mean) * sharpness
    lower = above < 0
    return above.masked_fill(lower & ~lower.all(-1, keepdim=True), float("-inf")).softmax(-1)
