"""ZegCLIP's losses: focal and dice, binary cross-entropy, or softmax, over full-size mask logits (section 3.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from zsbench.dataset import IGNORE, UNLABELLED

from .options import ZegClipOptions

ALPHA = 0.25
CHUNK = 2**24
"""Full-size logits that are held at once; more are computed again in the backward pass."""


def upsample(masks: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(masks, size, mode="bilinear", align_corners=False)


def pixel_sums(masks: Tensor, labels: Tensor, first: int, options: ZegClipOptions) -> tuple[Tensor, Tensor, Tensor]:
    """For classes `first`.. of low-resolution logits (B, c, h, w): three sums over pixels, each (B, c).

    Pixelwise loss; probability; probability where the class is the label.
    """
    size = (labels.shape[-2], labels.shape[-1])
    logits = upsample(masks, size)
    classes = torch.arange(first, first + masks.shape[1], device=labels.device)
    target = labels[:, None] == classes[:, None, None]
    probability = logits.sigmoid()
    if options.nel == "bce":
        pixelwise = F.softplus(torch.where(target, -logits, logits))
    else:
        positive = ALPHA * (1 - probability) ** 2 * F.softplus(-logits)
        negative = (1 - ALPHA) * probability**2 * F.softplus(logits)
        pixelwise = torch.where(target, positive, negative)
    if options.ignored == "ignored":
        valid = (labels != IGNORE)[:, None]
        pixelwise, probability = pixelwise * valid, probability * valid
    return pixelwise.sum((2, 3)), probability.sum((2, 3)), (probability * target).sum((2, 3))


def all_pixel_sums(masks: Tensor, labels: Tensor, options: ZegClipOptions) -> tuple[Tensor, Tensor, Tensor]:
    """`pixel_sums` of all classes, in chunks of at most `CHUNK` full-size logits."""
    step = max(1, CHUNK // labels.numel())
    starts = range(0, masks.shape[1], step)
    if len(starts) == 1:
        return pixel_sums(masks, labels, 0, options)
    parts = [
        checkpoint(pixel_sums, masks[:, at : at + step], labels, at, options, use_reentrant=False) for at in starts
    ]
    pixelwise, probability, overlap = (torch.cat(sums, 1) for sums in zip(*parts, strict=True))
    return pixelwise, probability, overlap


def areas(labels: Tensor, classes: int) -> Tensor:
    """Pixels of each class in each image: float (B, classes)."""
    flat = labels.flatten(1)
    counts = torch.zeros(len(flat), classes + 1, device=labels.device)
    counts.scatter_add_(1, torch.where(flat < 0, classes, flat), torch.ones_like(flat, dtype=counts.dtype))
    return counts[:, :classes]


def mask_losses(masks: Tensor, labels: Tensor, options: ZegClipOptions) -> dict[str, Tensor]:
    """The non-mutually exclusive losses of logits (B, C, h, w) for labels int64 (B, H, W), upsampled to H x W.

    With n the number of (image, present class) pairs: `mask` = weight / n * sum over all (image, class) of the mean over
    pixels of focal loss (alpha 0.25, gamma 2) or binary cross-entropy; `dice` = weight / n * sum over present pairs of
    1 - (2 sum p t + 1) / (sum p + sum t + 1).
    """
    pixelwise, probability, overlap = all_pixel_sums(masks.float(), labels, options)
    area = areas(labels, masks.shape[1])
    present = area > 0
    pairs = present.sum().clamp(min=1)
    pixels: Tensor | int = labels[0].numel()
    if options.ignored == "ignored":
        pixels = (labels != IGNORE).sum((1, 2)).clamp(min=1)[:, None]
    losses = {"mask": options.mask_weight * (pixelwise / pixels).sum() / pairs}
    if options.nel == "focal_dice":
        dice = 1 - (2 * overlap + 1) / (probability + area + 1)
        losses["dice"] = options.dice_weight * (dice * present).sum() / pairs
    return losses


def softmax_loss(masks: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Cross-entropy over classes of upsampled logits, averaged over labelled pixels (0 where there are none)."""
    logits = upsample(masks.float(), (labels.shape[-2], labels.shape[-1]))
    total = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")
    return {"cross_entropy": total / (labels != IGNORE).sum().clamp(min=1)}


@torch.no_grad()
def pseudo_labels(masks: Tensor, labels: Tensor, seen: Tensor) -> Tensor:
    """`labels` where `UNLABELLED` pixels have the best of the unseen classes under the present logits (section 3.5)."""
    unseen = (~seen).nonzero()[:, 0]
    if not len(unseen):
        return torch.where(labels == UNLABELLED, IGNORE, labels)
    best = upsample(masks[:, unseen].float(), (labels.shape[-2], labels.shape[-1])).argmax(1)
    return torch.where(labels == UNLABELLED, unseen[best], labels)
