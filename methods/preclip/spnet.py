"""SPNet: pixels are projected into the space of word vectors (Xian et al., CVPR 2019; github.com/subhc/SPNet, MIT)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .labels import cross_entropy, shrunk


def projected(features: Tensor, vectors: Tensor) -> Tensor:
    """Logits (B, C, h, w): the dot product of each pixel of `features` (B, D, h, w) with each of `vectors` (C, D).

    Pixels are not normalised: their length stands for a temperature.
    """
    return torch.einsum("bdhw,cd->bchw", features, vectors)


def scale_losses(maps: Sequence[Tensor], labels: Tensor) -> list[Tensor]:
    """Cross-entropy of each of `maps` (B, C, h, w) at its own size; labels int64 (B, H, W). Training takes their sum."""
    return [cross_entropy(logits, shrunk(labels, logits.shape[-2:])) for logits in maps]


def calibrated(probabilities: Tensor, seen: Tensor, gamma: float) -> Tensor:
    """Probabilities (B, C, H, W) over all classes, less `gamma` for those that are `seen`, bool (C,)."""
    return probabilities - gamma * seen[:, None, None].to(probabilities.dtype)
