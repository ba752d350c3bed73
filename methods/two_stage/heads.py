"""How a query is compared with class names: a projection into CLIP's text space, and one learnt vector for "no object"."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

INVERSE_TEMPERATURE = 100.0


class ZegFormerHead(nn.Module):
    """One linear layer; the background vector is compared as it is, not normalised (as released)."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.projection = nn.Linear(width, dim)
        self.background = nn.Parameter(torch.empty(1, dim))
        nn.init.kaiming_uniform_(self.background, a=math.sqrt(5))

    def forward(self, queries: Tensor, text: Tensor) -> Tensor:
        """Logits (..., C + 1), the background last, of queries (..., width) and unit-norm text embeddings (C, D)."""
        return class_logits(self.projection(queries), torch.cat([text, self.background]))


class ZssegHead(nn.Module):
    """Two layers of width 1024; the "no object" vector is normalised like a class."""

    def __init__(self, width: int, dim: int, hidden: int = 1024) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, dim))
        self.no_object = nn.Parameter(torch.empty(1, dim))
        nn.init.normal_(self.no_object, std=dim**-0.5)

    def forward(self, queries: Tensor, text: Tensor) -> Tensor:
        """Logits (..., C + 1), "no object" last, of queries (..., width) and unit-norm text embeddings (C, D)."""
        return class_logits(self.layers(queries), torch.cat([text, F.normalize(self.no_object, dim=-1)]))


def class_logits(embeddings: Tensor, text: Tensor, scale: float | Tensor = INVERSE_TEMPERATURE) -> Tensor:
    """`scale` times the dot product of normalised `embeddings` (..., D) with `text` (C, D), taken as it is; in float32.

    Half precision would round logits of up to 100 to steps of half a unit, so autocast is off here.
    """
    with full_precision(embeddings.device):
        return scale * F.normalize(embeddings.float(), dim=-1) @ text.float().T


def full_precision(device: torch.device) -> torch.autocast:
    """A context without autocast."""
    return torch.autocast(device.type, enabled=False)
