"""The Gaussian by which patches prefer their neighbours."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from zsbench.clip.tower import Tokens


def neighbourhood(tokens: Tokens, deviation: float) -> Tensor:
    """What is added to the attention logits: float32 (L, L), exp(-d^2 / 2 deviation^2) for patches d patches apart (1 for a
    patch and itself), 0 for the class token."""
    rows, columns = (bell(side, deviation, tokens.features.device) for side in tokens.grid)
    return F.pad(torch.kron(rows, columns), (tokens.prefix, 0, tokens.prefix, 0))


def bell(side: int, deviation: float, device: torch.device) -> Tensor:
    """float32 (side, side), exp(-d^2 / 2 deviation^2) of places d apart."""
    places = torch.arange(side, dtype=torch.float32, device=device)
    return (-((places[:, None] - places) ** 2) / (2 * deviation**2)).exp()
