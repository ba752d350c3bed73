"""Boxes around masks, and padding: the geometry between the two stages."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SIZE_DIVISOR = 32
"""Images are padded at the right and the bottom to a multiple of this many pixels, the stride of the coarsest features."""


def pad_to_multiple(images: Tensor, divisor: int = SIZE_DIVISOR) -> Tensor:
    """`images` (..., H, W) with zeros appended at the right and the bottom until both sides are multiples of `divisor`."""
    height, width = images.shape[-2:]
    return F.pad(images, (0, -width % divisor, 0, -height % divisor))


def padded_size(height: int, width: int, divisor: int = SIZE_DIVISOR) -> tuple[int, int]:
    return height + -height % divisor, width + -width % divisor


def extents(masks: Tensor) -> tuple[Tensor, Tensor]:
    """`(boxes, occupied)` of bool masks (Q, H, W).

    `boxes`: int64 (Q, 4), first and last column and row that the mask touches as (xmin, ymin, xmax, ymax), both ends inside
    the mask; meaningless where `occupied`, bool (Q,), is False: the mask is empty.
    """
    columns, rows = masks.any(-2), masks.any(-1)
    xmin, xmax = _first_and_last(columns)
    ymin, ymax = _first_and_last(rows)
    return torch.stack([xmin, ymin, xmax, ymax], -1), columns.any(-1)


def _first_and_last(line: Tensor) -> tuple[Tensor, Tensor]:
    """Index of the first and the last True of bool (Q, N)."""
    counted = line.int()
    return counted.argmax(-1), line.shape[-1] - 1 - counted.flip(-1).argmax(-1)


def zegformer_boxes(masks: Tensor) -> Tensor:
    """Boxes float32 (Q, 4) as (xmin, ymin, xmax, ymax) of bool masks (Q, H, W), by ZegFormer's rule.

    The far corner is the last pixel itself, not one past it. A box without area (an empty mask, a single row or column)
    becomes the whole image, (0, 0, W, H).
    """
    boxes, occupied = extents(masks)
    height, width = masks.shape[-2:]
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    whole = boxes.new_tensor([0, 0, width, height])
    return torch.where((occupied & (area > 0))[:, None], boxes, whole).float()


def zsseg_boxes(masks: Tensor, expand: float = 1.0) -> tuple[Tensor, Tensor]:
    """`(boxes, valid)` of bool masks (Q, H, W), by zsseg's rule: half-open int64 boxes (xmin, ymin, xmax + 1, ymax + 1).

    `expand`: sides become this much longer about the centre, rounded towards zero, and end at the border of the image.
    `valid`, bool (Q,), is False for an empty mask, which is not classified at all.
    """
    boxes, occupied = extents(masks)
    boxes = boxes + boxes.new_tensor([0, 0, 1, 1])
    centres, halves = (boxes[:, 2:] + boxes[:, :2]) / 2, expand * (boxes[:, 2:] - boxes[:, :2]) / 2
    border = boxes.new_tensor([masks.shape[-1], masks.shape[-2]])
    corners = torch.cat([(centres - halves).clamp(min=0), torch.minimum(centres + halves, border)], -1)
    return corners.long(), occupied
