"""JoEm: words and pixels in one space, whose nearest prototype wins (Baek et al., "Joint", ICCV 2021)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from ..deeplab import resized
from .labels import shrunk

CHUNK = 64
"""Channels of a feature map that are upsampled at once where only their squares' sum is asked for."""


def boundary_loss(
    features: Tensor, labels: Tensor, vectors: Tensor, encode: Callable[[Tensor], Tensor], ratio: float
) -> Tensor:
    """Squared distance of pixels from prototypes that are mixed near the boundaries of classes, a mean over channels too.

    `features` (B, D, h, w); labels int64 (B, H, W), negative where there is none; `vectors` (C, W) of words, `encode` takes
    them to D. The word vectors of cells that are `1 / ratio` times as large (a zero vector where there is no label) are
    interpolated to the features' size, then encoded.
    """
    height, width = features.shape[-2:]
    cells = shrunk(labels, (int(height * ratio), int(width * ratio)))
    table = torch.cat([vectors, vectors.new_zeros(1, vectors.shape[1])])  # a negative label takes the last row
    mixed = resized(table[cells.clamp(min=-1)].movedim(-1, 1), (height, width)).movedim(1, -1)
    labelled = shrunk(labels, (height, width)) >= 0
    errors = (encode(mixed[labelled]) - features.movedim(1, -1)[labelled]).square()
    return errors.sum() / max(1, errors.numel())


def relation_loss(vectors: Tensor, prototypes: Tensor, tau: float, form: Literal["mean", "squared"] = "mean") -> Tensor:
    """How far the distances between `prototypes` (K, D) are from those between their word `vectors` (K, W).

    Mean over classes of the divergence KL(softmax(-tau |e_i - e_j|) || softmax(-|g_i - g_j|)). `squared`: divided by K once
    more, and with 1e-8 under the root, as released for PASCAL Context.
    """
    if form == "mean":
        words, ours = torch.cdist(vectors, vectors), torch.cdist(prototypes, prototypes)
    else:
        words, ours = (((points[:, None] - points) ** 2).sum(-1).add(1e-8).sqrt() for points in (vectors, prototypes))
    target, log = (-tau * words).softmax(1), (-ours).log_softmax(1)
    divergence = (target * (target.log() - log)).sum()
    return divergence / len(vectors) ** (1 if form == "mean" else 2)


def squared_distances(features: Tensor, prototypes: Tensor, size: Sequence[int]) -> Tensor:
    """(B, K, H, W) of the features (B, D, h, w), upsampled to `size`, from prototypes (K, D).

    Only |f|^2 needs every channel at full size, a few at a time; the product with a prototype may be upsampled itself.
    """
    products = resized(torch.einsum("bdhw,kd->bkhw", features, prototypes), size)
    squares = torch.stack([resized(part, size).square().sum(1) for part in features.split(CHUNK, 1)]).sum(0)
    return squares[:, None] - 2 * products + prototypes.square().sum(1)[:, None, None]


def apollonius(distances: Tensor, unseen: Tensor, sigma: float) -> Tensor:
    """Scores (B, K, H, W) whose largest is the calibrated choice between the two nearest classes of squared distances.

    The second nearest wins where it is `unseen`, bool (K,), the nearest is seen, and sigma times its distance is below that
    of the nearest. No third class ever wins: this is not the calibrated minimum over all classes.
    """
    if sigma == 1 or distances.shape[1] < 2:
        return -distances
    nearest, index = distances.topk(2, dim=1, largest=False)
    first, second = unseen[index].unbind(1)
    wins = second & ~first & (sigma * nearest[:, 1] < nearest[:, 0])
    swapped = torch.where(wins[:, None], nearest.flip(1), nearest)
    return -distances.scatter(1, index, swapped)
