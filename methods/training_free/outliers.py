"""Patches that are unlike all others, and what stands in for them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from zsbench.clip.tower import Grid


def outliers(patches: Tensor, neighbours: int, quantile: float) -> Tensor:
    """bool (B, n): those of patches (B, n, W) whose local outlier factor is above its `quantile` over the image.

    A patch's density is one over its (squared) distance to the last of its nearest `neighbours`, its factor the mean
    density of those over its own: as released, simpler than the factor of Breunig et al. (2000).
    """
    patches = patches.float()
    # from differences: by products, as torch does for many rows, what all patches share swallows what tells them apart
    squared = torch.cdist(patches, patches, compute_mode="donot_use_mm_for_euclid_dist").square()
    distance, nearest = squared.topk(min(neighbours + 1, patches.shape[1]), largest=False)
    density = 1 / distance[..., -1]
    around = density[:, None].expand(-1, patches.shape[1], -1).gather(2, nearest[..., 1:])
    factor = around.mean(-1) / density
    return factor > factor.quantile(quantile, dim=1, keepdim=True)


def filled(patches: Tensor, grid: Grid, outlying: Tensor) -> Tensor:
    """Patches (B, n, W), the `outlying` (B, n) replaced by the mean of their neighbours, of the 8 those that are not.

    Where all neighbours are outlying, too, a patch stays.
    """
    maps = patches.mT.unflatten(-1, grid)
    good = (~outlying).unflatten(-1, grid)[:, None].to(maps.dtype)
    kernel = maps.new_ones(1, 1, 3, 3)
    kernel[..., 1, 1] = 0
    around = F.conv2d((maps * good).flatten(0, 1)[:, None], kernel, padding=1).view_as(maps)
    count = F.conv2d(good, kernel, padding=1)
    mended = (around / count.clamp(min=1)).flatten(2).mT
    replace = outlying & (count > 0).flatten(1)
    return torch.where(replace[..., None], mended, patches)
