"""How MaskFormer learns: each class in the image is assigned a query, which learns its name and its mask.

Cheng et al., 2021, section 3.3: Hungarian matching and cross-entropy + focal + dice, for every decoder layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from zsbench.utils.distributed import mean_over_processes

FOCAL_ALPHA = 0.25
FOCAL_GAMMA = 2.0
NO_OBJECT_WEIGHT = 0.1


@dataclass(frozen=True)
class LossWeights:
    """Of the loss and of the matching cost alike: classification, focal, dice."""

    classes: float = 1.0
    focal: float = 20.0
    dice: float = 1.0


@dataclass(frozen=True, eq=False)
class Targets:
    """What one image holds: `classes` int64 (N,), `masks` float32 (N, H, W) of 0 and 1."""

    classes: Tensor
    masks: Tensor


def targets_of(label: Tensor) -> Targets:
    """One mask for each class present in `label` int (H, W); negative labels belong to none."""
    classes = label.unique()
    classes = classes[classes >= 0]
    return Targets(classes, (label == classes[:, None, None]).float())


def criterion(
    class_logits: Tensor,
    mask_logits: Tensor,
    targets: Sequence[Targets],
    weights: LossWeights = LossWeights(),
) -> dict[str, Tensor]:
    """Weighted losses `ce`, `focal`, `dice` of the last layer and, with `_0`, `_1`, ... appended, of the layers before it.

    `class_logits`: (L, B, Q, C + 1), the last column "no object". `mask_logits`: (L, B, Q, h, w). Each layer is
    matched anew.
    """
    count = mean_target_count(targets, mask_logits.device)
    losses: dict[str, Tensor] = {}
    last = len(class_logits) - 1
    for layer, (classes, masks) in enumerate(zip(class_logits, mask_logits, strict=True)):
        suffix = "" if layer == last else f"_{layer}"
        matches = [match(c, m, t, weights) for c, m, t in zip(classes, masks, targets, strict=True)]
        focal, dice = mask_losses(masks, targets, matches, count)
        losses[f"ce{suffix}"] = weights.classes * class_loss(classes, targets, matches)
        losses[f"focal{suffix}"] = weights.focal * focal
        losses[f"dice{suffix}"] = weights.dice * dice
    return losses


def mean_target_count(targets: Sequence[Targets], device: torch.device) -> Tensor:
    """Segments in the batch, averaged over processes; at least 1."""
    count = torch.tensor(float(sum(len(target.classes) for target in targets)), device=device)
    return mean_over_processes(count).clamp(min=1)


@torch.no_grad()
def match(class_logits: Tensor, mask_logits: Tensor, target: Targets, weights: LossWeights) -> tuple[Tensor, Tensor]:
    """Indices `(queries, segments)`, int64 (N,) each, of the assignment of least cost, for one image.

    `class_logits`: (Q, C + 1); `mask_logits`: (Q, h, w). The cost is -p(class), plus the focal and dice losses of each
    pair at the resolution of the predicted masks, to which the target is reduced by taking the nearest pixel.
    """
    cost = -weights.classes * class_logits.float().softmax(-1)[:, target.classes]
    logits = mask_logits.float().flatten(1)
    truth = F.interpolate(target.masks[:, None], mask_logits.shape[-2:], mode="nearest").flatten(1)
    present, absent = focal_terms(logits)
    cost = cost + weights.focal * (present @ truth.T + absent @ (1 - truth).T) / logits.shape[-1]
    probability = logits.sigmoid()
    overlap = 2 * probability @ truth.T
    total = probability.sum(-1)[:, None] + truth.sum(-1)
    cost = cost + weights.dice * (1 - (overlap + 1) / (total + 1))
    queries, segments = assign(cost)
    return queries.to(class_logits.device), segments.to(class_logits.device)


def assign(cost: Tensor) -> tuple[Tensor, Tensor]:
    """The assignment of least total cost (Q, N), as `(rows, columns)` on the CPU."""
    rows, columns = linear_sum_assignment(cost.cpu().numpy())
    return torch.from_numpy(rows).long(), torch.from_numpy(columns).long()


def focal_terms(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The focal loss of each logit if its target is 1, and if it is 0 (Lin et al., 2017; alpha 0.25, gamma 2)."""
    probability = logits.sigmoid()
    present = FOCAL_ALPHA * (1 - probability) ** FOCAL_GAMMA * F.softplus(-logits)
    absent = (1 - FOCAL_ALPHA) * probability**FOCAL_GAMMA * F.softplus(logits)
    return present, absent


def class_loss(class_logits: Tensor, targets: Sequence[Targets], matches: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Cross-entropy (B, Q, C + 1) over all queries; unmatched ones should say "no object", at a tenth of the weight."""
    none = class_logits.shape[-1] - 1
    wanted = torch.full(class_logits.shape[:2], none, dtype=torch.long, device=class_logits.device)
    for row, target, (queries, segments) in zip(wanted, targets, matches, strict=True):
        row[queries] = target.classes[segments]
    weight = torch.ones(none + 1, device=class_logits.device)
    weight[none] = NO_OBJECT_WEIGHT
    return F.cross_entropy(class_logits.float().flatten(0, 1), wanted.flatten(), weight)


def mask_losses(
    mask_logits: Tensor, targets: Sequence[Targets], matches: Sequence[tuple[Tensor, Tensor]], count: Tensor
) -> tuple[Tensor, Tensor]:
    """Focal and dice losses of matched masks (B, Q, h, w), upsampled to the size of their targets, over `count` segments."""
    chosen = torch.cat([masks[queries] for masks, (queries, _) in zip(mask_logits, matches, strict=True)]).float()
    truth = torch.cat([target.masks[segments] for target, (_, segments) in zip(targets, matches, strict=True)])
    if not len(chosen):
        nothing = 0 * mask_logits.sum()
        return nothing, nothing
    logits = F.interpolate(chosen[:, None], truth.shape[-2:], mode="bilinear", align_corners=False)[:, 0].flatten(1)
    truth = truth.flatten(1)
    present, absent = focal_terms(logits)
    focal = (truth * present + (1 - truth) * absent).mean(-1).sum() / count
    probability = logits.sigmoid()
    shared = 2 * (probability * truth).sum(-1)
    dice = (1 - (shared + 1) / (probability.sum(-1) + truth.sum(-1) + 1)).sum() / count
    return focal, dice
