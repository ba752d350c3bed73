"""The relationship descriptor: text embeddings made specific to an image by its class token (ZegCLIP, section 3.4)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .options import Term

TERMS: dict[Term, Callable[[Tensor, Tensor], Tensor]] = {
    "t": lambda t, g: t,
    "g": lambda t, g: g,
    "t*g": lambda t, g: t * g,
    "t-g": lambda t, g: t - g,
    "|t-g|": lambda t, g: (t - g).abs(),
    "t+g": lambda t, g: t + g,
}


class RelationshipDescriptor(nn.Module):
    """Class queries from text and image: `terms` are concatenated, in order, and projected to `dim` (equation 6)."""

    def __init__(self, dim: int, terms: tuple[Term, ...]) -> None:
        super().__init__()
        self.terms = terms
        self.projection = nn.Linear(dim * len(terms), dim)

    def describe(self, texts: Tensor, images: Tensor) -> Tensor:
        """The concatenated terms (B, C, n*D) of class embeddings (C, D) and image embeddings (B, D)."""
        shape = (len(images), *texts.shape)
        t, g = texts.expand(shape), images[:, None].expand(shape)
        return torch.cat([TERMS[term](t, g) for term in self.terms], -1)

    def forward(self, texts: Tensor, images: Tensor) -> Tensor:
        """Queries (B, C, D) of class embeddings (C, D) for images with embeddings (B, D)."""
        queries: Tensor = self.projection(self.describe(texts, images))
        return queries
