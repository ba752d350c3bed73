"""ZegCLIP's losses: focal and dice, binary cross-entropy, or softmax, over full-size mask logits (section 3.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from zsbench.dataset import IGNORE, UNLABELLED
from zsbench.method import Losses

from .options import ZegClipOptions
from .pixel_sums import pixel_sums, upsample

ALPHA = 0.25
"""Focal weight of a positive pixel; that of a negative one is 1 - ALPHA (released code; the paper's equation 4 has none)."""


def mask_losses(masks: Tensor, labels: Tensor, options: ZegClipOptions) -> Losses:
    """The non-mutually exclusive losses of logits (B, C, h, w) for labels int64 (B, H, W), upsampled to H x W.

    With n, the `terms`, the number of (image, present class) pairs: `mask` = weight / n * sum over all (image, class) of the
    mean over pixels of the focal loss (alpha 0.25, gamma 2) or of binary cross-entropy; `dice` = weight / n * sum over
    present pairs of 1 - (2 sum p t + 1) / (sum p + sum t + 1). Unlabelled pixels are negatives of every class, or left out.
    """
    valid = labels != IGNORE if options.ignored == "ignored" else None
    sums = pixel_sums(masks.float(), labels, valid, "bce" if options.nel == "bce" else "focal")
    pixelwise = sums.loss if options.nel == "bce" else (1 - ALPHA) * sums.loss + (2 * ALPHA - 1) * sums.label_loss
    pixels = labels[0].numel() if valid is None else valid.sum((1, 2)).clamp(min=1)[:, None]
    area = areas(labels, masks.shape[1])
    present = area > 0
    terms = present.sum()
    pairs = terms.clamp(min=1)
    losses = {"mask": options.mask_weight * (pixelwise / pixels).sum() / pairs}
    if options.nel == "focal_dice":
        overlap = area - sums.label_wrong
        predicted = overlap + sums.wrong - sums.label_wrong
        dice = 1 - (2 * overlap + 1) / (predicted + area + 1)
        losses["dice"] = options.dice_weight * (dice * present).sum() / pairs
    return Losses(losses, terms)


def areas(labels: Tensor, classes: int) -> Tensor:
    """Pixels of each class in each image: float (B, classes)."""
    flat = labels.flatten(1)
    counts = torch.zeros(len(flat), classes + 1, device=labels.device)
    counts.scatter_add_(1, torch.where(flat < 0, classes, flat), torch.ones_like(flat, dtype=counts.dtype))
    return counts[:, :classes]


def softmax_loss(masks: Tensor, labels: Tensor) -> Losses:
    """Cross-entropy over classes of upsampled logits, averaged over labelled pixels (0 where there are none)."""
    logits = upsample(masks.float(), (labels.shape[-2], labels.shape[-1]))
    total = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")
    terms = (labels != IGNORE).sum()
    return Losses({"cross_entropy": total / terms.clamp(min=1)}, terms)


@torch.no_grad()
def pseudo_labels(masks: Tensor, labels: Tensor, seen: Tensor) -> Tensor:
    """`labels` where `UNLABELLED` pixels have the best of the unseen classes under the present logits (section 3.5)."""
    unseen = (~seen).nonzero()[:, 0]
    if not len(unseen):
        return torch.where(labels == UNLABELLED, IGNORE, labels)
    best = upsample(masks[:, unseen].float(), (labels.shape[-2], labels.shape[-1])).argmax(1)
    return torch.where(labels == UNLABELLED, unseen[best], labels)
