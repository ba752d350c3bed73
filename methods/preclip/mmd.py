"""Maximum mean discrepancy of generated and real features under a sum of Gaussian kernels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

SMALL = 1e-12
"""Below this the root is not taken: its slope has no bound."""


def discrepancy(fake: Tensor, real: Tensor, variances: Sequence[float]) -> Tensor:
    """Root of |mean(phi(fake)) - mean(phi(real))|^2, float (...), of points (..., N, D) and (..., N, D).

    The kernel is the sum of exp(-|x - y|^2 / 2v) over `variances` v.
    """
    points = torch.cat([fake, real], -2)
    products = points @ points.mT
    squares = products.diagonal(dim1=-2, dim2=-1)
    halves = products - 0.5 * squares[..., None] - 0.5 * squares[..., None, :]  # -|x - y|^2 / 2
    kernel = torch.stack([(halves / variance).exp() for variance in variances]).sum(0)
    count = fake.shape[-2]
    signs = torch.cat([fake.new_full((count,), 1 / count), fake.new_full((count,), -1 / count)])
    return ((kernel @ signs) @ signs).clamp(min=SMALL).sqrt()
