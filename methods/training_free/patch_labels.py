"""How a first labelling of patches weighs their attention (ResCLIP's semantic feedback refinement)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def majority(labels: Tensor, patch: int) -> Tensor:
    """The most frequent label, the lowest of equals, of each patch of int64 (H, W): (H // patch, W // patch)."""
    rows, columns = labels.shape[0] // patch, labels.shape[1] // patch
    cells = labels[: rows * patch, : columns * patch].unflatten(0, (rows, patch)).unflatten(-1, (columns, patch))
    cells = cells.transpose(1, 2).flatten(2)
    classes = int(labels.max()) + 1
    counts = labels.new_zeros(rows, columns, classes).scatter_add_(2, cells, torch.ones_like(cells))
    return (counts * classes - torch.arange(classes, device=labels.device)).argmax(2)


def semantic_weights(labels: Tensor, deviation: float) -> Tensor:
    """Weights float32 (n, n) of patches with labels int64 (h, w): same label, near and connected counts most.

    Each row is smoothed as a row of numbers (so from the end of one image row into the next) and divided by its sum.
    """
    flat = labels.flatten()
    same = (flat[:, None] == flat).float()
    steps, longest = chebyshev(labels.shape[0], labels.shape[1], labels.device)
    apart = same.bool() & ~connected(labels, steps, longest)
    same = torch.where(apart, (-steps / longest).exp(), same)
    size = min(len(flat), int(6 * deviation + 1))
    size += 1 - size % 2
    places = torch.arange(size, dtype=torch.float32, device=labels.device) - size // 2
    kernel = (-(places**2) / (2 * deviation**2)).exp()
    smooth = F.conv1d(same[:, None], (kernel / kernel.sum())[None, None], padding=size // 2)[:, 0].relu()
    return smooth / (smooth.sum(1, keepdim=True) + 1e-8)


def chebyshev(rows: int, columns: int, device: torch.device) -> tuple[Tensor, int]:
    """Steps between patches, int64 (n, n), the larger of rows and columns, and the most there are (at least 1)."""
    y, x = positions(rows, columns, device)
    return torch.maximum((y[:, None] - y).abs(), (x[:, None] - x).abs()), max(rows - 1, columns - 1, 1)


def positions(rows: int, columns: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Row and column of each patch, int64 (n,) each."""
    grid = torch.meshgrid(torch.arange(rows, device=device), torch.arange(columns, device=device), indexing="ij")
    return grid[0].flatten(), grid[1].flatten()


def connected(labels: Tensor, steps: Tensor, longest: int) -> Tensor:
    """bool (n, n): whether the way from patch to patch stays on the label of its start, as far as it is looked at.

    As released: of `longest` + 1 places along the straight way only as many are looked at as the way has `steps` and one;
    and a place midway between two patches falls to either as single precision has it, which is part of its labels.
    """
    y, x = (each.float() for each in positions(labels.shape[0], labels.shape[1], labels.device))
    stays = torch.ones_like(steps, dtype=torch.bool)
    for step, share in enumerate(torch.linspace(0, 1, longest + 1, device=labels.device)):
        at_y, at_x = ((here[:, None] * (1 - share) + here * share).round().long() for here in (y, x))
        stays &= (labels[at_y, at_x] == labels.flatten()[:, None]) | (step > steps)
    return stays
