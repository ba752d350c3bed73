"""Which cells of which windows a pixel's score is made of, along one axis of an image.

A label's pixel is interpolated between two pixels of the resized image; each of those is the mean over the windows that
cover it; and each window's score lies between two cells of its logits. Both axes do so independently of each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zsbench.argmax import row_weights


@dataclass(frozen=True)
class Axis:
    """The taps of each label position along an axis: T columns, those of a position first that count.

    `window`, `cell`, `after`: int64 (P, T), a window's number along the axis, a cell of its logits and the next one.
    `fraction`: float32 (P, T), the weight of `after` against `cell`. `share`: float32 (P, T), the weight of the tap's score
    in the position's; each row sums to 1.
    """

    window: Tensor
    cell: Tensor
    after: Tensor
    fraction: Tensor
    share: Tensor


def axis_taps(cells: int, window: int, starts: tuple[int, ...], length: int, positions: int) -> Axis:
    """Taps of `positions` of a label along an axis of a resized image.

    The image is `length` long; windows of `window` pixels and `cells` logits begin at `starts`, and cover it.
    """
    above, fraction = interpolation(length, positions)
    pixels = torch.stack([above, (above + 1).clamp_(max=length - 1)], dim=1)
    shares = torch.stack([1 - fraction, fraction], dim=1)
    inner_cell, inner_fraction = interpolation(cells, window)
    local = pixels[:, :, None] - torch.tensor(starts)
    inside = (local >= 0) & (local < window)
    share = (shares[:, :, None] * inside / inside.sum(2, keepdim=True)).flatten(1)
    order = share.sort(dim=1, descending=True, stable=True).indices[:, : int((share > 0).sum(1).max())]
    number = torch.arange(len(starts)).expand_as(local).flatten(1).gather(1, order)
    local = local.flatten(1).gather(1, order).clamp_(0, window - 1)
    cell = inner_cell[local]
    after = (cell + 1).clamp_(max=cells - 1)
    return Axis(number, cell, after, inner_fraction[local], share.gather(1, order))


def interpolation(length: int, positions: int) -> tuple[Tensor, Tensor]:
    """The place before each of `positions` of a bilinear interpolation, int64, and the weight of the next, float32."""
    if length == positions:
        return torch.arange(length), torch.zeros(length)
    return row_weights(length, positions)


def starts_of(places: Sequence[tuple[int, int]]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Where windows begin along both axes: every one of the first with every one of the second, row by row."""
    return tuple(sorted({top for top, _ in places})), tuple(sorted({left for _, left in places}))
